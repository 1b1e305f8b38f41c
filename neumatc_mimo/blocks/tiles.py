"""Subcarriers in tiles, and in stretches of effective ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Stretch(NamedTuple):
    """Effective subcarriers that are neighbours on the grid.

    :param effective: Their places among the effective subcarriers
    :param grid: Their places on the grid of all subcarriers
    """

    effective: slice
    grid: slice


def stretches(index: Sequence[int]) -> list[Stretch]:
    """The stretches of effective subcarriers, from their ascending places on the grid."""
    starts = [i for i in range(len(index)) if i == 0 or index[i] != index[i - 1] + 1]
    stops = [*starts[1:], len(index)]
    return [
        Stretch(slice(i, j), slice(index[i], index[i] + j - i))
        for i, j in zip(starts, stops, strict=True)
    ]


def on_grid(tile: slice, among: Sequence[Stretch]) -> slice:
    """Where a tile of effective subcarriers, within one of the stretches, lies on the grid."""
    return _moved(tile, [(stretch.effective, stretch.grid) for stretch in among])


def among_effective(tile: slice, among: Sequence[Stretch]) -> slice:
    """Where a tile of the grid, within one of the stretches, lies among effective subcarriers."""
    return _moved(tile, [(stretch.grid, stretch.effective) for stretch in among])


def cut(tiles: Sequence[slice], borders: Sequence[slice]) -> list[slice]:
    """Tiles of which none lies across two of the borders' slices; all of them ascend."""
    both = [
        slice(max(tile.start, within.start), min(tile.stop, within.stop))
        for tile in tiles
        for within in borders
    ]
    return [tile for tile in both if tile.start < tile.stop]


def take(tensor: Tensor, dim: int, index: Sequence[int]) -> Tensor:
    """Entries along a dimension: a view where they are consecutive, else a copy."""
    start = index[0]
    if list(index) == list(range(start, start + len(index))):
        return tensor.narrow(dim, start, len(index))
    return tensor.index_select(dim, torch.tensor(list(index), device=tensor.device))


def _moved(tile: slice, ways: Sequence[tuple[slice, slice]]) -> slice:
    """The slice that corresponds to a part of one of the ways' first slices."""
    for here, there in ways:
        if here.start <= tile.start < here.stop:
            shift = there.start - here.start
            return slice(tile.start + shift, tile.stop + shift)
    raise ValueError(f"{tile} lies in no stretch of effective subcarriers.")
