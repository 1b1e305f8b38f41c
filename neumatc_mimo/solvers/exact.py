"""The exact solver: every subcarrier computed from the channel, once, in tiles."""

from __future__ import annotations

from neumatc_mimo.operations.base import Operation, Tolerance
from neumatc_mimo.solvers.base import Answers, Channels, ExactAnswers, Solver
from neumatc_mimo.solvers.registry import register


@register(name="exact")
class Exact(Solver):
    """The yardstick: tiled Cholesky for the inverse, m x m ``eigh`` for the SVD.

    It is the fallback of every other solver and the reference in every table.
    """

    def start(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
    ) -> Answers:
        del certify, tolerance  # an exact result needs no proof
        return ExactAnswers(operation, channels)

    def __repr__(self) -> str:
        return "Exact()"
