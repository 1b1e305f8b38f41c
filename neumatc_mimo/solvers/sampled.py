"""Base of the solvers that compute a few grid points exactly and fill in the others."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from neumatc_mimo.operations.base import Components, Operation, Tolerance
from neumatc_mimo.solvers.approximate_answers import ApproximateAnswers
from neumatc_mimo.solvers.approximation import Approximation, WithSamples
from neumatc_mimo.solvers.base import Answers, Channels, Counts, Solver
from neumatc_mimo.solvers.checks import check_positive
from neumatc_mimo.tensors.autocast import full_precision


@dataclass(frozen=True)
class Sampled(Solver):
    """Base of the solvers that compute a few grid points exactly and fill in the others.

    :param num_samples: Number of grid points computed exactly, evenly spread, both ends included;
        all of them where the grid has fewer
    """

    prepares: ClassVar[bool] = True

    num_samples: int

    def __post_init__(self) -> None:
        check_positive(self, num_samples=self.num_samples)

    @full_precision()
    def start(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
    ) -> Answers:
        points = self._points(channels.frequencies).to(channels.a.device)
        sampled = self._sampled(operation)
        samples = self._samples(sampled, channels, points)
        settled = torch.zeros(channels.a.shape[1], dtype=torch.bool, device=points.device)
        settled[points] = True
        approximation = WithSamples(
            self._interpolate(sampled, channels, points, samples), points, samples
        )
        counts = Counts(exact=channels.a.shape[0] * len(points))
        return ApproximateAnswers(
            operation,
            channels,
            certify,
            tolerance,
            approximation,
            settled,
            counts,
            stored=sampled is not operation,
        )

    def _sampled(self, operation: Operation) -> Operation:
        """The operation whose components are sampled: that which models store."""
        return operation.stored

    def _points(self, frequencies: Tensor) -> Tensor:
        """Ascending indices of the samples on the grid [num_frequencies]."""
        num = min(self.num_samples, len(frequencies))
        spread = torch.linspace(0, len(frequencies) - 1, num, dtype=torch.float64)
        return spread.round().long()

    def _samples(self, operation: Operation, channels: Channels, points: Tensor) -> Components:
        """Exact components at points [num_samples] in one gauge: [num_items, num_samples, ...]."""
        parts = [
            operation.exact(channels.a[:, where], channels.noise(subcarriers=where))
            for where in points.split(252)
        ]
        return operation.align(tuple(torch.cat(part, dim=1) for part in zip(*parts, strict=True)))

    @abstractmethod
    def _interpolate(
        self, operation: Operation, channels: Channels, points: Tensor, samples: Components
    ) -> Approximation:
        """Components between the samples.

        :param points: [num_samples] ascending indices of the samples on the grid
        :param samples: [num_items, num_samples, ...] each
        """
