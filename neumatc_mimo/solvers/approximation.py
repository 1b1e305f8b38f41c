"""A solver's own components of a call, before any proof, and where they come from."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from neumatc_mimo.mapping.compact import CompactMapping
from neumatc_mimo.operations.base import Components
from neumatc_mimo.solvers.base import Channels

# Components of a tile of subcarriers, [num_items, tile, ...] each.
Approximation = Callable[[slice], Components]


def with_samples(
    approximation: Approximation, points: Tensor, samples: Components
) -> Approximation:
    """An approximation, and the samples themselves where they are.

    :param points: [num_samples] ascending grid points of the samples
    :param samples: [num_items, num_samples, ...] each
    """

    def approximation_with_samples(subcarriers: slice) -> Components:
        components = approximation(subcarriers)
        first, last = torch.searchsorted(
            points, points.new_tensor([subcarriers.start, subcarriers.stop])
        )
        where = points[first:last] - subcarriers.start
        # In place: approximations are new tensors, or hold these very samples after the first time.
        for c, sample in zip(components, samples, strict=True):
            c.index_copy_(1, where, sample[:, first:last])
        return components

    return approximation_with_samples


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
