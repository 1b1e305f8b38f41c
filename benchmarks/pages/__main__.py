"""Write the figures of all pages anew from the results at hand."""

from __future__ import annotations

import argparse

from benchmarks.pages.markers import renew

if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__).parse_args()
    renew()
