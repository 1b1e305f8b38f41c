"""The exact solver: every subcarrier computed from the channel, once, in tiles."""

from __future__ import annotations

from neumatc_mimo.foundation.warnings import Warned
from neumatc_mimo.operations.base import Operation, Tolerance
from neumatc_mimo.solvers.base import Answers, Channels, ExactAnswers, Solver
from neumatc_mimo.solvers.registry import register


@register(name="exact")
class Exact(Solver):
    """The yardstick: tiled Cholesky for the inverse, m x m ``eigh`` for the SVD.

    Results of single precision that rounding would leave less than some 50 dB of are computed again
    in double precision and counted as ``refined``; ``certify="call"`` proves all of them and treats
    those without a proof likewise, None takes them as they are. A warning tells once of what the
    caller's precision cannot hold.

    It is the fallback of every other solver and the reference in every table.
    """

    def __init__(self) -> None:
        self._warned = Warned()

    def start(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
    ) -> Answers:
        return ExactAnswers(operation, channels, certify, tolerance, self._warned)

    def __repr__(self) -> str:
        return "Exact()"
