"""Knots where they are needed: refinement of a link's splines where its proof fails."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from neumatc_mimo.learning.projector import Projected, local_projector
from neumatc_mimo.mapping.basis import KnotSplines

# Mean spacings that are tried, from the finest on: so many, each so much wider.
_SPACINGS, _WIDER = 24, 1.12
# Of every so many points one tells which spacing will do, and the share that may fail there: where
# more fail, wider splines in the rest of the band do not pay for those that are split.
_PROBED, _MOST_SPLIT = 4, 0.1
# Differences that tell of an error, of splines of degree seven; what rounding makes of them; places
# to each side that a knot's density is a mean of, as splines reach as far; and passes that spread
# knots which would be too close.
_ORDER, _ROUNDING, _SMOOTHED, _PASSES = 8, 1e-7, 4, 3
# Neighbouring intervals differ by such a factor at most, so that rounding tells splines apart.
_GRADING = 4
# Share of the points that may fail in the end: they are corrected, which takes less than knots.
MOST_FAILED = 0.01


@dataclass(frozen=True)
class Refined:
    """Splines of a link, and what they hold.

    :param places: of the knots, int
    :param latent: [num_functions, n] float32
    :param loss: relative error at the points that count
    """

    places: Tensor
    latent: Tensor
    loss: float


def refined(
    targets: Tensor,
    usable: Tensor,
    place: Tensor,
    finest: int,
    num_places: int,
    proven: Callable[[Tensor, Tensor], Tensor],
    degree: int = 7,
) -> Refined:
    """As few knots as most of the points are proven on, as dense as fine ones tell, split where
    others fail, until few fail, or no interval is wide enough.

    A failed point splits the interval that it lies in and those beside it, into halves: where
    splines are wide enough for a result, a half takes 8 bits from its error.

    :param targets: [N, n] float32
    :param usable: which of these count, [N] bool
    :param place: of the points, rising, [N] float64, from 0 to num_places
    :param finest: least distance of knots
    :param num_places: the last place of a knot
    :param proven: tells where fitted values [l, n] at points, indices [l], will do, [l] bool
    """
    x, weights = 2 * place / num_places - 1, usable.double()[None]

    def fit(places: Tensor) -> Projected:
        (part,) = KnotSplines.of([places], degree).table(x).parts
        return local_projector(part, x)(targets[None], weights)

    def failed(found: Projected, points: Tensor) -> Tensor:
        return ~proven(found.fitted[0, points], points) & usable[points]

    every = torch.arange(len(place), device=place.device)
    # Knots are few: they are chosen on the host.
    density = _density(fit(_even(num_places, finest)).latent[0].cpu(), num_places)
    fine, wide = 0, _SPACINGS
    while wide - fine > 1:
        middle = (fine + wide) // 2
        found = fit(_graded(density, num_places, finest * _WIDER**middle, finest))
        if failed(found, every[::_PROBED]).double().mean() > _MOST_SPLIT:
            wide = middle
        else:
            fine = middle
    places = _graded(density, num_places, finest * _WIDER**fine, finest)
    while True:
        found = fit(places)
        open_ = failed(found, every)
        if open_.double().mean() > MOST_FAILED:
            split = _split(places, place[open_].cpu(), finest)
            if len(split) > len(places):
                places = split
                continue
        error, size = (t[usable].norm() for t in (found.fitted[0] - targets, targets))
        return Refined(places, found.latent[0].float(), (error / size).item())


def _even(num_places: int, spacing: float) -> Tensor:
    """Knots at places about as far apart."""
    num = max(math.ceil(num_places / spacing), 1)
    return torch.linspace(0, num_places, num + 1, dtype=torch.float64).round().long().unique()


def _density(latent: Tensor, num_places: int) -> Tensor:
    """How dense knots have to be at each place but for a factor, [num_places + 1] float64.

    The error of splines of degree p on knots h apart is h^{p+1} times a derivative of that order
    (de Boor, A Practical Guide to Splines, 1978, Chapter XII), of which differences of the
    coefficients on the finest knots tell.

    :param latent: these coefficients, [num_functions, n]
    """
    if len(latent) < 2 * _ORDER:
        return torch.ones(num_places + 1, dtype=torch.float64)
    rows = latent.double()
    size = rows.norm(dim=1)[_ORDER // 2 : -_ORDER // 2].clamp_min(1e-30)
    change = rows.diff(n=_ORDER, dim=0).norm(dim=1) / size
    local = change.clamp_min(_ROUNDING) ** (1 / _ORDER)
    window = 2 * _SMOOTHED + 1
    smooth = torch.nn.functional.avg_pool1d(
        local[None, None], window, 1, _SMOOTHED, count_include_pad=False
    )[0, 0]
    at = torch.linspace(0, len(smooth) - 1, num_places + 1, dtype=torch.float64)
    low = at.floor().long().clamp_max(max(len(smooth) - 2, 0))
    return torch.lerp(smooth[low], smooth[(low + 1).clamp_max(len(smooth) - 1)], at - low)


def _graded(density: Tensor, num_places: int, spacing: float, finest: int) -> Tensor:
    """Knots that are so far apart in the mean, and more or less by their density."""
    num = max(math.ceil(num_places / spacing), 1)
    for _ in range(_PASSES):
        # Nowhere closer than the finest ones.
        density = density.clamp_max(density.mean() * num_places / num / finest)
    whole = torch.cat([density.new_zeros(1), (density[1:] + density[:-1]).cumsum(0)])
    wanted = torch.linspace(0, 1, num + 1, dtype=torch.float64) * whole[-1]
    places = torch.searchsorted(whole, wanted).clamp(0, num_places)
    places[0], places[-1] = 0, num_places
    return places.unique()


def _split(places: Tensor, failed: Tensor, finest: int) -> Tensor:
    """Knots with those intervals halved that hold failed points, or lie beside such."""
    num = len(places) - 1
    holds = torch.zeros(num + 2, dtype=torch.bool)
    at = torch.searchsorted(places.double(), failed, right=True).clamp(1, num)
    holds[at] = True
    holds = holds[1:-1] | holds[:-2] | holds[2:]
    while True:
        length = places.diff()
        halved = holds & (length >= max(2 * finest - 1, 2))
        places = torch.cat([places, (places[:-1] + length // 2)[halved]]).sort().values
        length = places.diff()
        beside = torch.full_like(length, torch.iinfo(length.dtype).max)
        beside[1:] = length[:-1]
        beside[:-1] = torch.minimum(beside[:-1], length[1:])
        holds = (length > _GRADING * beside) & (length >= max(2 * finest - 1, 2))
        if not bool(holds.any()):
            return places


__all__ = ["MOST_FAILED", "Refined", "refined"]
