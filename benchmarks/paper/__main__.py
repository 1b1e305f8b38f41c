"""All tables and figures of the paper, one after the other."""

from __future__ import annotations

import argparse
import importlib
import sys
import time

from benchmarks.pages.markers import renew
from benchmarks.paper.sheet import (
    Settings,
    add_arguments,
    run_and_write,
    settings_of,
)

# In the order of the paper; what it leaves out comes last.
MODULES = (
    "sweeps",
    "table_1",
    "table_2",
    "table_3",
    "table_4",
    "table_5",
    "table_6",
    "table_7",
    "table_8",
    "table_10",
    "table_11",
    "table_12",
    "figure_2",
    "figure_3",
    "figure_4",
    "figure_6",
    "adam",
    "adaptive",
    "ablations",
    "appendix_g",
)


def main() -> None:
    """Run the modules that are asked for; a full run also renews the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper", description=__doc__)
    add_arguments(parser)
    parser.add_argument("--only", nargs="+", choices=MODULES, default=MODULES, metavar="MODULE")
    arguments = parser.parse_args()
    settings = settings_of(arguments)
    started = time.perf_counter()
    failed = [name for name in arguments.only if not _done(name, settings)]
    print(f"All in {(time.perf_counter() - started) / 60:.1f} minutes, in {settings.folder}.")
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}.")
    if not settings.quick:
        renew()


def _done(name: str, settings: Settings) -> bool:
    """Whether a module ran; one that fails costs none of the others."""
    print(f"[{name}]", file=sys.stderr, flush=True)
    try:
        module = importlib.import_module(f"benchmarks.paper.{name}")
        run_and_write(module.run, settings)
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return False
    return True


if __name__ == "__main__":
    main()
