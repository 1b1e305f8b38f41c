"""Blocks beside Sionna's on whatever can be drawn.

``python -m benchmarks.against_sionna --examples 100000`` draws channels with gains from 1e-12 to
1e12, noise from 1e-12 to 1e6 times their power, users up to 120 dB apart, in nearly one place,
silent, hopping, with a resource block that changes, guards, a DC carrier, pilots, shapes that are
broadcast, more streams than antennas, any layout in memory and both precisions; and channels of a
model's links. Results go to ``benchmarks/results/against_sionna``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.against_sionna.tally import CHUNK, KINDS, Tally, Task, done
from benchmarks.command import say
from benchmarks.pages.markers import renew
from benchmarks.paper.sheet import ROOT
from benchmarks.small import small_model
from neumatc_mimo.bench.sheet import Sheet, origin, origin_line

RESULTS = ROOT / "benchmarks/results/against_sionna"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.against_sionna", description=__doc__
    )
    parser.add_argument("--examples", type=int, default=10_000, help="of all blocks together")
    parser.add_argument("--only", nargs="+", default=[], help="parts of the names of blocks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    source = origin("benchmarks/against_sionna", "benchmarks/small.py")
    sheet = Sheet(
        "against_sionna",
        "Blocks beside Sionna's, on whatever can be drawn",
        "Bound: ten times the error of Sionna's block in single precision, plus 1e-5 and sixteen "
        "roundings as a Gram matrix amplifies them, at most 2e-3; in double precision ten times "
        "Sionna's error in proportion, plus 1e-8; for a model's links what their certificate "
        "promises. Blocks that Sionna lacks are beside themselves, matrix by matrix, in double "
        "precision.",
    )
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        small_model().save(Path(folder) / "model")
        tasks = list(_tasks(arguments, str(Path(folder) / "model")))
        tallies: dict[tuple[str, str], Tally] = {}
        context = multiprocessing.get_context("spawn")
        with context.Pool(arguments.processes) as pool:
            for task, tally in pool.imap_unordered(done, tasks):
                tallies.setdefault((task.kind, task.block), Tally()).add(tally)
                for difference in tally.differences:
                    say(f"{task.block}: {difference}")
    for kind, blocks in KINDS.items():
        sheet.rows += [tallies[kind, b].row(kind, b) for b in blocks if (kind, b) in tallies]
    sheet.seconds = time.perf_counter() - started
    arguments.output.mkdir(parents=True, exist_ok=True)
    sheet.write(arguments.output, source)
    if arguments.output == RESULTS and not arguments.only:
        renew()
    print(sheet.markdown())
    print(origin_line(source))
    if any(row["beyond the bound"] for row in sheet.rows):
        raise SystemExit("Blocks differ from Sionna's.")


def _tasks(arguments: argparse.Namespace, model: str) -> Iterator[Task]:
    for kind, blocks in KINDS.items():
        for block, comparison in blocks.items():
            if arguments.only and not any(part in block for part in arguments.only):
                continue
            left, seed = max(1, round(comparison.share * arguments.examples)), arguments.seed
            while left > 0:
                yield Task(kind, block, seed, min(left, CHUNK), model)
                left, seed = left - CHUNK, seed + 1


if __name__ == "__main__":
    main()
