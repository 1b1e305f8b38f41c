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
from neumatc_mimo.mapping.layout import Layout
from neumatc_mimo.mapping.trunk import Trunk
from neumatc_mimo.operations.base import Components, Operation
from neumatc_mimo.solvers.approximation import Approximation, mapped, with_samples
from neumatc_mimo.solvers.base import Channels
from neumatc_mimo.tensors.cache import storage_bytes


@dataclass(frozen=True)
class AdaptedPlan:
    """Where a grid is sampled, and the linear maps of the fit, which all items share.

    :param basis: of the trunk
    :param band: frequencies in Hz of x = -1 and 1
    :param points: [2 num_samples - 1] subcarriers, samples and collocation points in turn
    :param gain: latent tensors of values at all points, [width, 2 num_samples - 1]
    :param interpolation: values half-way between those at the samples,
        [num_samples - 1, num_samples]
    """

    basis: SplineBasis
    band: tuple[float, float]
    points: Tensor
    gain: Tensor
    interpolation: Tensor

    @classmethod
    def of(cls, basis: SplineBasis, frequencies: Tensor, dtype: torch.dtype) -> AdaptedPlan:
        """For a grid [num_frequencies] in Hz."""
        num_samples = basis.width + 1
        last = len(frequencies) - 1
        points = torch.linspace(0, last, 2 * num_samples - 1, dtype=torch.float64).round().long()
        points = points.to(frequencies.device)
        band = basis.band(frequencies)
        values = basis.values(coordinate(frequencies[points], band))
        first = values[1::2] @ _gain(values[::2], basis.penalty())
        return cls(basis, band, points, _gain(values, basis.penalty()).to(dtype), first)

    @property
    def samples(self) -> Tensor:
        """Subcarriers that are computed exactly."""
        return self.points[::2].contiguous()

    def is_sample(self, num_frequencies: int) -> Tensor:
        """Which subcarriers of the grid are computed exactly, bool [num_frequencies]."""
        samples = torch.zeros(num_frequencies, dtype=torch.bool, device=self.points.device)
        samples[self.samples] = True
        return samples

    @property
    def num_bytes(self) -> int:
        """Bytes of the plan."""
        return storage_bytes((self.points, self.gain, self.interpolation))

    def first(self, operation: Operation, samples: Components) -> Components:
        """Components half-way between samples [num_items, num_samples, ...]."""
        return tuple(
            layout.unpack(self.interpolation @ layout.pack(c))
            for layout, c in zip(_layouts(operation, samples), samples, strict=True)
        )

    def mapping(self, operation: Operation, points: Components) -> CompactMapping:
        """The mapping through components at all points."""
        layouts = _layouts(operation, points)
        latents = tuple(
            (self.gain @ layout.pack(c))[:, :, None]
            for layout, c in zip(layouts, points, strict=True)
        )
        return CompactMapping(Trunk(self.basis), NoiseAxis.at(0.0), latents, layouts, self.band)

    def approximation(
        self, operation: Operation, channels: Channels, points: Components
    ) -> Approximation:
        """The mapping through components at all points, and the samples where they are."""
        samples = tuple(c[:, ::2] for c in points)
        return with_samples(
            mapped(self.mapping(operation, points), channels), self.samples, samples
        )


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
