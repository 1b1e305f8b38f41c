"""Knots where fits fail, and nowhere else."""

from __future__ import annotations

import torch
from torch import Tensor

from neumatc_mimo.learning.refinement import MOST_FAILED, refined
from neumatc_mimo.mapping.basis import KnotSplines

LAST, FINEST = 1200, 3


def fitted(rate: Tensor, tolerance: float) -> tuple[KnotSplines, Tensor, Tensor]:
    """A link's knots for a wave whose phase runs at a rate, the wave, and its fit."""
    phase = torch.cumsum(rate, 0)
    wave = torch.stack([phase.cos(), phase.sin()], -1).float()
    place = torch.arange(0, LAST + 1, FINEST).double()
    targets = wave[::FINEST]

    def proven(values: Tensor, points: Tensor) -> Tensor:
        return (values - targets[points]).abs().amax(-1) < tolerance

    usable = torch.ones(len(place), dtype=torch.bool)
    found = refined(targets, usable, place, FINEST, LAST, proven)
    basis = KnotSplines.of([found.places])
    x = torch.linspace(-1, 1, LAST + 1, dtype=torch.float64)
    (part,) = basis.table(x).parts
    functions, values = part.read(slice(0, LAST + 1))
    assert len(found.latent) == basis.width and found.loss < tolerance
    return basis, wave, values.float() @ found.latent[functions]


def test_an_even_wave_has_even_knots_as_wide_as_will_do() -> None:
    widths = []
    for tolerance in (1e-2, 1e-4):
        basis, wave, fit = fitted(torch.full((LAST + 1,), 0.05), tolerance)
        assert (fit - wave).abs().max() < 2 * tolerance
        widths.append(basis.width)
    assert widths[0] < widths[1] < LAST // FINEST // 4


def test_a_fade_has_knots_and_the_rest_of_the_band_does_not() -> None:
    at = torch.arange(LAST + 1)
    rate = 0.01 + 0.2 * torch.exp(-(((at - 500) / 15.0) ** 2))
    basis, wave, fit = fitted(rate, 1e-3)
    failed = (fit - wave).abs().amax(-1) > 1e-3
    assert failed.double().mean() < 2 * MOST_FAILED
    places = basis.places(0)
    inside = (places > 440) & (places < 560)
    assert places.diff()[inside[1:]].double().mean() < 2 * FINEST
    # A tenth of the band has a fourth of the knots.
    assert inside.sum() > 0.2 * len(places)
    assert basis.width < LAST // FINEST // 3 < 140


def test_what_no_knots_hold_takes_the_finest_ones() -> None:
    noise = 3 * torch.rand(LAST + 1, generator=torch.Generator().manual_seed(0))
    place = torch.arange(0, LAST + 1, FINEST).double()
    targets = torch.stack([noise.cos(), noise.sin()], -1).float()[::FINEST]

    def never(values: Tensor, points: Tensor) -> Tensor:
        del points
        return torch.zeros(len(values), dtype=torch.bool)

    usable = torch.ones(len(place), dtype=torch.bool)
    found = refined(targets, usable, place, FINEST, LAST, never)
    assert found.places.diff().min() >= FINEST - 1
    assert 0.9 * LAST < FINEST * len(found.places) < 1.1 * LAST
