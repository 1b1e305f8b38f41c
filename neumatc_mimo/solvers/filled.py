"""Results along a line of points from exact ones at few: warm starts from what is known nearby."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from neumatc_mimo.operations.base import Components, Operation
from neumatc_mimo.operations.certified import chosen_noise

# Known points that a guess is interpolated from, half of them on either side: degree seven.
_NEAREST = 8
# Share of the unknown points below which a round has brought nothing, and exact results must.
_STALLED = 0.02


class Filled(NamedTuple):
    """Results at all points.

    :param components: [num_items, num_points, ...] each
    :param exact: [num_items, num_points] bool, what was computed exactly
    :param failed: [num_items] bool, items with more failures than allowed, of which not all points
        have results
    """

    components: Components
    exact: Tensor
    failed: Tensor


def filled(
    operation: Operation,
    a: Tensor,
    no: Tensor | float,
    places: Tensor,
    first: Tensor,
    *,
    steps: int,
    threshold: float,
    most_failed: float,
) -> Filled:
    """Results at points that vary smoothly along them, exact at a few chosen by what fails.

    In rounds: a guess at every unknown point is interpolated from the nearest known ones, and
    correction steps of the operation lower its residual; what comes below the threshold is known
    from then on, as good as exact, and nearer to those that are not. When a round brings nothing
    more the middle of every stretch that is still unknown is computed exactly. So exact results
    gather where the matrices vary fast, about fades, and are rare elsewhere.

    :param a: [num_items, num_points, m, n]
    :param no: noise power, broadcastable to [num_items, num_points]
    :param places: [num_points] of the points along the line, ascending
    :param first: indices of points that are computed exactly at first, both ends and eight at least
    :param steps: correction steps of a guess at most
    :param threshold: residual from which on a point is not known
    :param most_failed: share of the other points that may be computed exactly; an item with more
        is given up
    """
    exact = torch.zeros(a.shape[:2], dtype=torch.bool, device=a.device)
    exact[:, first] = True
    known, failed, others = exact.clone(), exact.new_zeros(len(a)), a.shape[1] - len(first)
    samples = operation.align(operation.exact(a[:, first], no))
    values: Components = tuple(
        c.new_zeros(*a.shape[:2], *c.shape[2:]).index_copy(1, first, c) for c in samples
    )
    while True:
        where = (~known & ~failed[:, None]).nonzero(as_tuple=True)
        if not len(where[0]):
            return Filled(values, exact, failed)
        noise = chosen_noise(no, known, where)
        guess = interpolated(values, known, places, where)
        found, good = corrected(operation, a[where], guess, noise, steps, threshold)
        new = tuple(index[good] for index in where)
        values = _put(values, new, tuple(c[good] for c in found))
        known[new] = True
        if int(good.sum()) > _STALLED * len(good):
            continue
        middle = _middles(~known & ~failed[:, None])
        exactly = operation.exact(a[middle], chosen_noise(no, known, middle))
        like = interpolated(values, known, places, middle)
        values = _put(values, middle, operation.align_to(exactly, like))
        known[middle] = exact[middle] = True
        failed = (exact.sum(1) - len(first)) > most_failed * others


def _put(values: Components, where: tuple[Tensor, ...], parts: Components) -> Components:
    # Out of place: gradients go through earlier ones.
    return tuple(
        c.index_put(where, part.to(c.dtype)) for c, part in zip(values, parts, strict=True)
    )


def corrected(
    operation: Operation,
    a: Tensor,
    guess: Components,
    no: Tensor | float,
    steps: int,
    threshold: float,
) -> tuple[Components, Tensor]:
    """Guesses [num, ...] after correction steps, and which of them are good."""
    found, residual = guess, operation.residual(a, guess, no)
    # Well below the threshold, which counts as a failure at the end only.
    where = (~(residual <= threshold / 10)).nonzero()[:, 0]
    for _ in range(steps):
        if not len(where):
            break
        noise = no[where] if isinstance(no, Tensor) and no.ndim else no
        better = operation.correct(a[where], tuple(c[where] for c in found), noise)
        after = operation.residual(a[where], better, noise)
        # Whose residual does not fall is too far away; it waits until more is known.
        lower = after < residual[where]
        found = _put(found, (where,), better)
        residual = residual.index_put((where,), after)
        where = where[lower & ~(after <= threshold / 10)]
    return found, residual <= threshold


def interpolated(
    values: Components, known: Tensor, places: Tensor, where: tuple[Tensor, ...]
) -> Components:
    """Values at points, by the polynomial through the nearest known ones of their items."""
    items, points = where
    # Known points of an item first, in their order.
    order = (~known).to(torch.int8).argsort(dim=1, stable=True)
    before = known.cumsum(1)[items, points]
    start = (before - _NEAREST // 2).clamp_min(0)
    start = torch.minimum(start, known.sum(1)[items] - _NEAREST)
    offsets = torch.arange(_NEAREST, device=known.device)
    nodes = order[items[:, None], start[:, None] + offsets]  # [num, nearest]
    weights = _lagrange(places[nodes], places[points])
    return tuple(
        # One node after the other: all at once are eight times the memory.
        sum(
            (
                c[items, nodes[:, i]] * weights[:, i].reshape(-1, *[1] * (c.ndim - 2))
                for i in range(1, _NEAREST)
            ),
            c[items, nodes[:, 0]] * weights[:, 0].reshape(-1, *[1] * (c.ndim - 2)),
        )
        for c in values
    )


def _lagrange(nodes: Tensor, at: Tensor) -> Tensor:
    """Weights [num, n] of values at nodes [num, n] in the polynomial through them, at [num]."""
    distance = nodes - at[:, None]
    apart = nodes[:, None, :] - nodes[:, :, None]  # x_j - x_i
    ratio = distance[:, None, :] / torch.where(apart == 0, 1, apart)
    return torch.where(apart == 0, 1, ratio).prod(-1)


def _middles(unknown: Tensor) -> tuple[Tensor, Tensor]:
    """The middle of every stretch of marked points, [num_items, num_points] without the ends."""
    flat = unknown.flatten().to(torch.int8)
    edge = torch.cat([flat.new_zeros(1), flat, flat.new_zeros(1)]).diff()
    middle = (edge.eq(1).nonzero()[:, 0] + edge.eq(-1).nonzero()[:, 0] - 1) // 2
    return middle // unknown.shape[1], middle % unknown.shape[1]
