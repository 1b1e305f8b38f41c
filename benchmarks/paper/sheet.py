"""How a module of the paper runs: its settings, its command line, where its sheet goes."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from neumatc_mimo.bench.sheet import Row, Sheet, number, origin, origin_line
from neumatc_mimo.storage.files import write_text

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks/results/paper"


@dataclass(frozen=True)
class Settings:
    """How a module runs.

    :param quick: small sizes, few repetitions: all modules together take some minutes
    :param folder: where pictures go
    :param only: names of the sheets that are wanted, all if there are none
    """

    quick: bool
    folder: Path
    only: tuple[str, ...] = ()

    def wants(self, name: str) -> bool:
        """Whether a sheet is to be made."""
        return not self.only or name in self.only


Module = Callable[[Settings], Sheet]


def run_and_write(module: Module, settings: Settings) -> Sheet:
    """Run one module, print its sheet and write it."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    # State before the run: results written while it lasts would make every commit a dirty one.
    device = "cuda" if torch.cuda.is_available() else "cpu"
    source = origin("benchmarks/paper", device=device) | {"quick": settings.quick}
    started = time.perf_counter()
    sheet = module(settings)
    sheet.seconds = time.perf_counter() - started
    sheet.write(settings.folder, source)
    print(sheet.markdown())
    print(origin_line(source), flush=True)
    return sheet


def main(module: Module) -> None:
    """The command line of a module."""
    parser = argparse.ArgumentParser(description=module.__doc__)
    add_arguments(parser)
    run_and_write(module, settings_of(parser.parse_args()))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that all modules share."""
    parser.add_argument("--quick", action="store_true", help="small sizes, few repetitions")
    parser.add_argument("--output", type=Path, help="folder of the results")


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Settings from the command line; quick runs do not touch the committed results."""
    folder = ROOT / "report/paper" if arguments.quick else RESULTS
    return Settings(arguments.quick, arguments.output or folder)


def fill(page: Path, folder: Path, names: Sequence[str]) -> None:
    """Put sheets of a folder between the page's markers ``<!-- name -->``, ``<!-- /name -->``.

    What stands around the markers is written by hand: how to read the figures.
    """
    text = page.read_text(encoding="utf-8")
    relative = Path(os.path.relpath(folder, page.parent)).as_posix()
    for name in names:
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


__all__ = ["ROOT", "Row", "Settings", "Sheet", "fill", "main", "number"]
