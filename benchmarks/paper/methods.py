"""A table of methods over data sets: one row each, all measured alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.paper.measure import Measured, mean, measure, pooled
from benchmarks.paper.problems import Problem
from benchmarks.paper.sheet import Row
from neumatc_mimo.solvers import Solver

# Milliseconds a matrix from which a method is slow: it is run once a data set, without a warm-up.
_SLOW = 1.0


@dataclass(frozen=True)
class Method:
    """A row of a table.

    :param name: as it is printed
    :param solver: for a problem and the number of its data set, with the seconds of a training
        that came before, or None
    :param rank: r of a mapping
    :param num_sets: data sets at most
    """

    name: str
    solver: Callable[[Problem, int], tuple[Solver, float | None]]
    rank: int | None = None
    num_sets: int | None = None

    @classmethod
    def of(
        cls, name: str, solver: Solver, rank: int | None = None, num_sets: int | None = None
    ) -> Method:
        """A method that is the same for every problem."""
        return cls(name, lambda given, seed: (solver, None), rank, num_sets)


def fixed(solvers: dict[str, Solver], num_sets: int | None = None) -> list[Method]:
    """Methods that are the same for every problem."""
    return [Method.of(name, solver, None, num_sets) for name, solver in solvers.items()]


def rows(
    problems: Sequence[Problem], methods: Iterable[Method], label: str = "", most: int = 9
) -> list[Row]:
    """One row a method over the problems, speed-ups against the first method.

    :param label: of the rows, instead of the size
    :param most: runs of a fast method
    """
    found: list[Row] = []
    base = math.nan
    for method in methods:
        results: list[Measured] = []
        for seed, given in enumerate(problems[: method.num_sets]):
            solver, training = method.solver(given, seed)
            slow = bool(results) and results[0].milliseconds.median > _SLOW
            results.append(
                measure(
                    method.name,
                    given,
                    solver,
                    seconds=0.2,
                    most=1 if slow else most,
                    training=training,
                )
            )
        time = pooled([m.milliseconds for m in results])
        base = time.median if not found else base
        trained = mean([m.training for m in results])
        found.append(
            {
                "n": label or f"{problems[0].shape[0]}",
                "method": method.name,
                "sets": len(results),
                "ms a matrix": str(time),
                "times first": base / time.median,
                "GFLOP": results[0].gflop,
                "RelErr, mean": mean([m.error for m in results]),
                "worst": max(m.worst for m in results),
                "rank": method.rank,
                "training, s": trained or None,
            }
        )
    return found
