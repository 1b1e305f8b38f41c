"""A library's function at every point by itself, for results that have no solver of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from benchmarks.paper.flops import flops
from benchmarks.paper.problems import Problem
from neumatc_mimo.operations import Components, Operation, Tolerance
from neumatc_mimo.solvers import Answers, Channels, Solver
from neumatc_mimo.solvers.sampled import estimated_everywhere


@dataclass(frozen=True)
class Pointwise(Solver):
    """Components by a function of the matrices.

    :param function: a [..., m, n] to components
    :param cost: real operations a matrix
    """

    function: Callable[[Tensor], Components]
    cost: Callable[[Problem], float]

    def start(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
    ) -> Answers:
        def estimate(subcarriers: slice) -> Components:
            return self.function(channels.a[:, subcarriers].contiguous())

        return estimated_everywhere(operation, channels, certify, tolerance, estimate)


@flops.register
def _(solver: Pointwise, given: Problem) -> float:
    return solver.cost(given)
