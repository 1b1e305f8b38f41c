"""The exact solver: every subcarrier computed from the channel, once, in tiles."""

from __future__ import annotations

from neumatc_mimo.foundation.warnings import Warned
from neumatc_mimo.operations.base import Operation, Tolerance
from neumatc_mimo.solvers.base import Answers, Channels, ExactAnswers, Solver
from neumatc_mimo.solvers.registry import register


@register(name="exact")
class Exact(Solver):
    """Exact results: tiled Cholesky for the inverse, m x m ``eigh`` for the SVD.

    If rounding in single precision would leave less than some 50 dB of accuracy, a result is
    computed again in double precision and counted as ``refined``. With ``certify="call"`` all
    results are proven, and those without a proof are treated in the same way. With None they are
    returned as they are. A warning says once if the caller's precision is not enough.

    Every other solver uses it if its own result fails, and it is the reference in every table.
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
