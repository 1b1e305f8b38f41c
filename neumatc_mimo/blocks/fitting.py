"""How the tensors of a call fit each other: a tensor with one item, OFDM symbol or subcarrier is
used for all, as in Sionna.
"""

from __future__ import annotations

from typing import NamedTuple

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
    shapes = {name: t.shape for name, t in tensors.items() if t is not None}
    columns = [[shape[place] for shape in shapes.values()] for place in (0, -2, -1)]
    joint = Sizes(*(joint_items(*column) for column in columns))
    # As torch.broadcast_shapes does, in a tenth of its time.
    if all(n in (1, size) for column, size in zip(columns, joint, strict=True) for n in column):
        return joint
    given = " and ".join(f"{name} has the shape {list(shape)}" for name, shape in shapes.items())
    raise ValueError(f"{given}: batch sizes, OFDM symbols and subcarriers must be equal, or one.")


def joint_items(*numbers: int) -> int:
    """Number of items of tensors that fit each other: none, one, or as many as any has."""
    return next((number for number in numbers if number != 1), 1)


def spread(tensor: Tensor, items: int = -1, symbols: int = -1, subcarriers: int = -1) -> Tensor:
    """A view of so many items, symbols and subcarriers, -1 as it is."""
    return tensor.expand(items, *(-1,) * (tensor.dim() - 3), symbols, subcarriers)
