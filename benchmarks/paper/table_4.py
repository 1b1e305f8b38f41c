"""Table 4: inversion of large matrices, CPU and GPU."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from benchmarks.paper.measure import measure
from benchmarks.paper.problems import Problem, cosines, inverse_error, on_grid, problem
from benchmarks.paper.sheet import Row, Settings, Sheet, main
from neumatc_mimo.operations import Inverse
from neumatc_mimo.solvers import Learned, LibraryLU, NumPyLU, Solver

RANK = 10
_POINTS, _BETWEEN = 25, 2
# More of the largest matrices do not fit into 24 GB.
_LARGE, _FEW = 4096, 13


def run(settings: Settings) -> Sheet:
    """Size by size, so that only one size is in memory."""
    sizes = (256, 512) if settings.quick else (256, 512, 1024, 2048, 4096)
    sheet = Sheet(
        "table_4",
        "Table 4: inversion of large matrices",
        "Cosines of two frequencies of up to a quarter of a period over half the domain, plus 3 I; "
        f"{_POINTS} points, {(_POINTS + 1) // 2} samples, one data set, float32; at n = {_LARGE} "
        f"{_FEW} points, {(_FEW + 1) // 2} samples. Training includes the samples in double "
        "precision. GPU columns need a CUDA device.",
    )
    sheet.rows = [row(n, torch.cuda.is_available()) for n in sizes]
    return sheet


def row(n: int, cuda: bool) -> Row:
    """All methods at one size."""
    family = cosines(n, 0, num_frequencies=2, max_frequency=math.pi / 2)
    points = _POINTS if n < _LARGE else _FEW
    given = problem(Inverse(), on_grid(family, points), inverse_error, between=_BETWEEN)
    rank = min(RANK, given.num_samples + 2)
    learned = Learned(given.num_samples, rank)
    most = 5 if n <= 1024 else 1
    numpy = measure("LU (NumPy)", given, NumPyLU(), most=most)
    ours = measure("NeuMatC", given, learned, most=9)
    times: Row = {"GPU ms, LU": None, "GPU ms, NeuMatC": None}
    if cuda:
        there = on_device(given, "cuda")
        solvers: dict[str, Solver] = {"GPU ms, LU": LibraryLU(), "GPU ms, NeuMatC": learned}
        times = {
            name: str(measure(name, there, solver, most=5).milliseconds)
            for name, solver in solvers.items()
        }
    return {
        "n": n,
        "CPU ms, LU (NumPy)": str(numpy.milliseconds),
        "CPU ms, NeuMatC": str(ours.milliseconds),
        "times": numpy.milliseconds.median / ours.milliseconds.median,
        "RelErr": ours.error,
        "rank": rank,
        "GFLOP, LU": numpy.gflop,
        "GFLOP, NeuMatC": ours.gflop,
        "training, s": ours.training,
        **times,
    }


def on_device(given: Problem, device: str) -> Problem:
    """The same problem on another device."""
    channels = replace(
        given.channels,
        a=given.channels.a.to(device),
        frequencies=given.channels.frequencies.to(device),
    )
    exact = tuple(c.to(device) for c in given.exact)
    return replace(given, channels=channels, exact=exact, unseen=given.unseen.to(device))


if __name__ == "__main__":
    main(run)
