"""Effective channels after precoding, collected tile by tile."""

from __future__ import annotations

from torch import Tensor

from neumatc_mimo.blocks.symbols import Symbols, at_symbols
from neumatc_mimo.tensors.results import new_result


class EffectiveChannel:
    """Channels of all receivers times the precoding matrices of all transmitters.

    :param h: [batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_ofdm_symbols, fft_size]
    :param num_streams: Of each transmitter
    :param groups: OFDM symbols of the same effective channel
    """

    def __init__(self, h: Tensor, num_streams: int, groups: list[Symbols]) -> None:
        self._num_rx, self._num_symbols, self._groups = h.shape[1], h.shape[5], groups
        num_rows = h.shape[1] * h.shape[2]
        shape = (len(h), num_rows, h.shape[3], num_streams, len(groups), h.shape[6])
        self._values = new_result(h, *shape)

    def of_group(self, group: int) -> Tensor:
        """Where those of a group of symbols belong, for a transmitter that is the only one,
        [batch_size, num_rows, num_streams, fft_size].
        """
        return self._values[:, :, 0, :, group]

    def put_single(self, a: Tensor, matrix: Tensor, group: int, where: Tensor) -> None:
        """Likewise, work out those of single subcarriers.

        :param a: [batch_size, fft_size, num_rows, num_tx_ant]
        :param matrix: [1, num_places, num_tx_ant, num_streams]
        :param where: [batch_size, fft_size] bool
        """
        item, at = where.nonzero(as_tuple=True)
        self.of_group(group)[item, :, :, at] = a[where] @ matrix[0]

    def put(self, h: Tensor, matrix: Tensor, tx: int, group: int, tile: slice) -> None:
        """Work out a tile of one transmitter and group of symbols.

        :param h: [batch_size, num_rx, num_rx_ant, num_tx_ant, fft_size]
        :param matrix: [batch_size, tile, num_tx_ant, num_streams]
        """
        a = h[..., tile].flatten(1, 2).permute(0, 3, 1, 2).contiguous()
        self._values[:, :, tx, :, group, tile] = (a @ matrix).permute(0, 2, 3, 1)

    def seen(self, effective: Tensor) -> Tensor:
        """All of it without nulled subcarriers, [batch_size, num_rx, num_rx_ant, num_tx,
        num_streams, num_ofdm_symbols, num_effective_subcarriers]; a view where symbols repeat.

        :param effective: Indices of the effective subcarriers, int64
        """
        values = self._values.index_select(-1, effective).unflatten(1, (self._num_rx, -1))
        return at_symbols(values, self._groups, self._num_symbols)
