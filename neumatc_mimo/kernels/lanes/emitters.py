"""What blocks make of a filter, told once: so that a kernel can do all of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from neumatc_mimo.kernels.lanes import operators, recalled
from neumatc_mimo.kernels.lanes.coverage import covers
from neumatc_mimo.kernels.lanes.demapping import Bits
from neumatc_mimo.kernels.lanes.devices import has_kernel, whitens
from neumatc_mimo.kernels.lanes.library import SourceKind
from neumatc_mimo.kernels.lanes.proven import Query, parts_of
from neumatc_mimo.kernels.lanes.recalled import Recalled
from neumatc_mimo.kernels.lanes.sources import (
    Source,
    conjugate_chirp,
    receiving_source_of,
    source_of,
)
from neumatc_mimo.operations.base import Operation
from neumatc_mimo.operations.ill_conditioned import wide
from neumatc_mimo.operations.pseudo_inverse import PseudoInverse
from neumatc_mimo.operations.svd import SVD
from neumatc_mimo.tensors.results import new_result


class Emitter(ABC):
    """Applies a filter to the symbols of resource grids and writes the result.

    :param symbols: numbers of the OFDM symbols that it has
    """

    symbols: Sequence[int]

    @abstractmethod
    def covers(self, operation: Operation, a: Tensor, no: Tensor | None) -> bool:
        """Whether a kernel does it with results of the operation.

        :param a: matrices, [num_items, num_subcarriers, m, n]
        :param no: noise power, [num_items] or [num_items, num_subcarriers], or None for zero
        """

    def proves(self, operation: Operation, a: Tensor, no: Tensor | None) -> bool:
        """Whether a kernel does it with queried results that it proves."""
        del operation, a, no
        return False

    @abstractmethod
    def emit(
        self, operation: Operation, a: Tensor, no: Tensor | None, query: Query | None = None
    ) -> Tensor:
        """Do it.

        :param query: results that stand in the place of exact ones where they are proven

        :return: by how much the rounding of each matrix is amplified in its result,
            [num_items, num_subcarriers]; NaN where there is none, and zero where the emitter has
            no use of it or the query is proven
        """

    def sizes(self, a: Tensor) -> tuple[Hashable, ...]:
        """What the time that it takes with matrices a depends on."""
        return type(self), a.dtype, a.shape, a.stride(), len(self.symbols)

    def num_used(self, a: Tensor) -> int:
        """Matrices whose results it has a use of."""
        return len(a) * a.shape[1]

    @abstractmethod
    def at(self, item: slice, places: Tensor) -> Self:
        """The same for single matrices in double precision, with symbols and results of its own.

        :param item: whose they are, or all where these share their matrices
        :param places: of the matrices among all of an item, [num_places] int64
        """

    @abstractmethod
    def take(self, other: Self, item: slice, places: Tensor, chosen: Tensor) -> None:
        """Write the results that another one has for single matrices.

        :param other: :meth:`at` these places
        :param chosen: whose results are written, [num_places] bool
        """

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
        if source is None:
            return False
        return covers(a, no, self.x, self.out, self.effective, kind=source.kind)

    def proves(self, operation: Operation, a: Tensor, no: Tensor | None) -> bool:
        sent = self.x.shape[1]
        return self.effective is None and _proves(self, operation, a, no, sent)

    def emit(
        self, operation: Operation, a: Tensor, no: Tensor | None, query: Query | None = None
    ) -> Tensor:
        source = _served(source_of(operation, *a.shape[-2:]), query)
        return operators.precode(
            source.kind,
            _channel(a),
            source.noise(_noise(no, a), a),
            along(self.x),
            self.out,
            self.symbols,
            conjugate_chirp(a.shape[-1], a.dtype, a.device),
            source.num_iterations,
            source.antennas_per_user,
            self.effective,
            *parts_of(query),
        )

    def at(self, item: slice, places: Tensor) -> Self:
        x = wide(self.x[item].index_select(-1, places)[:, :, list(self.symbols)])
        some = None
        if self.effective is not None:
            some = x.new_empty(*self.effective[item].shape[:3], len(places))
        return replace(
            self,
            x=x,
            out=new_result(x, len(x), self.out.shape[1], *x.shape[2:]),
            symbols=range(x.shape[2]),
            effective=some,
        )

    def take(self, other: Self, item: slice, places: Tensor, chosen: Tensor) -> None:
        for number, symbol in enumerate(self.symbols):
            _put(self.out[item, :, symbol], places, other.out[:, :, number], chosen)
        if self.effective is not None and other.effective is not None:
            _put(self.effective[item], places, other.effective, chosen)

    def recalls(self, links: Recalled) -> bool:
        return self.effective is None and recalled.serves(links, self.x, self.out)

    def recall(self, links: Recalled) -> None:
        whole = [0, self.x.shape[-1], 0]
        fields = operators.grids(len(links.links), along(self.x), self.out, self.symbols)
        fields |= operators.along_stretches(whole) | {"streams": self.x.shape[1]}
        recalled.run(links, operators.PRECODE, fields)


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

    @property
    def _numbers(self) -> list[int]:
        """The stretches' numbers, one after the other."""
        return [number for stretch in self.stretches for number in stretch]

    def at(self, item: slice, places: Tensor) -> Self:
        effective, on_grid = self._places(places)
        y = wide(self.y[item].index_select(-1, on_grid)[:, :, list(self.symbols)])
        num = len(effective)
        return replace(
            self,
            y=y,
            x_hat=new_result(y, len(y), len(self.streams), y.shape[2], num),
            no_eff=y.real.new_empty(len(y), len(self.streams), num),
            symbols=range(y.shape[2]),
            stretches=[(0, num, 0)],
        )

    def take(self, other: Self, item: slice, places: Tensor, chosen: Tensor) -> None:
        to, _ = self._places(places)
        for number, symbol in enumerate(self.symbols):
            _put(self.x_hat[item, :, symbol], to, other.x_hat[:, :, number], chosen)
        _put(self.no_eff[item], to, other.no_eff, chosen)

    @abstractmethod
    def _places(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Where the matrices at these places are among the results, and where in y."""

    def _moved(self, places: Tensor, stretches: Sequence[tuple[int, int]]) -> Tensor:
        """Places of the stretches' subcarriers among others.

        :param stretches: the first one of each, and where that is to go
        """
        first, to = torch.tensor(stretches, device=places.device).T.contiguous()
        number = torch.searchsorted(first, places, right=True) - 1
        return places + (to - first)[number]

    def proves(self, operation: Operation, a: Tensor, no: Tensor | None) -> bool:
        return _proves(self, operation, a, no, len(self.streams))

    def _emit(
        self,
        source: Source,
        a: Tensor,
        noise: Tensor | None,
        query: Query | None = None,
        whitening: Tensor | None = None,
    ) -> Tensor:
        no_eff = self.no_eff[: len(a)]
        amplification = operators.receive(
            source.kind,
            _channel(a),
            noise,
            whitening,
            along(self.y),
            self.x_hat,
            no_eff,
            self.symbols,
            self.streams,
            self._numbers,
            conjugate_chirp(a.shape[-1], a.dtype, a.device),
            *parts_of(query),
        )
        if len(a) < len(self.no_eff):
            self.no_eff[len(a) :] = no_eff
        return amplification


@dataclass(frozen=True)
class Received(_Receiving):
    """Symbols estimated with gains of one: streams are rows of the matrices.

    :param variance: of the noise where it differs between antennas, [num_items or 1, num_antennas,
        num_subcarriers or 1]: matrices and y are those over its root, and their noise power is one
    :param bits: of data symbols, which are then written in the place of x_hat; None for estimates
    """

    variance: Tensor | None = None
    bits: Bits | None = None

    def covers(self, operation: Operation, a: Tensor, no: Tensor | None) -> bool:
        source = receiving_source_of(operation, *a.shape[-2:])
        if source is None or (self.variance is not None and not whitens(a.device)):
            return False
        return covers(a, no, self.variance, self.y, self.x_hat, kind=source.kind)

    def proves(self, operation: Operation, a: Tensor, no: Tensor | None) -> bool:
        # Links' results are those of channels as they are.
        return self.variance is None and super().proves(operation, a, no)

    def emit(
        self, operation: Operation, a: Tensor, no: Tensor | None, query: Query | None = None
    ) -> Tensor:
        source, whitening = receiving_source_of(operation, *a.shape[-2:]), None
        if self.variance is not None:
            whitening = self.variance.rsqrt().expand(len(a), a.shape[-1], -1)
        return self._through(_served(source, query), a, _noise(no, a), query, whitening)

    def _through(
        self,
        source: Source,
        a: Tensor,
        noise: Tensor | None,
        query: Query | None,
        whitening: Tensor | None,
    ) -> Tensor:
        """Estimates or bits through filters of a source."""
        if self.bits is None:
            return self._emit(source, a, noise, query, whitening)
        return operators.detect(
            source.kind,
            _channel(a),
            noise,
            whitening,
            along(self.y),
            self.bits.llr,
            self.symbols,
            self.streams,
            self._numbers,
            *self.bits.parts(),
            *parts_of(query),
        )

    def at(self, item: slice, places: Tensor) -> Self:
        some = replace(super().at(item, places), bits=None)
        if self.variance is None:
            return some
        own = self.variance if len(self.variance) == 1 else self.variance[item]
        own = own if own.shape[-1] == 1 else own[..., places]
        return replace(some, variance=wide(own))

    def take(self, other: Self, item: slice, places: Tensor, chosen: Tensor) -> None:
        if self.bits is None:
            super().take(other, item, places, chosen)
            return
        at = places[chosen]
        if not len(at):
            return
        items = None if item.start is None else torch.full_like(at, item.start)
        no_eff = other.no_eff[:, :, None, chosen].to(self.no_eff.dtype)
        x_hat = other.x_hat[..., chosen].to(self.x_hat.dtype)
        self.bits.put(items, at, self.symbols, x_hat, no_eff)

    def recalls(self, links: Recalled) -> bool:
        known = type(links.operation) is PseudoInverse and self.variance is None
        return known and recalled.serves(links, self.y, self.x_hat)

    def recall(self, links: Recalled) -> None:
        self._recall(links, None)

    def _recall(self, links: Recalled, behind: Tensor | None) -> None:
        """The same with noise that is no part of the filters, [num_items, num_subcarriers or 1]."""
        num, y = len(links.links), along(self.y)
        fields = operators.receiving(self.streams, self._numbers)
        no_eff = self.no_eff[:num]
        if self.bits is not None:
            bits = self.bits.llr, self.symbols, *self.bits.parts()
            fields |= operators.reading(num, y, self.symbols)
            fields |= operators.writing_bits(num, len(y), *bits)
        else:
            fields |= operators.grids(num, y, self.x_hat, self.symbols)
            fields |= operators.noise_behind(no_eff)
        recalled.run(links, operators.RECEIVE, fields, behind)
        if self.bits is None and len(no_eff) < len(self.no_eff):
            self.no_eff[len(no_eff) :] = no_eff

    def _places(self, places: Tensor) -> tuple[Tensor, Tensor]:
        return places, self._moved(places, [(first, place) for first, _, place in self.stretches])


@dataclass(frozen=True)
class Forced(Received):
    """Symbols estimated by zero forcing: the noise is no part of the filters.

    :param noise: power behind the antennas, [num_items or 1, num_subcarriers or 1]
    """

    noise: Tensor | None = None

    def covers(self, operation: Operation, a: Tensor, no: Tensor | None) -> bool:
        source = source_of(operation, *a.shape[-2:])
        if no is not None or source is None or type(operation) is not PseudoInverse:
            return False
        return covers(a, self.noise, self.y, self.x_hat, kind=SourceKind.FORCING)

    def proves(self, operation: Operation, a: Tensor, no: Tensor | None) -> bool:
        return False

    def recalls(self, links: Recalled) -> bool:
        return links.no is None and self.noise is not None and super().recalls(links)

    def recall(self, links: Recalled) -> None:
        assert self.noise is not None
        self._recall(links, self.noise.to(torch.float32).expand(len(links.links), -1))

    def emit(
        self, operation: Operation, a: Tensor, no: Tensor | None, query: Query | None = None
    ) -> Tensor:
        assert self.noise is not None
        noise = self.noise.to(a.dtype.to_real()).expand(len(a), -1)
        return self._through(Source(SourceKind.FORCING), a, noise, query, None)

    def at(self, item: slice, places: Tensor) -> Self:
        assert self.noise is not None
        own = self.noise if len(self.noise) == 1 else self.noise[item]
        own = own if own.shape[-1] == 1 else own[..., places]
        return replace(super().at(item, places), noise=wide(own))


@dataclass(frozen=True)
class Combined(_Receiving):
    """Symbols estimated along the left singular vectors of the strongest streams, at the rows of
    the matrices, which are those of all subcarriers of y.

    :param noise: of the antennas, [num_items or 1, num_antennas or 1]
    """

    noise: Tensor | None = None

    def sizes(self, a: Tensor) -> tuple[Hashable, ...]:
        """What the time that it takes with matrices a depends on."""
        return type(self), a.dtype, a.shape, a.stride(), len(self.symbols)

    def num_used(self, a: Tensor) -> int:
        return len(a) * sum(num for _, num, _ in self.stretches)

    def covers(self, operation: Operation, a: Tensor, no: Tensor | None) -> bool:
        source = source_of(operation, *a.shape[-2:])
        if type(operation) is not SVD or source is None:
            return False
        return covers(a, no, self.noise, self.y, self.x_hat, kind=source.kind)

    def emit(
        self, operation: Operation, a: Tensor, no: Tensor | None, query: Query | None = None
    ) -> Tensor:
        del no
        source = _served(source_of(operation, *a.shape[-2:]), query)
        assert self.noise is not None
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
            of_part = None if query is None else query.at(part)
            amplification[:, part] = here._emit(source, a[:, part], noise, of_part)
        return amplification

    def at(self, item: slice, places: Tensor) -> Self:
        assert self.noise is not None
        some = self.noise if len(self.noise) == 1 else self.noise[item]
        return replace(super().at(item, places), noise=some)

    def _places(self, places: Tensor) -> tuple[Tensor, Tensor]:
        return self._moved(places, [(place, first) for first, _, place in self.stretches]), places


def computes(operation: Operation, a: Tensor, no: Tensor | None) -> bool:
    """Whether a kernel computes results of an operation on these matrices.

    :param a: [num_items, num_subcarriers, m, n]
    :param no: noise power, or None
    """
    source = source_of(operation, *a.shape[-2:])
    return source is not None and covers(a, no, kind=source.kind)


def _proves(
    emitter: Emitter, operation: Operation, a: Tensor, no: Tensor | None, num_streams: int
) -> bool:
    """Whether a kernel proves all that a query gives of so many streams."""
    if a.dtype != torch.complex64 or not emitter.covers(operation, a, no):
        return False
    source = source_of(operation, *a.shape[-2:])
    if source is None or source.proven is None:
        return False
    return source.num_streams in (None, num_streams) and has_kernel(source.proven, a)


def _served(source: Source | None, query: Query | None) -> Source:
    """Where the filters come from: the source itself, or a query's proven results."""
    assert source is not None
    if query is None:
        return source
    assert source.proven is not None
    return replace(source, kind=source.proven)


def _channel(a: Tensor) -> Tensor:
    """a [num_items, num_subcarriers, m, n] with subcarriers last, a view where it lies so."""
    return along(a.permute(0, 2, 3, 1))


def along(x: Tensor) -> Tensor:
    """x with its last dimension contiguous, and its entries as they are told."""
    x = x.resolve_conj().resolve_neg()
    return x if x.shape[-1] == 1 or x.stride(-1) == 1 else x.contiguous()


def _put(out: Tensor, places: Tensor, values: Tensor, chosen: Tensor) -> None:
    """Chosen values [..., num_places] to their places in the last dimension of out."""
    if not bool(chosen.all()):
        places, values = places[chosen], values[..., chosen]
    out.index_copy_(-1, places, values.to(out.dtype))


def _noise(no: Tensor | None, a: Tensor) -> Tensor | None:
    if no is None:
        return None
    no = no.to(a.dtype.to_real()).expand(len(a), *no.shape[1:])
    return no[:, None] if no.dim() == 1 else no
