"""Base of the receiving blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.common import (
    SolverBlock,
    Symbols,
    at_symbols,
    in_rows,
    moved,
    pieces,
    take,
)
from neumatc_mimo.kernels.applied import Applied


class Combiner(NamedTuple):
    """Receive filters of a tile of subcarriers.

    :param tile: Effective subcarriers
    :param matrix: [batch_size, tile, num_rx_ant, num_streams], or products with it
    :param after: Gives x_hat [batch_size, tile, symbols, num_streams] for y times the matrix
    :param no_eff: [batch_size, tile, num_streams] effective noise variance
    """

    tile: slice
    matrix: Tensor | Applied
    after: Callable[[Tensor], Tensor]
    no_eff: Tensor


class Receiver(SolverBlock):
    """Linear combining at every receiver with matrices of the solver."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._data_symbols = DataSymbols(self._resource_grid, self.device)
        self._stream_ind = self._stream_management.stream_ind.tolist()

    def _receive(
        self, y: Tensor, groups: list[Symbols], combiners: Callable[[int, int], Iterator[Combiner]]
    ) -> tuple[Tensor, Tensor]:
        """Apply combiners to y and extract the data symbols.

        :param y: [batch_size, num_rx, num_rx_ant, num_ofdm_symbols, fft_size]
        :param groups: OFDM symbols that share their combiners
        :param combiners: Gives the combiners of a receiver and a group's first symbol

        :return: x_hat and no_eff, [batch_size, num_tx, num_streams, num_data_symbols]
        """
        shape = (y.shape[0], self._num_rx, self._num_streams_per_rx)
        x_hat = y.new_empty(*shape, y.shape[3], self._num_effective)
        no_eff = y.real.new_empty(*shape, len(groups), self._num_effective)
        for rx in range(self._num_rx):
            for group, runs in enumerate(groups):
                for tile, matrix, after, noise in combiners(rx, runs[0].start):
                    no_eff[:, rx, :, group, tile] = noise.mT
                    for symbols in runs:
                        received = y[:, rx, :, symbols, moved(tile, self._runs)]
                        part = after(_received(received, matrix))
                        x_hat[:, rx, :, symbols, tile] = part.permute(0, 3, 2, 1)
        return self._extract(x_hat), self._extract(at_symbols(no_eff, groups, y.shape[3]))

    def _extract(self, z: Tensor) -> Tensor:
        """Data symbols of all transmitters' streams from the receivers' streams."""
        z = take(z.flatten(1, 2), 1, self._stream_ind)
        # [batch_size, num_tx, num_streams, num_ofdm_symbols, num_effective_subcarriers]
        z = z.reshape(z.shape[0], self._num_tx, self._num_streams_per_tx, *z.shape[2:])
        return self._data_symbols(z)


def _received(y: Tensor, matrix: Tensor | Applied) -> Tensor:
    """y [batch_size, num_rx_ant, symbols, tile] times the matrix, [batch_size, tile, symbols, .]"""
    if isinstance(matrix, Applied):
        return matrix.receive(y).permute(0, 3, 2, 1)
    products = [in_rows(y[..., piece], (0, 3, 2, 1)) @ matrix[:, piece] for piece in pieces(matrix)]
    return products[0] if len(products) == 1 else torch.cat(products, dim=1)


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
        self._is_all = self._index.shape == order.shape

    def __call__(self, z: Tensor) -> Tensor:
        z = z.flatten(-2)
        if self._is_all:
            return z
        return torch.gather(z, -1, self._index.expand(*z.shape[:-1], -1))
