"""A solver's own components of a call, before any proof, and where they come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from neumatc_mimo.mapping.compact import CompactMapping
from neumatc_mimo.operations.base import Components
from neumatc_mimo.solvers.base import Channels

# Components of a tile of subcarriers, [num_items, tile, ...] each.
Approximation = Callable[[slice], Components]


@dataclass(frozen=True)
class Summed:
    """The approximation that is a sum of few tensors at every grid point: kernels evaluate it where
    they prove and apply it.

    :param columns: which ones, side by side, [num_frequencies, num_terms] int64, ascending
    :param values: their weights, likewise, real
    :param components: [num_items, num_tensors, ...] each
    """

    columns: Tensor
    values: Tensor
    components: Components

    def __call__(self, subcarriers: slice) -> Components:
        columns, values = self.columns[subcarriers], self.values[subcarriers]
        low, high = int(columns[0, 0]), int(columns[-1, -1]) + 1
        dense = values.new_zeros(len(values), high - low).scatter_(1, columns - low, values)
        return tuple(weighted(dense, c[:, low:high]) for c in self.components)


@dataclass(frozen=True)
class WithSamples:
    """An approximation, and the samples themselves where they are.

    :param approximation: between them
    :param points: [num_samples] ascending grid points of the samples
    :param samples: [num_items, num_samples, ...] each
    """

    approximation: Approximation
    points: Tensor
    samples: Components

    def __call__(self, subcarriers: slice) -> Components:
        components = self.approximation(subcarriers)
        first, last = torch.searchsorted(
            self.points, self.points.new_tensor([subcarriers.start, subcarriers.stop])
        )
        where = self.points[first:last] - subcarriers.start
        # In place: approximations are new tensors, or hold these very samples after the first time.
        for c, sample in zip(components, self.samples, strict=True):
            c.index_copy_(1, where, sample[:, first:last])
        return components


def summed(approximation: Approximation, stretches: Sequence[slice]) -> Summed:
    """An approximation as a sum, of one term where it is none.

    A sum may stand for the samples that it interpolates.

    :param stretches: of the whole grid, each small enough to be evaluated in cache
    """
    inner = approximation.approximation if isinstance(approximation, WithSamples) else approximation
    if isinstance(inner, Summed):
        return inner
    parts = [approximation(stretch) for stretch in stretches]
    components = tuple(torch.cat(part, dim=1) for part in zip(*parts, strict=True))
    columns = torch.arange(components[0].shape[1], device=components[0].device)[:, None]
    return Summed(columns, torch.ones_like(columns, dtype=torch.float32), components)


def weighted(weights: Tensor, values: Tensor) -> Tensor:
    """Real weights [B, S] times values [num_items, S, ...]: [num_items, B, ...]."""
    rows = torch.view_as_real(values.resolve_conj()) if values.is_complex() else values
    shape = rows.shape[2:]
    rows = (weights.to(rows.dtype) @ rows.flatten(2)).unflatten(-1, shape)
    return torch.view_as_complex(rows) if values.is_complex() else rows


def mapped(mapping: CompactMapping, channels: Channels) -> Approximation:
    """The approximation that evaluates a mapping of the items, in the precision of the channels."""
    real, device = channels.a.real.dtype, channels.a.device
    mapping = mapping.to(real)
    table = mapping.trunk.table(mapping.coordinate(channels.frequencies.to(device)), real)
    folded = mapping.at(torch.zeros(mapping.num_links, dtype=torch.float64, device=device))
    return lambda subcarriers: mapping.evaluate(table, subcarriers, folded)


def sliced(components: Components) -> Approximation:
    """The approximation that reads components known on the whole grid."""
    return lambda subcarriers: tuple(c[:, subcarriers] for c in components)
