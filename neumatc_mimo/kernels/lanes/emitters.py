"""What blocks make of a filter, told once: so that a kernel can do all of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from neumatc_mimo.kernels.lanes import operators
from neumatc_mimo.kernels.lanes.coverage import covers
from neumatc_mimo.operations.base import Operation


class Emitter(ABC):
    """Applies a filter to the symbols of resource grids and writes the result."""

    @abstractmethod
    def covers(self, operation: Operation, a: Tensor, no: Tensor | None) -> bool:
        """Whether a kernel does it with results of the operation.

        :param a: matrices, [num_items, num_subcarriers, m, n]
        :param no: noise power, [num_items] or [num_items, num_subcarriers], or None for zero
        """

    @abstractmethod
    def emit(self, a: Tensor, no: Tensor | None) -> Tensor:
        """Do it.

        :return: by how much the rounding of each matrix is amplified in its result,
            [num_items, num_subcarriers]; NaN where there is none
        """


@dataclass(frozen=True)
class Precoded(Emitter):
    """Symbols precoded with columns of unit norm.

    :param x: [batch_size, num_streams, num_ofdm_symbols, num_subcarriers]
    :param out: is written, [batch_size, num_antennas, num_ofdm_symbols, num_subcarriers]
    :param symbols: those that are precoded
    """

    x: Tensor
    out: Tensor
    symbols: Sequence[int]

    def covers(self, operation: Operation, a: Tensor, no: Tensor | None) -> bool:
        return covers(operation, a, no, self.x, self.out)

    def emit(self, a: Tensor, no: Tensor | None) -> Tensor:
        h, noise = _channel(a), _noise(no, a)
        return operators.precode(h, noise, _along(self.x), self.out, self.symbols)


@dataclass(frozen=True)
class Received(Emitter):
    """Symbols estimated with gains of one, and the noise behind them.

    :param y: [batch_size, num_antennas, num_ofdm_symbols, fft_size]
    :param x_hat: is written, [batch_size, len(streams), num_ofdm_symbols, num_subcarriers]
    :param no_eff: is written, [batch_size, len(streams), num_subcarriers]
    :param symbols: those that are estimated
    :param streams: rows of the matrices whose symbols are estimated
    :param stretches: first subcarrier, number of subcarriers, and place of the first one in y, of
        each stretch of neighbours
    """

    y: Tensor
    x_hat: Tensor
    no_eff: Tensor
    symbols: Sequence[int]
    streams: Sequence[int]
    stretches: Sequence[tuple[int, int, int]]

    def covers(self, operation: Operation, a: Tensor, no: Tensor | None) -> bool:
        return covers(operation, a, no, self.y, self.x_hat)

    def emit(self, a: Tensor, no: Tensor | None) -> Tensor:
        h, noise = _channel(a), _noise(no, a)
        no_eff = self.no_eff[: len(h)]
        amplification = operators.receive(
            h,
            noise,
            _along(self.y),
            self.x_hat,
            no_eff,
            self.symbols,
            self.streams,
            [number for stretch in self.stretches for number in stretch],
        )
        if len(h) < len(self.no_eff):
            self.no_eff[len(h) :] = no_eff
        return amplification


def _channel(a: Tensor) -> Tensor:
    """a [num_items, num_subcarriers, m, n] with subcarriers last, a view where it lies so."""
    return _along(a.permute(0, 2, 3, 1))


def _along(x: Tensor) -> Tensor:
    """x with its last dimension contiguous, and its entries as they are told."""
    x = x.resolve_conj().resolve_neg()
    return x if x.shape[-1] == 1 or x.stride(-1) == 1 else x.contiguous()


def _noise(no: Tensor | None, a: Tensor) -> Tensor | None:
    if no is None:
        return None
    no = no.to(a.dtype.to_real()).expand(len(a), *no.shape[1:])
    return no[:, None] if no.dim() == 1 else no
