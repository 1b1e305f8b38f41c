"""Parameters of more than one coordinate: families, and what is learned over them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from neumatc_mimo.families import Family, FourierFamily, Gram
from neumatc_mimo.families.waves import Augmented, PlaneWaves
from neumatc_mimo.learning.algorithm1 import Algorithm1Config, train_algorithm1
from neumatc_mimo.learning.network import NeuMatC
from neumatc_mimo.metrics.measures import relative_error
from neumatc_mimo.operations import Components, Inverse, Operation, PseudoInverse


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


BAND, DURATION, NOISE_DB = (-10e6, 10e6), (0.0, 5e-3), (-20.0, 10.0)


def multipath(num_users: int = 4, num_antennas: int = 16, num_paths: int = 4) -> PlaneWaves:
    """Users in motion before a linear array: delays within 50 ns, Doppler shifts within 100 Hz.

    Over 20 MHz and 5 ms that is up to one turn of a path along frequency, half a turn along time.
    """
    g = generator()
    size = (num_users, 1, num_paths)
    sine, delay, angle = torch.rand(3, *size, dtype=torch.float64, generator=g)
    gain = torch.randn(size, dtype=torch.complex128, generator=g) / math.sqrt(num_paths)
    antenna = torch.arange(num_antennas, dtype=torch.float64)[:, None]
    steering = torch.exp(1j * math.pi * antenna * (2 * sine - 1))
    delay = 50e-9 * (delay - delay.amin(-1, keepdim=True))
    doppler = 100 * torch.cos(2 * math.pi * angle)
    return PlaneWaves(gain * steering, torch.stack([delay, -doppler], dim=-1), [BAND, DURATION])


def wireless() -> Augmented:
    """[H(f, t), σ I] over frequency, time and noise power."""
    return Augmented(multipath(), NOISE_DB)


def learned(operation: Operation, family: Family, samples: Tensor, **changes: Any) -> NeuMatC:
    settings: dict[str, Any] = {
        "rank": 96,
        "width": 96,
        "steps": 300,
        "learning_rate": 3e-3,
        "refine_every": 100,
        "candidates": 200,
        "lam": 1e-2,
    }
    model, _ = train_algorithm1(operation, family, samples, Algorithm1Config(**settings | changes))
    return model


def unseen(family: Family, model: NeuMatC) -> tuple[Tensor, Components]:
    """The matrices at 100 unseen points, and the model's results."""
    p = family.uniform(100, generator(99))
    found = model(p)
    wide = tuple(c.to(torch.complex128 if c.is_complex() else torch.float64) for c in found)
    return family(p), wide


def errors(operation: Operation, a: Tensor, found: Components) -> list[float]:
    """Mean relative error of every component."""
    return [
        relative_error(f, e, tuple(range(1, e.ndim))).mean().item()
        for f, e in zip(found, operation.exact(a), strict=True)
    ]


# Families.


def test_plane_waves_are_their_formula() -> None:
    c = torch.randn(2, 3, 4, dtype=torch.complex128, generator=generator())
    for rows, cols in ((2, 3), (2, 1), (1, 1)):
        nu = 5 * torch.rand(rows, cols, 4, 2, dtype=torch.float64, generator=generator(1))
        family = PlaneWaves(c, nu, [(2.0, 3.0), (-1.0, 4.0)])
        assert family.shape == (2, 3) and family.dimension == 2
        p = family.uniform(5, generator(2))
        expected = torch.zeros(5, 2, 3, dtype=torch.complex128)
        for b, (x, y) in enumerate(p.tolist()):
            for i, j, q in torch.cartesian_prod(*map(torch.arange, (2, 3, 4))).tolist():
                one, other = nu.expand(2, 3, 4, 2)[i, j, q].tolist()
                turn = -2 * math.pi * (one * x + other * y)
                expected[b, i, j] += c[i, j, q] * complex(math.cos(turn), math.sin(turn))
        torch.testing.assert_close(family(p), expected)
        assert family(p.float()).dtype == torch.complex128


def test_plane_waves_of_a_channel() -> None:
    """Later paths fall behind over frequency, approaching users gain phase over time."""
    path = PlaneWaves(
        torch.ones(1, 1, 1), torch.tensor([[[[1e-6, -100.0]]]]), [(0.0, 1e6), (0.0, 1e-2)]
    )
    p = torch.tensor([[0.0, 0.0], [0.25e6, 0.0], [0.0, 2.5e-3]], dtype=torch.float64)
    torch.testing.assert_close(path(p)[:, 0, 0], torch.tensor([1, -1j, 1j], dtype=torch.complex128))


def test_augmented_pseudo_inverse_is_mmse() -> None:
    channel, family = multipath(), wireless()
    assert family.shape == (4, 20) and family.dimension == 3
    p = family.uniform(20, generator())
    h, no = channel(p[:, :2]), 10 ** (p[:, 2] / 10)
    w, x = PseudoInverse().exact(family(p))
    mmse = PseudoInverse().solve(h, no)
    torch.testing.assert_close(w[:, :16], mmse.dense)
    torch.testing.assert_close(x, mmse.x)
    (inverse,) = Inverse().exact(Gram(family)(p))
    torch.testing.assert_close(inverse, mmse.x)


def test_grid_of_different_numbers() -> None:
    family = wireless()
    points = family.grid((3, 2, 4))
    assert points.shape == (24, 3)
    for found, expected in ((points[:4, 2], [-20, -10, 0, 10]), (points[::8, 0], [-10e6, 0, 10e6])):
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    assert (family.grid(2) == family.grid([2, 2, 2])).all()
    with pytest.raises(ValueError, match="2 coordinates does not suit a domain of 3"):
        family.grid((3, 2))


def test_shapes_that_do_not_fit_are_refused() -> None:
    c = torch.ones(2, 3, 4)
    for size in ((2, 3, 4, 2), (2, 3, 5, 1), (2, 3, 4), (3, 1, 4, 1), (1, 2, 4, 1)):
        with pytest.raises(ValueError, match=r"Coefficients \[2, 3, 4\] and cycles"):
            PlaneWaves(c, torch.ones(size), [(0.0, 1.0)])
    for family in (multipath(), wireless()):
        with pytest.raises(ValueError, match=r"Parameters are \[batch, "):
            family(torch.zeros(5, 4))
    with pytest.raises(ValueError, match="without width"):
        Augmented(multipath(), (0.0, 0.0))


# What is learned.


def test_inverse_over_two_dimensions() -> None:
    """As in Table 6: Fourier functions, a grid of samples, 100 test points."""
    family = FourierFamily((16, 16), 2, generator(2), shift=3.0)
    model = learned(Inverse(), family, family.grid(20), omega0=3.0, width=128)
    a, found = unseen(family, model)
    assert errors(Inverse(), a, found)[0] < 5e-4
    # Fewer functions than the inverse has along p: no training goes below what they span.
    model = learned(Inverse(), family, family.grid(14), omega0=3.0, rank=32)
    assert 2e-3 < errors(Inverse(), *unseen(family, model))[0] < 1e-2


def test_gram_inverse_over_frequency_time_and_noise() -> None:
    family = Gram(wireless())
    model = learned(Inverse(), family, family.grid((14, 8, 6)), omega0=4.0)
    a, found = unseen(family, model)
    assert errors(Inverse(), a, found)[0] < 4e-3


def test_mmse_filter_over_frequency_time_and_noise() -> None:
    family, operation = wireless(), PseudoInverse()
    model = learned(operation, family, family.grid((14, 8, 6)), omega0=4.0)
    a, found = unseen(family, model)
    w, x = errors(operation, a, found)
    assert w < 1e-2 and x < 6e-3
    # A correction squares the error: 60 dB at every point.
    corrected = operation.correct(a, found)
    assert max(errors(operation, a, corrected)) < 2e-4
    residual = operation.residual(a, corrected)
    assert residual.max() < 1e-3
