"""Where unknown links are sampled on a grid, and how their mappings are fitted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neumatc_mimo.foundation.coordinate import coordinate
from neumatc_mimo.learning.projection import Design, project
from neumatc_mimo.mapping.axes import NoiseAxis
from neumatc_mimo.mapping.basis import SplineBasis
from neumatc_mimo.mapping.compact import CompactMapping
from neumatc_mimo.mapping.latent import Latent
from neumatc_mimo.mapping.layout import Layout
from neumatc_mimo.mapping.trunk import BasisTrunk
from neumatc_mimo.operations.base import Components, Operation
from neumatc_mimo.solvers.approximation import Approximation, WithSamples, mapped
from neumatc_mimo.solvers.base import Channels
from neumatc_mimo.tensors.cache import storage_bytes


@dataclass(frozen=True)
class AdaptedPlan:
    """Where a grid is sampled, and the linear maps of the fit, which all items share.

    :param basis: of the trunk
    :param band: frequencies in Hz of x = -1 and 1
    :param points: [num_points] subcarriers, two to a knot
    :param first: which of the points are computed exactly, indices
    :param gain: latent tensors of values at all points, [width, num_points]
    """

    basis: SplineBasis
    band: tuple[float, float]
    points: Tensor
    first: Tensor
    gain: Tensor

    @classmethod
    def of(
        cls, basis: SplineBasis, frequencies: Tensor, every: int, dtype: torch.dtype
    ) -> AdaptedPlan:
        """For a grid [num_frequencies] in Hz.

        :param every: every how manieth point is computed exactly
        """
        points = _spread(len(frequencies), 2 * basis.width + 1).to(frequencies.device)
        first = _spread(len(points), round(2 * basis.width / every) + 1).to(frequencies.device)
        band = basis.band(frequencies)
        values = basis.values(coordinate(frequencies[points], band))
        return cls(basis, band, points, first, _gain(values, basis.penalty()).to(dtype))

    @property
    def samples(self) -> Tensor:
        """Subcarriers that are computed exactly, whatever the channel."""
        return self.points[self.first]

    def is_sample(self, num_frequencies: int) -> Tensor:
        """Which subcarriers of the grid are computed exactly, bool [num_frequencies]."""
        samples = torch.zeros(num_frequencies, dtype=torch.bool, device=self.points.device)
        samples[self.samples] = True
        return samples

    @property
    def num_bytes(self) -> int:
        """Bytes of the plan."""
        return storage_bytes((self.points, self.first, self.gain))

    def mapping(self, operation: Operation, points: Components) -> CompactMapping:
        """The mapping through components at all points."""
        layouts = _layouts(operation, points)
        latents = tuple(
            Latent((self.gain @ layout.pack(c))[:, :, None])
            for layout, c in zip(layouts, points, strict=True)
        )
        return CompactMapping(
            BasisTrunk(self.basis), NoiseAxis.at(0.0), latents, layouts, self.band
        )

    def approximation(
        self, operation: Operation, channels: Channels, points: Components
    ) -> Approximation:
        """The mapping through components at all points, and the samples where they are."""
        samples = tuple(c[:, self.first] for c in points)
        return WithSamples(mapped(self.mapping(operation, points), channels), self.samples, samples)


def _spread(num: int, count: int) -> Tensor:
    """``count`` of ``num`` indices, evenly, both ends included."""
    return torch.linspace(0, num - 1, count, dtype=torch.float64).round().long()


def _gain(values: Tensor, penalty: Tensor) -> Tensor:
    """Coefficients [width, N] of unit values at each of N points, by :func:`project`."""
    targets = torch.eye(len(values), dtype=torch.float64, device=values.device)[None]
    _, latent = project(
        Design.of(values), targets, targets.new_ones(1, len(values)), values.shape[1], penalty
    )
    return latent[0]


def _layouts(operation: Operation, components: Components) -> tuple[Layout, ...]:
    return tuple(
        Layout.of(tuple(c.shape[2:]), c, name in operation.hermitian)
        for name, c in zip(operation.component_names, components, strict=True)
    )
