"""NeuMatC in closed form, learned from the channels that are asked about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from neumatc_mimo.learning.fit import FitConfig, Problem, fit
from neumatc_mimo.mapping.axes import NoiseAxis
from neumatc_mimo.mapping.basis import Basis, SplineBasis
from neumatc_mimo.mapping.compact import CompactMapping
from neumatc_mimo.operations.base import Operation, Tolerance
from neumatc_mimo.solvers.approximating import Approximating
from neumatc_mimo.solvers.approximation import Approximation, mapped
from neumatc_mimo.solvers.base import Answers, Channels
from neumatc_mimo.solvers.checks import check_positive
from neumatc_mimo.solvers.registry import register
from neumatc_mimo.solvers.spline import Spline


@register(name="learned")
@dataclass(frozen=True)
class Learned(Approximating):
    r"""A compact mapping :math:`\hat Y_i(p) = C_i \times_3 \phi(p)` of every item (NeuMatC, Eq. 1).

    ``start`` learns it as :func:`~neumatc_mimo.learning.fit.fit` does: exact results at
    ``num_samples`` points, residual-lowering steps at ``collocation`` others, trunk and latent
    tensors in closed form. Tiles then only query it. A ``ScenarioModel`` is the same for links that
    were trained before.

    :param num_samples: grid points computed exactly, at most, promoted ones included
    :param rank: r; None keeps all functions, without a readout
    :param basis: u(x) of the trunk; None for cubic splines, two more than samples, as many as an
        interpolating spline has
    :param collocation: grid points where only the residual is known
    :param rounds: rounds of adaptive sampling at most
    :param promoted: points promoted to exact samples in each of the first three rounds
    :param threshold: residual above which a collocation point has failed

    Answers are in the precision of the channels, latent tensors in single precision. The answers
    are those of the spline through the samples if there is nothing to learn: if the grid has no
    more points than samples, or if the noise power varies along the grid.
    """

    prepares: ClassVar[bool] = True

    num_samples: int
    rank: int | None = None
    basis: Basis | None = None
    collocation: int = 0
    rounds: int = 2
    promoted: int = 0
    threshold: float = 3e-3

    def __post_init__(self) -> None:
        check_positive(self, num_samples=self.num_samples, rank=self.rank or 1, rounds=self.rounds)

    def start(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
    ) -> Answers:
        varies = channels.no is not None and channels.no.ndim > 1
        if varies or len(channels.frequencies) <= self.num_samples or not len(channels.a):
            spline = Spline(max(self.num_samples, 4))
            return spline.start(operation, channels, certify, tolerance)
        return super().start(operation, channels, certify, tolerance)

    def _approximate(self, operation: Operation, channels: Channels) -> Approximation:
        return mapped(self.learn(operation, channels), channels)

    def learn(self, operation: Operation, channels: Channels) -> CompactMapping:
        """The mapping of all items, in single precision."""
        items = range(len(channels.a))
        return CompactMapping.concatenate([self._item(operation, channels, i) for i in items])

    def trunk_basis(self, num_points: int) -> Basis:
        """The functions over a grid of so many points."""
        return self.basis or SplineBasis(max(min(self.num_samples, num_points), 4) + 2, degree=3)

    def _item(self, operation: Operation, channels: Channels, item: int) -> CompactMapping:
        frequencies = channels.frequencies.to(torch.float64)
        wide = torch.complex128 if channels.a.is_complex() else torch.float64

        def matrices(links: Tensor, chosen: Tensor) -> Tensor:
            del links
            return channels.a[item, torch.searchsorted(frequencies, chosen)][None, :, None].to(wide)

        noise = NoiseAxis.at(0.0 if channels.no is None else float(channels.no[item]))
        num_samples = min(self.num_samples, len(frequencies))
        basis = self.trunk_basis(len(frequencies))
        config = FitConfig(
            basis,
            min(self.rank or basis.width, basis.width),
            num_samples,
            max(self.collocation, 2),
            self.rounds,
            promoted=self.promoted,
            threshold=self.threshold,
        )
        problem = Problem(operation, matrices, 1, frequencies, noise)
        mapping, _ = fit(problem, config, torch.zeros(1, dtype=torch.int64))
        return mapping
