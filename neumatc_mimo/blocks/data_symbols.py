"""Extraction of the data symbols of all streams from a resource grid."""

from __future__ import annotations

import torch
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor


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

    def __call__(self, z: Tensor) -> Tensor:
        z = z.flatten(-2)
        if self._is_all:
            return z
        return torch.gather(z, -1, self._index.expand(*z.shape[:-1], -1))
