"""Command line of a benchmark with a folder of its own under ``benchmarks/results``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.pages.markers import renew
from benchmarks.paper.sheet import ROOT, Settings, Sheet
from neumatc_mimo.bench.sheet import origin, origin_line


def run(name: str, description: str | None, sheets: Callable[[Settings], Iterable[Sheet]]) -> None:
    """Run ``python -m benchmarks.<name>``: print its sheets and write them as they come.

    Full runs also renew the pages, quick ones do not touch the committed results.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--quick", action="store_true", help="small sizes, few repetitions")
    parser.add_argument("--output", type=Path, help="folder of the results")
    parser.add_argument("--only", nargs="+", default=[], help="sheets to make, by their file names")
    arguments = parser.parse_args()
    folder = ROOT / ("report" if arguments.quick else "benchmarks/results") / name
    settings = Settings(arguments.quick, arguments.output or folder, tuple(arguments.only))
    settings.folder.mkdir(parents=True, exist_ok=True)
    # State before the run: results written while it lasts would make every commit a dirty one.
    source = origin("benchmarks") | {"quick": settings.quick}
    for sheet in sheets(settings):
        if not settings.wants(sheet.name):
            continue
        sheet.write(settings.folder, source)
        print(sheet.markdown(), flush=True)
    if not settings.quick:
        renew()
    print(origin_line(source), flush=True)


def say(text: str) -> None:
    """Tell on standard error how far a benchmark is."""
    print(text, file=sys.stderr, flush=True)
