"""How the tensors of a call fit each other: what has one item, OFDM symbol or subcarrier holds for
all, as in Sionna.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Sizes(NamedTuple):
    """Of a tensor [items, ..., symbols, subcarriers], or of several together."""

    items: int
    symbols: int
    subcarriers: int


def joint_sizes(**tensors: Tensor | None) -> Sizes:
    """What tensors [items, ..., symbols, subcarriers] have together, each or 1; None is no tensor.

    :raises ValueError: if they do not fit each other
    """
    shapes = {name: list(t.shape) for name, t in tensors.items() if t is not None}
    try:
        return Sizes(*torch.broadcast_shapes(*((s[0], s[-2], s[-1]) for s in shapes.values())))
    except RuntimeError:
        given = " and ".join(f"{name} has the shape {shape}" for name, shape in shapes.items())
        raise ValueError(
            f"{given}: batch sizes, OFDM symbols and subcarriers have to be as many, or one."
        ) from None


def joint_items(*numbers: int) -> int:
    """Number of items of tensors that fit each other: none, one, or as many as any has."""
    return next((number for number in numbers if number != 1), 1)


def spread(tensor: Tensor, items: int = -1, symbols: int = -1, subcarriers: int = -1) -> Tensor:
    """A view of so many items, symbols and subcarriers, -1 as it is."""
    return tensor.expand(items, *(-1,) * (tensor.dim() - 3), symbols, subcarriers)
