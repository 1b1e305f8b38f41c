"""How a module of the paper runs: its settings, its command line, where its sheet goes."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from neumatc_mimo.bench.sheet import Row, Sheet, number, origin, origin_line

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


__all__ = ["ROOT", "Row", "Settings", "Sheet", "main", "number"]
