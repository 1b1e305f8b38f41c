"""Times and errors of any solver on any problem, measured in one way."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.paper.flops import flops
from benchmarks.paper.problems import Problem
from neumatc_mimo.bench.timing import Spread, side_by_side
from neumatc_mimo.solvers import Answers, Solver

# Bytes of an answer's tile: results that a caller works with next stay in the cache. But a tile
# shares one pass over the latent tensors, and holds some matrices therefore.
_TILE_BYTES = 2**22
_TILE_LEAST = 8

# Seconds from which a warm-up no longer tells.
_LONG = 2.0


@dataclass(frozen=True)
class Measured:
    """What one solver did on one problem.

    :param method: as tables call it
    :param milliseconds: a matrix, warm, answers alone for solvers that prepare
    :param training: seconds of what is done once before, exact samples included; 0 for none
    :param gflop: a matrix, by formula
    :param error: relative, mean over the unseen points
    :param worst: the largest of them
    """

    method: str
    milliseconds: Spread
    training: float
    gflop: float
    error: float
    worst: float


def measure(
    method: str,
    problem: Problem,
    solver: Solver,
    *,
    seconds: float = 0.5,
    most: int = 9,
    training: float | None = None,
) -> Measured:
    """Run a solver without proofs on a problem's grid.

    A solver that prepares has its preparation timed apart, once; then its answers are asked for
    again and again, a tile at a time. The others are timed whole.

    :param seconds: how long to repeat
    :param most: runs at most; below four a single one, without a warm-up
    :param training: seconds of a training that came before
    """
    a = problem.channels.a
    num_points = a.shape[1]
    size = max(_TILE_LEAST, _TILE_BYTES // max(sum(c[0].nbytes for c in problem.exact), 1))

    def start() -> Answers:
        return solver.start(problem.operation, problem.channels, None)

    parts = [slice(i, min(i + size, num_points)) for i in range(0, num_points, size)]

    def ask(answers: Answers) -> None:
        for part in parts:
            answers.tile(part)

    started = time.perf_counter()
    answers = start()
    if training is None:
        training = time.perf_counter() - started if solver.prepares else 0.0
    call: Callable[[], Any] = (lambda: ask(answers)) if solver.prepares else lambda: ask(start())
    time_of = spread(call, seconds=seconds, most=most).times(1e3 / num_points)
    # Of large matrices all answers at once, in double precision, are too much.
    error = torch.cat([problem.error(answers.tile(part), part) for part in parts])
    return Measured(
        method,
        time_of,
        training,
        flops(solver, problem) / 1e9,
        float(error.mean()),
        float(error.max()),
    )


def spread(call: Callable[[], Any], *, seconds: float = 0.5, most: int = 9) -> Spread:
    """Time of a call in seconds.

    Below four runs, and for a call that takes longer than some seconds, it is that of a first
    call, without a warm-up.
    """
    started = time.perf_counter()
    call()
    once = time.perf_counter() - started
    if most < 4 or once > _LONG:
        return Spread(once, once, once)
    return side_by_side({"": call}, seconds=seconds, most=most)[""]


def pooled(spreads: list[Spread]) -> Spread:
    """Quartiles of the medians of several data sets; of one, those of its own runs."""
    if len(spreads) == 1:
        return spreads[0]
    return Spread.of([s.median for s in spreads])


def mean(values: list[float]) -> float:
    """The mean; NaN of nothing."""
    return float(torch.tensor(values, dtype=torch.float64).mean())
