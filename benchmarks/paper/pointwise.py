"""A library's function at every point by itself, for results that have no solver of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from benchmarks.paper.flops import flops
from benchmarks.paper.problems import Problem
from neumatc_mimo.operations import Components, Operation
from neumatc_mimo.solvers import Channels
from neumatc_mimo.solvers.approximating import Approximating
from neumatc_mimo.solvers.approximation import Approximation


@dataclass(frozen=True)
class Pointwise(Approximating):
    """Components by a function of the matrices.

    :param function: a [..., m, n] to components
    :param cost: real operations a matrix
    """

    function: Callable[[Tensor], Components]
    cost: Callable[[Problem], float]

    def _approximate(self, operation: Operation, channels: Channels) -> Approximation:
        def approximation(subcarriers: slice) -> Components:
            return self.function(channels.a[:, subcarriers].contiguous())

        return approximation


@flops.register
def _(solver: Pointwise, given: Problem) -> float:
    return solver.cost(given)
