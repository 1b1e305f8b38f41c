"""Bits of data symbols, written where symbols are estimated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial

import torch
from torch import Tensor

from neumatc_mimo.blocks.data_symbols import DataSymbols
from neumatc_mimo.blocks.qam_demapper import QAMDemapper
from neumatc_mimo.kernels.lanes import Bits, Emitter, Received
from neumatc_mimo.tensors.results import new_result


class DetectedBits:
    """Bits that kernels write in the place of estimates, and those of all other symbols.

    :param demapper: makes bits of estimates
    :param data: where the data symbols are
    :param y: what is received, [batch_size, ...]
    """

    def __init__(self, demapper: QAMDemapper, data: DataSymbols, y: Tensor) -> None:
        self._demapper, self._data, self._y = demapper, data, y
        # [num_rows, num_ofdm_symbols]: which ones a kernel has written.
        self._written = torch.zeros(len(data.rows), data.num_symbols, dtype=torch.bool)

    @cached_property
    def _llr(self) -> Tensor:
        """What kernels write, [batch_size, num_rows, num_data_symbols * num_bits]."""
        num_rows, num_data = self._data.rows.shape
        return new_result(
            self._y.real, len(self._y), num_rows, num_data * self._demapper.qam.num_bits
        )

    def emitter(self, received: Emitter | None, rows: Sequence[int]) -> Emitter | None:
        """What is asked of a kernel in the place of estimates, None where there is no kernel.

        :param rows: of the streams
        """
        # Where data lies is worked out for kernels alone: elsewhere a device would be waited for.
        if not isinstance(received, Received):
            return None
        if not self._demapper.qam.covers(received.y, received.no_eff):
            return None
        bits = Bits(self._llr, rows, self._data.runs, self._demapper.qam, partial(self.put, rows))
        symbols = self._data.carrying(rows, received.symbols)
        return replace(received, symbols=symbols, bits=bits)

    def written(self, rows: Sequence[int], symbols: Sequence[int]) -> None:
        """Told where a kernel has written bits: in these rows and OFDM symbols."""
        self._written[torch.tensor(list(rows))[:, None], list(symbols)] = True

    def put(
        self,
        rows: Sequence[int],
        items: Tensor | None,
        at: Tensor,
        symbols: Sequence[int],
        x_hat: Tensor,
        no_eff: Tensor,
    ) -> None:
        """Write bits of single subcarriers.

        :param rows: of the streams
        :param items: whose subcarriers they are, [num_places]; None for all items
        :param at: the subcarriers, [num_places]
        :param symbols: OFDM symbols
        :param x_hat: [1 or batch_size, num_streams, num_symbols, num_places]
        :param no_eff: [1 or batch_size, num_streams, 1, num_places]
        """
        bits = self._demapper(x_hat, no_eff).unflatten(-1, (x_hat.shape[-1], -1))
        data = self._data.places[list(rows)][:, list(symbols)][..., at]
        stream, symbol, number = (data >= 0).nonzero(as_tuple=True)
        row = torch.tensor(list(rows), device=data.device)[stream]
        llr = self._llr.unflatten(-1, (-1, bits.shape[-1]))
        place = data[stream, symbol, number]
        if items is None:
            llr[:, row, place] = bits[:, stream, symbol, number]
        else:
            llr[items[number], row, place] = bits[0, stream, symbol, number]

    def completed(self, estimates: Callable[[], tuple[Tensor, Tensor]]) -> Tensor:
        """All bits, [batch_size, num_rows, num_data_symbols * num_bits].

        :param estimates: gives x_hat and no_eff, [batch_size, num_tx, num_streams,
            num_data_symbols], right where no kernel has written bits
        """
        if bool(self._written.all()):
            return self._llr
        rest: Tensor = self._demapper(*estimates()).flatten(1, 2)
        if not bool(self._written.any()):
            return rest
        written = self._written.to(rest.device).gather(1, self._data.symbols)
        written = written.repeat_interleave(self._demapper.qam.num_bits, -1)
        return torch.where(written, self._llr, rest)
