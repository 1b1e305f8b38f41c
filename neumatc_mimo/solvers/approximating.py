"""Base of the solvers that approximate every grid point on its own."""

from __future__ import annotations

from abc import abstractmethod

import torch

from neumatc_mimo.operations.base import Operation, Tolerance
from neumatc_mimo.solvers.approximate_answers import ApproximateAnswers
from neumatc_mimo.solvers.approximation import Approximation
from neumatc_mimo.solvers.base import Answers, Channels, Counts, Solver
from neumatc_mimo.tensors.autocast import full_precision


class Approximating(Solver):
    """Base of the solvers that approximate each grid point by itself, and compute none exactly.

    A subclass has one method, ``_approximate``. What it returns is called with a slice of the
    subcarriers and gives the components there, [num_items, tile, *shape] each. Proofs, corrections
    and counts are the base's.
    """

    @full_precision()
    def start(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
    ) -> Answers:
        settled = torch.zeros(channels.a.shape[1], dtype=torch.bool, device=channels.a.device)
        approximation = self._approximate(operation, channels)
        return ApproximateAnswers(
            operation, channels, certify, tolerance, approximation, settled, Counts()
        )

    @abstractmethod
    def _approximate(self, operation: Operation, channels: Channels) -> Approximation:
        """What gives the components of any tile.

        :raises ValueError: if the solver is not for this operation
        """
