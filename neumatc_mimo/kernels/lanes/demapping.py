"""Demapping of square QAM, symbol by symbol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from neumatc_mimo.kernels.lanes import operators
from neumatc_mimo.kernels.lanes.coverage import covers
from neumatc_mimo.tensors.results import new_result

# As in ``native/demap.h``.
_MOST_LEVELS = 2**5


@dataclass(frozen=True)
class SquareQAM:
    """How symbols of a square constellation are demapped, whose bits lie on one axis each.

    :param levels: Real and imaginary parts of the points, [2**num_bits] complex, in the order of
        the labels of one axis
    :param method: "app" or "maxlog"
    :param hard_out: Whether bits are decided
    """

    levels: Tensor
    method: str
    hard_out: bool

    @property
    def num_bits(self) -> int:
        """Of a symbol."""
        return 2 * (len(self.levels).bit_length() - 1)

    def covers(self, y: Tensor, no: Tensor) -> bool:
        """Whether there is a kernel for symbols and the noise behind them."""
        fits = len(self.levels) <= _MOST_LEVELS and self.levels.dtype == y.dtype
        return fits and covers(y, no, self.levels)

    def demap(self, y: Tensor, no: Tensor) -> Tensor:
        """Log-likelihood ratios or decisions, [..., n * num_bits], of y [..., n].

        :param no: Noise variance, broadcastable to y
        """
        llr = new_result(y.real, *y.shape[:-1], y.shape[-1] * self.num_bits)
        no = no.to(y.real.dtype)
        no = no.reshape(1) if no.numel() == 1 else no.expand(y.shape).reshape(-1)
        y = y.resolve_conj().reshape(-1)
        operators.demap(y, no.contiguous(), *self.parts(), llr.view(-1))
        return llr

    def parts(self) -> tuple[Tensor, str, bool]:
        """As operators take it: levels of the real and of the imaginary axis, [2, 2**bits of an
        axis], the method, and whether bits are decided.
        """
        levels = torch.view_as_real(self.levels).T.contiguous()
        return levels, self.method, self.hard_out


@dataclass(frozen=True)
class DataRuns:
    """Where the data symbols of a grid's rows are.

    :param at: [num_rows * num_ofdm_symbols + 1] int64, where the runs of a row and an OFDM symbol
        begin
    :param run: [num_runs, 3] int64, neighbours with data: first subcarrier, number of subcarriers,
        and which data symbol the first one has
    """

    at: Tensor
    run: Tensor


@dataclass(frozen=True)
class Bits:
    """Where a receiver's bits go, in the place of its estimates.

    :param llr: is written, [batch_size, num_rows, num_data_symbols * bits of a symbol]
    :param rows: of the streams
    :param data: where the data symbols of the rows are
    :param qam: how they are demapped
    :param put: writes those of single subcarriers: of items [num_places], or of all where that is
        None, at subcarriers [num_places], in OFDM symbols, from x_hat [1 or batch_size,
        num_streams, symbols, num_places] and no_eff [1 or batch_size, num_streams, 1, num_places]
    """

    llr: Tensor
    rows: Sequence[int]
    data: DataRuns
    qam: SquareQAM
    put: Callable[[Tensor | None, Tensor, Sequence[int], Tensor, Tensor], None]

    def parts(self) -> tuple[Sequence[int], Tensor, Tensor, Tensor, str, bool]:
        """As operators take it: rows, runs, and what ``qam`` has."""
        return self.rows, self.data.at, self.data.run, *self.qam.parts()
