"""Channels of links along the second coordinate of their mappings."""

from __future__ import annotations

import torch
from torch import Tensor

from neumatc_mimo.scenario.links import LinkSet


def channels_along(
    links: LinkSet, values: Tensor, chosen: Tensor, frequencies: Tensor, dtype: torch.dtype
) -> Tensor:
    """Aligned channels of chosen links at values [q] of the axis, [l, F, q, K, M]; where users
    stand still one, [l, F, 1, K, M], stands for all.
    """
    if links.doppler is None:
        return links.channel(frequencies, chosen, aligned=True, dtype=dtype)[:, :, None]
    moments = [
        links.channel(frequencies, chosen, aligned=True, dtype=dtype, time=float(value))
        for value in values
    ]
    return torch.stack(moments, dim=2)
