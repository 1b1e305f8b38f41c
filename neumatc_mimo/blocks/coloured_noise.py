"""MMSE filters in noise that differs between antennas or is correlated between them, and in
interference; computed exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from neumatc_mimo.blocks.checks import check_finite
from neumatc_mimo.blocks.noise_covariance import (
    Grouped,
    NoiseCovariance,
    Whitener,
    definite_factor,
)
from neumatc_mimo.blocks.operators import NoKernelError, kernels_alone
from neumatc_mimo.blocks.tiles import cut, take
from neumatc_mimo.foundation.counts import Counts
from neumatc_mimo.kernels.lanes import Done, Emitter, Received, emit
from neumatc_mimo.operations.base import Surely
from neumatc_mimo.operations.ill_conditioned import wide
from neumatc_mimo.operations.pseudo_inverse import Filter, PseudoInverse, multiplied, narrow
from neumatc_mimo.solvers.base import tiles
from neumatc_mimo.tensors.differentiated import is_differentiated
from neumatc_mimo.tensors.tracing import is_traced

_OPERATION = PseudoInverse()


class Coloured(NamedTuple):
    """Filters of the desired streams in noise and interference.

    :param tile: of subcarriers, one after the other
    :param found: their filters
    :param where: [batch_size, num_subcarriers] bool, single subcarriers in the place of a tile;
        None for a tile
    """

    tile: slice
    found: Surely
    where: Tensor | None = None


def coloured_filters(
    h: Tensor,
    variance: Tensor,
    desired: list[int],
    undesired: list[int],
    borders: Sequence[slice],
    counts: Counts,
    emitter: Emitter | None = None,
    *,
    looking: bool,
    covariance: Tensor | None = None,
) -> Iterator[Coloured]:
    """Tiles of subcarriers, none across two ``borders``, with the filters of the desired streams in
    noise and in the interference of the undesired ones.

    :param h: [batch_size, num_rx_ant, num_streams, num_subcarriers]
    :param variance: Of the noise, [batch_size or 1, num_rx_ant or 1, num_subcarriers or 1]
    :param desired: Places of streams in h, as ``undesired``
    :param counts: Are added to
    :param emitter: What is made of the filters, if a kernel may do it: then the single subcarriers
        that it leaves are all that is yielded
    :param looking: whether ill-conditioned filters are looked for, and computed in double precision
    :param covariance: Of correlated noise beside it, [batch_size or 1, num_groups, num_rx_ant,
        num_rx_ant], as of :class:`~neumatc_mimo.blocks.noise_covariance.NoiseCovariance`
    """
    if covariance is not None:
        together = NoiseCovariance(covariance, variance, h.shape[-1])
        yield from _correlated(h, together, desired, undesired, borders, counts, looking)
        return
    counts.exact += len(h) * h.shape[-1]
    filters_of = _jointly if h.shape[2] <= h.shape[1] else _whitened
    left = None
    if isinstance(emitter, Received):
        done = _emitted(emitter, h, variance, looking=looking)
        if done is not None:
            counts.refined += done.refined
            if done.left is None:
                return
            left = done.left
    a, noise = _desired_first(h, variance, desired, undesired)
    if left is not None:
        single = [t.expand(len(h), *t.shape[1:])[left][None] for t in (a, noise)]
        found = filters_of(single[0], single[1], len(desired), looking)
        counts.refined += found.refined
        yield Coloured(slice(None), found, left)
        return
    if not is_traced() and kernels_alone():
        raise NoKernelError
    for tile in cut(tiles(a), borders):
        found = filters_of(a[:, tile].contiguous(), noise[:, tile], len(desired), looking)
        if not is_traced():
            check_finite(a, found.answer.x.sum())
        counts.refined += found.refined
        yield Coloured(tile, found)


def _correlated(
    h: Tensor,
    noise: NoiseCovariance,
    desired: list[int],
    undesired: list[int],
    borders: Sequence[slice],
    counts: Counts,
    looking: bool,
) -> Iterator[Coloured]:
    """The same in noise that is correlated between antennas."""
    if not is_traced() and kernels_alone():
        raise NoKernelError
    counts.exact += len(h) * h.shape[-1]
    a = take(h, 2, desired + undesired).permute(0, 3, 2, 1)
    crowded = h.shape[2] > h.shape[1]
    for tile in cut(tiles(a), borders):
        part, covariance = a[:, tile].contiguous(), noise.at(tile)
        if crowded:
            among = covariance_factor(part[:, :, len(desired) :], covariance.of_each())
            found = _behind(among, part, len(desired), looking)
        else:
            found = _in_white(part, Whitener.of(covariance, a.dtype), len(desired), looking)
        if not is_traced():
            check_finite(part, found.answer.x.sum())
        counts.refined += found.refined
        yield Coloured(tile, found)


def _in_white(a: Tensor, whitener: Whitener, num_desired: int, looking: bool) -> Surely:
    r"""The filter of the first streams, for no more streams than antennas, in noise of the
    covariance :math:`S = L L^{\mathsf{H}}`.

    As in :func:`_jointly` for :math:`L^{-1} G` in the place of G: the joint filter W' of all
    streams applies to :math:`L^{-1} y`, hence :math:`W = L^{-\mathsf{T}} W'`. The covariance is
    factored without the interference.

    :param a: [batch_size, tile, num_streams, num_rx_ant]
    """
    found = _solved(whitener.white(a), looking, partial(whitener.precisely, a))
    filters = _desired_only(found.answer, num_desired)
    return found._replace(answer=filters._replace(w=whitener.back(filters.w)))


class Whitening(NamedTuple):
    r"""What makes noise and interference white, :math:`L^{-1}` for their covariance
    :math:`S = L L^{\mathsf{H}}`.

    :param scale: of the antennas, [batch_size or 1, tile or 1, 1, num_rx_ant or 1], where S is
        diagonal; else None
    :param factor: L, [batch_size, tile, num_rx_ant, num_rx_ant], double precision; else None
    """

    scale: Tensor | None
    factor: Tensor | None

    @classmethod
    def of(cls, undesired: Tensor, noise: Tensor | Grouped) -> Whitening:
        """That of some streams and noise; in double precision where streams interfere, as only the
        noise keeps S from being singular.

        :param undesired: [batch_size, tile, num_undesired, num_rx_ant]
        :param noise: [batch_size or 1, tile or 1, num_rx_ant or 1], or covariances
        """
        if isinstance(noise, Grouped):
            return cls(None, covariance_factor(wide(undesired), noise.of_each()))
        if not undesired.shape[2]:
            return cls(noise.rsqrt()[:, :, None], None)
        return cls(None, _diagonal_factor(wide(undesired), wide(noise), undesired.shape[3]))

    def rows(self, a: Tensor) -> Tensor:
        """White channels of a [batch_size, tile, streams, num_rx_ant]."""
        if self.scale is not None:
            return a * self.scale
        assert self.factor is not None
        return torch.linalg.solve_triangular(self.factor, wide(a).mT, upper=False).mT

    def filters(self, columns: Tensor) -> Tensor:
        """What y is multiplied with, so that white y would be multiplied with the conjugate of
        columns [batch_size, tile, num_rx_ant, num].
        """
        if self.scale is not None:
            return (columns.conj() * self.scale.mT).resolve_conj()
        assert self.factor is not None
        solved = torch.linalg.solve_triangular(self.factor.mH, columns, upper=True)
        return solved.conj().resolve_conj()


def covariance_factor(undesired: Tensor, noise: Tensor) -> Tensor:
    """L of the covariance of streams and of noise, [batch_size, tile, num_rx_ant, num_rx_ant],
    double precision.

    :param undesired: [batch_size, tile, num_undesired, num_rx_ant]
    :param noise: covariances, [batch_size or 1, tile or 1, num_rx_ant, num_rx_ant], of double
        precision

    :raises ValueError: if together they are singular, or have negative eigenvalues
    """
    u = wide(undesired).mT
    return definite_factor(noise + u @ u.mH)


def _diagonal_factor(undesired: Tensor, noise: Tensor, num_antennas: int) -> Tensor:
    """L of the covariance of noise and interference, [batch_size, tile, num_antennas,
    num_antennas]; parameters as of :meth:`Whitening.of`.
    """
    u = undesired.mT
    diagonal = noise.expand(-1, u.shape[1], num_antennas)
    new = _new(u, diagonal)
    if new is not None:
        u, diagonal = u[:, new], diagonal[:, new]
    covariance = u @ u.mH
    covariance.diagonal(dim1=-2, dim2=-1).add_(diagonal)
    factor, _ = torch.linalg.cholesky_ex(covariance, check_errors=False)
    return factor if new is None else factor[:, new.cumsum(0) - 1]


def in_unit_noise(a: Tensor, looking: bool) -> Tensor:
    """MMSE filters [batch_size, tile, num_rx_ant, num_streams] in white noise of power one."""
    dense: Tensor = _solved(a, looking).answer.dense
    return dense


def _emitted(emitter: Received, h: Tensor, variance: Tensor, *, looking: bool) -> Done | None:
    """What kernels did; None where they do nothing of the kind."""
    emitter = replace(emitter, variance=variance)
    # That of the antennas is divided out.
    a, no = h.permute(0, 3, 2, 1), h.real.new_ones(len(h))
    if not emitter.covers(_OPERATION, a, no):
        return None
    done = emit(emitter, _OPERATION, a, no, looking=looking)
    check_finite(a, done.amplification.sum())
    return done


def _desired_first(
    h: Tensor, variance: Tensor, desired: list[int], undesired: list[int]
) -> tuple[Tensor, Tensor]:
    """Matrices [batch_size, num_subcarriers, num_streams, num_rx_ant] of the desired streams and of
    the others, and noise [batch_size or 1, num_subcarriers, num_rx_ant or 1].
    """
    a = take(h, 2, desired + undesired).permute(0, 3, 2, 1)
    return a, variance.expand(-1, -1, a.shape[1]).mT


def _jointly(a: Tensor, noise: Tensor, num_desired: int, looking: bool) -> Surely:
    r"""The filter of the first streams, for no more streams than antennas.

    The filter of all streams at once inverts the same covariance of y, and its columns for the
    desired ones are those wanted: nothing of num_rx_ant x num_rx_ant is factored.

    :param a: [batch_size, tile, num_streams, num_rx_ant]
    :param noise: [batch_size or 1, tile, num_rx_ant or 1]
    """
    scale = noise.rsqrt()[:, :, None]

    def precisely(where: Tensor) -> Tensor:
        # Products rounded to single precision tear users in one place apart.
        here = noise.expand(len(a), -1, -1)[where]
        return wide(a[where]) * wide(here).rsqrt()[:, None]

    found = _solved(a * scale, looking, precisely)
    desired = _desired_only(found.answer, num_desired)
    return found._replace(answer=desired._replace(w=scale.mT * desired.w))


def _desired_only(filters: Filter, num: int) -> Filter:
    """The first columns of a joint filter."""
    assert filters.mixing is not None
    gain = filters.gain
    return filters._replace(
        mixing=filters.mixing[..., :num],
        gain=None if gain is None else gain[..., :num],
        norm=None,
        x=filters.x[..., :num, :],
    )


def _solved(
    a: Tensor, looking: bool, precisely: Callable[[Tensor], Tensor] | None = None
) -> Surely:
    """Filters in white noise of power one."""
    if not looking:
        return Surely(_OPERATION.solve(a, 1.0))
    return _OPERATION.solve_surely(a, 1.0, precisely=precisely)


def _whitened(a: Tensor, noise: Tensor, num_desired: int, looking: bool) -> Surely:
    r"""The same for more streams than antennas, through the covariance S = L L^H of noise and
    interference.

    The whitened channel is :math:`L^{-1} G`, with a noise power of one; its filter applies to
    :math:`L^{-1} y`, hence :math:`W = L^{-\mathsf{T}} W'`. S is factored once where it is
    constant over neighbouring subcarriers. All of it in double precision: the interference fills
    all dimensions, so that only the noise keeps the filter finite.
    """
    others = wide(a[:, :, num_desired:])
    return _behind(_diagonal_factor(others, wide(noise), a.shape[3]), a, num_desired, looking)


def _behind(factor: Tensor, a: Tensor, num_desired: int, looking: bool) -> Surely:
    """Filters behind the inverse of a factor of the covariance of noise and interference.

    :param factor: [batch_size or 1, tile, num_rx_ant, num_rx_ant], lower, double precision
    """
    precision, a = a.dtype, wide(a)
    white = torch.linalg.solve_triangular(factor, a[:, :, :num_desired].mT, upper=False)
    found = _solved(white.mT, looking)
    filters = multiplied(found.answer, white.mT)
    w = torch.linalg.solve_triangular(factor.mT, filters.w, upper=True)
    return found._replace(answer=narrow(filters._replace(w=w), precision))


def _new(*values: Tensor) -> Tensor | None:
    """Subcarriers that differ from their lower neighbour, bool; None where all of them do, or
    may.

    :param values: [batch_size or 1, num_subcarriers, ...]
    """
    # Equal neighbours have gradients of their own.
    if is_traced() or is_differentiated(*values):
        return None
    changes = [(v[:, 1:] != v[:, :-1]).flatten(2).any(-1).any(0) for v in values]
    new = torch.nn.functional.pad(torch.stack(changes).any(0), (1, 0), value=True)
    return None if bool(new.all()) else new
