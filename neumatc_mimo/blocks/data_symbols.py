"""Data symbols of all streams: their places on a resource grid, and their extraction."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.kernels.lanes import DataRuns


class DataSymbols:
    """Extraction of the data symbols of all streams from a resource grid.

    :param resource_grid: ResourceGrid with its pilot pattern
    :param device: Device of the indices

    :input z: [batch_size, num_tx, num_streams_per_tx, num_ofdm_symbols, num_effective_subcarriers]

    :output: [batch_size, num_tx, num_streams_per_tx, num_data_symbols]
    """

    def __init__(self, resource_grid: ResourceGrid, device: str) -> None:
        pattern = resource_grid.pilot_pattern
        # A stable sort keeps the data symbols, whose mask is zero, in their order.
        order = torch.argsort(pattern.mask.flatten(-2), dim=-1, stable=True)
        self._index = order[..., : int(pattern.num_data_symbols)].to(device)
        self.num_data = int(self._index.shape[-1])
        self._is_all = self._index.shape == order.shape
        self.num_symbols = int(pattern.mask.shape[-2])
        self._num_subcarriers = int(pattern.mask.shape[-1])

    def __call__(self, z: Tensor) -> Tensor:
        z = z.flatten(-2)
        if self._is_all:
            return z
        return torch.gather(z, -1, self._index.expand(*z.shape[:-1], -1))

    def placed(self, values: Tensor) -> Tensor:
        """Values [..., num_tx, num_streams_per_tx, num_data_symbols] where they belong, zero
        elsewhere, [..., num_tx, num_streams_per_tx, num_ofdm_symbols, num_effective_subcarriers].
        """
        shape = (self.num_symbols, self._num_subcarriers)
        whole = values.new_zeros(*values.shape[:-1], shape[0] * shape[1])
        whole = whole.scatter(-1, self._index.expand(*values.shape[:-1], -1), values)
        return whole.unflatten(-1, shape)

    @property
    def rows(self) -> Tensor:
        """Places on the flattened grid, [num_tx * num_streams_per_tx, num_data_symbols]."""
        return self._index.flatten(0, 1)

    @cached_property
    def symbols(self) -> Tensor:
        """OFDM symbols of the data symbols of each row, likewise."""
        return self.rows // self._num_subcarriers

    @cached_property
    def runs(self) -> DataRuns:
        """The same as runs of neighbouring subcarriers."""
        rows, symbols = self.rows.cpu(), self.symbols.cpu()
        begins = torch.ones_like(rows, dtype=torch.bool)
        begins[:, 1:] = (rows.diff(dim=1) != 1) | (symbols.diff(dim=1) != 0)
        row, place = begins.nonzero(as_tuple=True)
        ends = torch.cat([begins[:, 1:], torch.ones_like(begins[:, :1])], 1)
        count = ends.nonzero(as_tuple=True)[1] + 1 - place
        per_pair = torch.bincount(
            row * self.num_symbols + symbols[row, place], minlength=len(rows) * self.num_symbols
        )
        at = torch.nn.functional.pad(per_pair.cumsum(0), (1, 0))
        return DataRuns(
            at, torch.stack([rows[row, place] % self._num_subcarriers, count, place], 1)
        )

    def carrying(self, rows: Sequence[int], symbols: Sequence[int]) -> list[int]:
        """Those of some OFDM symbols that carry data in one of some rows."""
        at = self.runs.at
        runs = at.diff().view(-1, self.num_symbols)[list(rows)].sum(0).tolist()
        return [symbol for symbol in symbols if runs[symbol]]

    @cached_property
    def places(self) -> Tensor:
        """Which data symbol of its row lies where, -1 where none does, [num_rows,
        num_ofdm_symbols, num_effective_subcarriers].
        """
        rows, shape = self.rows, (self.num_symbols, self._num_subcarriers)
        places = rows.new_full((len(rows), shape[0] * shape[1]), -1)
        places.scatter_(1, rows, torch.arange(rows.shape[1], device=rows.device).expand_as(rows))
        return places.unflatten(1, shape)
