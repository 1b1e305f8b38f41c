"""What blocks make of a filter, told once: so that a kernel can do all of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from neumatc_mimo.kernels.lanes import operators, recalled
from neumatc_mimo.kernels.lanes.coverage import covers
from neumatc_mimo.kernels.lanes.recalled import Recalled
from neumatc_mimo.kernels.lanes.sources import Source, conjugate_chirp, source_of
from neumatc_mimo.operations.base import Operation
from neumatc_mimo.operations.pseudo_inverse import PseudoInverse
from neumatc_mimo.operations.svd import SVD


class Emitter(ABC):
    """Applies a filter to the symbols of resource grids and writes the result."""

    @abstractmethod
    def covers(self, operation: Operation, a: Tensor, no: Tensor | None) -> bool:
        """Whether a kernel does it with results of the operation.

        :param a: matrices, [num_items, num_subcarriers, m, n]
        :param no: noise power, [num_items] or [num_items, num_subcarriers], or None for zero
        """

    @abstractmethod
    def emit(self, operation: Operation, a: Tensor, no: Tensor | None) -> Tensor:
        """Do it.

        :return: by how much the rounding of each matrix is amplified in its result,
            [num_items, num_subcarriers]; NaN where there is none, and zero where the emitter has
            no use of it
        """

    def num_used(self, a: Tensor) -> int:
        """Matrices whose results it has a use of."""
        return len(a) * a.shape[1]

    def recalls(self, links: Recalled) -> bool:
        """Whether a kernel does it with results that are recalled."""
        del links
        return False

    def recall(self, links: Recalled) -> None:
        """Do it with these."""
        raise NotImplementedError


@dataclass(frozen=True)
class Precoded(Emitter):
    """Symbols precoded: with columns of unit norm of a pseudo-inverse, with the precoding matrix of
    any other operation.

    :param x: [batch_size, num_streams, num_ofdm_symbols, num_subcarriers]
    :param out: is written, [batch_size, num_antennas, num_ofdm_symbols, num_subcarriers]
    :param symbols: those that are precoded
    :param effective: is written, the matrices times the filters, [num_items, m, num_streams,
        num_subcarriers]; or None
    """

    x: Tensor
    out: Tensor
    symbols: Sequence[int]
    effective: Tensor | None = None

    def covers(self, operation: Operation, a: Tensor, no: Tensor | None) -> bool:
        source = source_of(operation, *a.shape[-2:])
        return source is not None and covers(a, no, self.x, self.out, self.effective)

    def emit(self, operation: Operation, a: Tensor, no: Tensor | None) -> Tensor:
        source = source_of(operation, *a.shape[-2:])
        assert source is not None
        return operators.precode(
            source.kind,
            _channel(a),
            source.noise(_noise(no, a), a),
            along(self.x),
            self.out,
            self.symbols,
            conjugate_chirp(a.shape[-1], a.dtype),
            source.num_iterations,
            self.effective,
        )

    def recalls(self, links: Recalled) -> bool:
        return self.effective is None and recalled.serves(links, self.x, self.out)

    def recall(self, links: Recalled) -> None:
        whole = [0, self.x.shape[-1], 0]
        x, streams = along(self.x), self.x.shape[1]
        recalled.run(links, recalled.PRECODE, x, self.out, self.symbols, streams, whole)


@dataclass(frozen=True)
class _Receiving(Emitter):
    """Streams that are estimated, and the noise behind them.

    :param y: [batch_size, num_antennas, num_ofdm_symbols, fft_size]
    :param x_hat: is written, [batch_size, len(streams), num_ofdm_symbols, num_subcarriers]
    :param no_eff: is written, [batch_size, len(streams), num_subcarriers]
    :param symbols: those that are estimated
    :param streams: that are estimated
    :param stretches: first subcarrier, number of subcarriers, and place of the first one in y, of
        each stretch of neighbours
    """

    y: Tensor
    x_hat: Tensor
    no_eff: Tensor
    symbols: Sequence[int]
    streams: Sequence[int]
    stretches: Sequence[tuple[int, int, int]]

    def _emit(self, source: Source, a: Tensor, noise: Tensor | None) -> Tensor:
        no_eff = self.no_eff[: len(a)]
        amplification = operators.receive(
            source.kind,
            _channel(a),
            noise,
            along(self.y),
            self.x_hat,
            no_eff,
            self.symbols,
            self.streams,
            [number for stretch in self.stretches for number in stretch],
            conjugate_chirp(a.shape[-1], a.dtype),
        )
        if len(a) < len(self.no_eff):
            self.no_eff[len(a) :] = no_eff
        return amplification


@dataclass(frozen=True)
class Received(_Receiving):
    """Symbols estimated with gains of one: streams are rows of the matrices."""

    def covers(self, operation: Operation, a: Tensor, no: Tensor | None) -> bool:
        known = type(operation) is PseudoInverse and source_of(operation, *a.shape[-2:]) is not None
        return known and covers(a, no, self.y, self.x_hat)

    def emit(self, operation: Operation, a: Tensor, no: Tensor | None) -> Tensor:
        source = source_of(operation, *a.shape[-2:])
        assert source is not None
        return self._emit(source, a, _noise(no, a))

    def recalls(self, links: Recalled) -> bool:
        known = type(links.operation) is PseudoInverse
        return known and recalled.serves(links, self.y, self.x_hat)

    def recall(self, links: Recalled) -> None:
        stretches = [number for stretch in self.stretches for number in stretch]
        no_eff = self.no_eff[: len(links.links)]
        recalled.run(
            links,
            recalled.RECEIVE,
            along(self.y),
            self.x_hat,
            self.symbols,
            self.streams,
            stretches,
            no_eff,
        )
        if len(no_eff) < len(self.no_eff):
            self.no_eff[len(no_eff) :] = no_eff


@dataclass(frozen=True)
class Combined(_Receiving):
    """Symbols estimated along the left singular vectors of the strongest streams, at the rows of
    the matrices, which are those of all subcarriers of y.

    :param noise: of the antennas, [num_items or 1, num_antennas or 1]
    """

    noise: Tensor | None = None

    def num_used(self, a: Tensor) -> int:
        return len(a) * sum(num for _, num, _ in self.stretches)

    def covers(self, operation: Operation, a: Tensor, no: Tensor | None) -> bool:
        known = type(operation) is SVD and source_of(operation, *a.shape[-2:]) is not None
        return known and covers(a, no, self.noise, self.y, self.x_hat)

    def emit(self, operation: Operation, a: Tensor, no: Tensor | None) -> Tensor:
        del no
        source = source_of(operation, *a.shape[-2:])
        assert source is not None and self.noise is not None
        noise = self.noise.to(a.dtype.to_real()).expand(len(a), a.shape[-2])
        amplification = a.real.new_zeros(a.shape[:2])
        for first, num, place in self.stretches:
            # The matrices, too, are on the grid there.
            here = replace(
                self,
                x_hat=self.x_hat[..., first : first + num],
                no_eff=self.no_eff[..., first : first + num],
                stretches=[(0, num, place)],
            )
            part = slice(place, place + num)
            amplification[:, part] = here._emit(source, a[:, part], noise)
        return amplification


def computes(operation: Operation, a: Tensor, no: Tensor | None) -> bool:
    """Whether a kernel computes results of an operation on these matrices.

    :param a: [num_items, num_subcarriers, m, n]
    :param no: noise power, or None
    """
    return source_of(operation, *a.shape[-2:]) is not None and covers(a, no)


def _channel(a: Tensor) -> Tensor:
    """a [num_items, num_subcarriers, m, n] with subcarriers last, a view where it lies so."""
    return along(a.permute(0, 2, 3, 1))


def along(x: Tensor) -> Tensor:
    """x with its last dimension contiguous, and its entries as they are told."""
    x = x.resolve_conj().resolve_neg()
    return x if x.shape[-1] == 1 or x.stride(-1) == 1 else x.contiguous()


def _noise(no: Tensor | None, a: Tensor) -> Tensor | None:
    if no is None:
        return None
    no = no.to(a.dtype.to_real()).expand(len(a), *no.shape[1:])
    return no[:, None] if no.dim() == 1 else no
