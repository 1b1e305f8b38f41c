"""All tables and figures of the paper, one after the other."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from pathlib import Path

from benchmarks.paper.sheet import (
    ROOT,
    Settings,
    Sheet,
    add_arguments,
    run_and_write,
    settings_of,
)
from neumatc_mimo.files import write_text

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
    "adaptive",
    "ablations",
    "appendix_g",
)
PAGE = ROOT / "docs/paper.md"


def main() -> None:
    """Run the modules that are asked for; a full run of all also renews the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper", description=__doc__)
    add_arguments(parser)
    parser.add_argument("--only", nargs="+", choices=MODULES, default=MODULES, metavar="MODULE")
    parser.add_argument(
        "--page", action="store_true", help="only put the results at hand into docs/paper.md"
    )
    arguments = parser.parse_args()
    settings = settings_of(arguments)
    if not arguments.page:
        started = time.perf_counter()
        failed = [name for name in arguments.only if not _done(name, settings)]
        print(f"All in {(time.perf_counter() - started) / 60:.1f} minutes, in {settings.folder}.")
        if failed:
            sys.exit(f"Failed: {', '.join(failed)}.")
    if arguments.page or not settings.quick:
        fill(PAGE, settings.folder)


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


def fill(page: Path, folder: Path) -> None:
    """Put the sheets of a folder between the page's markers ``<!-- name -->``, ``<!-- /name -->``.

    What stands around the markers is written by hand: how to read the figures.
    """
    text = page.read_text(encoding="utf-8")
    relative = Path(os.path.relpath(folder, page.parent)).as_posix()
    for name in MODULES:
        file = folder / f"{name}.json"
        if not file.is_file():
            continue
        data = json.loads(file.read_text(encoding="utf-8"))
        origin = data.pop("origin")
        body = Sheet(**data).markdown(relative) + f"\nCommit {origin['commit']}.\n"
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        if start in text and end in text:
            text = text[: text.index(start) + len(start)] + body + text[text.index(end) :]
    write_text(page, text)


if __name__ == "__main__":
    main()
