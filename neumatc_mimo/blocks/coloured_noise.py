"""MMSE filters in noise that differs between antennas, and in interference; computed exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from neumatc_mimo.blocks.checks import check_finite
from neumatc_mimo.blocks.tiles import cut, take
from neumatc_mimo.kernels.lanes import Received, emit
from neumatc_mimo.operations.base import Surely
from neumatc_mimo.operations.ill_conditioned import wide
from neumatc_mimo.operations.pseudo_inverse import Filter, PseudoInverse, multiplied, narrow
from neumatc_mimo.solvers.base import tiles
from neumatc_mimo.tensors.differentiated import is_differentiated
from neumatc_mimo.tensors.tracing import is_traced

_OPERATION = PseudoInverse()


def coloured_filters(
    h: Tensor,
    variance: Tensor,
    desired: list[int],
    undesired: list[int],
    borders: Sequence[slice],
    *,
    looking: bool,
) -> Iterator[tuple[slice, Surely]]:
    """Tiles of subcarriers, none across two ``borders``, with the filters of the desired streams in
    noise and in the interference of the undesired ones.

    :param h: [batch_size, num_rx_ant, num_streams, num_subcarriers]
    :param variance: Of the noise, [batch_size or 1, num_rx_ant or 1, num_subcarriers or 1]
    :param desired: Places of streams in h, as ``undesired``
    :param looking: whether ill-conditioned filters are looked for, and computed in double precision
    """
    a, noise = _desired_first(h, variance, desired, undesired)
    filters_of = _way(a)
    for tile in cut(tiles(a), borders):
        found = filters_of(a[:, tile].contiguous(), noise[:, tile], len(desired), looking)
        if not is_traced():
            check_finite(a, found.answer.x.sum())
        yield tile, found


class Emitted(NamedTuple):
    """What kernels did of all that :func:`coloured_filters` would do.

    :param left: [batch_size, num_subcarriers] bool, the matrices that they left; None where none is
    :param refined: how many they computed in double precision
    :param answer: the filters of those that are left, [1, num_left, ...], or None
    """

    left: Tensor | None
    refined: int
    answer: Surely | None


def emitted(
    emitter: Received,
    h: Tensor,
    variance: Tensor,
    desired: list[int],
    undesired: list[int],
    *,
    looking: bool,
) -> Emitted | None:
    """Have kernels do all of it; None where they do not, and nothing was done.

    :param emitter: what is made of the filters of all streams
    :param h: as for :func:`coloured_filters`
    """
    emitter = replace(emitter, variance=variance)
    a, no = h.permute(0, 3, 2, 1), h.real.new_ones(len(h))
    if not emitter.covers(_OPERATION, a, no):
        return None
    done = emit(emitter, _OPERATION, a, no, looking=looking)
    check_finite(a, done.amplification.sum())
    if done.left is None:
        return Emitted(None, done.refined, None)
    a, noise = _desired_first(h, variance, desired, undesired)
    a, noise = (t.expand(len(h), *t.shape[1:])[done.left][None] for t in (a, noise))
    answer = _way(a)(a, noise, len(desired), looking)
    return Emitted(done.left, done.refined, answer)


def _desired_first(
    h: Tensor, variance: Tensor, desired: list[int], undesired: list[int]
) -> tuple[Tensor, Tensor]:
    """Matrices [batch_size, num_subcarriers, num_streams, num_rx_ant] of the desired streams and of
    the others, and noise [batch_size or 1, num_subcarriers, num_rx_ant or 1].
    """
    a = take(h, 2, desired + undesired).permute(0, 3, 2, 1)
    return a, variance.expand(-1, -1, a.shape[1]).mT


def _way(a: Tensor) -> Callable[[Tensor, Tensor, int, bool], Surely]:
    """How filters of such matrices are found."""
    return _jointly if a.shape[2] <= a.shape[3] else _whitened


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
    filters: Filter = found.answer
    assert filters.mixing is not None
    gain = filters.gain
    desired = filters._replace(
        w=scale.mT * filters.w,
        mixing=filters.mixing[..., :num_desired],
        gain=None if gain is None else gain[..., :num_desired],
        norm=None,
        x=filters.x[..., :num_desired, :],
    )
    return found._replace(answer=desired)


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
    precision = a.dtype
    a, noise = wide(a), wide(noise)
    # [batch_size, tile, num_rx_ant, num_undesired]
    undesired = a[:, :, num_desired:].mT
    diagonal = noise.expand(-1, -1, a.shape[3])
    new = _new(undesired, diagonal)
    if new is not None:
        undesired, diagonal = undesired[:, new], diagonal[:, new]
    covariance = undesired @ undesired.mH
    covariance.diagonal(dim1=-2, dim2=-1).add_(diagonal)
    factor, _ = torch.linalg.cholesky_ex(covariance, check_errors=False)
    if new is not None:
        factor = factor[:, new.cumsum(0) - 1]
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
