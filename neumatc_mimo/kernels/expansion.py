"""Filters as few rows of a latent tensor, as the kernels take them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Expansion(NamedTuple):
    """Filters as sums of rows of a latent tensor.

    :param columns: [num_subcarriers, num_terms] int64, consecutive rows that a subcarrier takes, or
        [num_items, num_subcarriers, num_terms] where items take other ones
    :param values: float32, their weights, likewise, or of each item
    :param rows: [num_items, rank, n] float32,
        with the filter [num_antennas, num_streams] first in a row, complex entries as pairs
    :param num_antennas: of the filter
    :param num_streams: of the filter
    """

    columns: Tensor
    values: Tensor
    rows: Tensor
    num_antennas: int
    num_streams: int


def plain(columns: Tensor, values: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Columns, values and rows in the types and strides that the kernels in C++ read."""
    if rows.stride(-1) != 1 or rows.dtype != torch.float32:
        rows = rows.to(torch.float32).contiguous()
    return *readable(columns, values), rows


def readable(columns: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Columns and values likewise; what is the same for all subcarriers is not copied for each."""
    if columns.stride() != (0, 1):
        columns = columns.contiguous()
    return columns, values.contiguous().to(torch.float32)
