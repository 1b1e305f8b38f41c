"""Warnings come once from an object, at the user's line, and say what to do."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.blocks import MMSEEqualizer, ZFPrecoder
from tests.warned import unwarned

USERS, ANTENNAS, FFT_SIZE, SPACING = 3, 16, 192, 120e3


@pytest.fixture
def model(small_model: nm.ScenarioModel) -> nm.ScenarioModel:
    return unwarned(small_model)


@contextmanager
def _caught() -> Iterator[list[warnings.WarningMessage]]:
    """The package's warnings, those that Python would not repeat at the same line included."""
    with warnings.catch_warnings(record=True) as everything:
        warnings.simplefilter("always")
        ours: list[warnings.WarningMessage] = []
        yield ours
        ours += [one for one in everything if issubclass(one.category, nm.NeuMatCWarning)]


def _grid(fft_size: int = FFT_SIZE, num_tx: int = 1) -> ResourceGrid:
    return ResourceGrid(1, fft_size, SPACING, num_tx=num_tx, num_streams_per_tx=USERS // num_tx)


def _precoder(model: Any, fft_size: int = FFT_SIZE, **options: Any) -> ZFPrecoder:
    return ZFPrecoder(
        _grid(fft_size), StreamManagement(np.ones([USERS, 1]), USERS), model, **options
    )


def _known(model: nm.ScenarioModel, fft_size: int = FFT_SIZE) -> Tensor:
    """Channels of two links on a grid, [2, K, 1, 1, M, 1, fft_size]."""
    links = model.models["pseudo_inverse"].links
    paths = torch.arange(fft_size, dtype=torch.float64) - fft_size // 2
    band = links.grid_frequencies()
    frequencies = paths * SPACING if fft_size != FFT_SIZE else band
    h = replace(links, fft_size=fft_size).channel(frequencies, [0, 1])
    return h.permute(0, 2, 3, 1)[:, :, None, None, :, None]


def _x(fft_size: int = FFT_SIZE) -> Tensor:
    return torch.ones(2, 1, USERS, 1, fft_size, dtype=torch.complex64)


def _unknown(h: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return h + 0.1 * torch.randn(h.shape, dtype=h.dtype, generator=generator)


def _equalize(model: nm.ScenarioModel, no: float) -> Callable[[], Any]:
    block = MMSEEqualizer(_grid(num_tx=USERS), StreamManagement(np.ones([1, USERS]), 1), model)
    h = _known(model)[:, :, 0, 0, :, 0].permute(0, 2, 1, 3)[:, None, :, :, None, None]
    y = torch.ones(2, 1, ANTENNAS, 1, FFT_SIZE, dtype=torch.complex64)
    return lambda: block(y, h, 0.0, no)


def _calls(model: nm.ScenarioModel) -> dict[str, tuple[Callable[[], Any], str]]:
    """Calls that gain from another setting, and what their warning advises."""
    precoder, narrow = _precoder(model), _precoder(model)
    wide = _precoder(model, 2 * FFT_SIZE)
    strange, outside = _unknown(_known(model)), _known(model, 2 * FFT_SIZE)
    return {
        "unknown links": (lambda: precoder(_x(), strange), 'set trust="model"'),
        "band": (lambda: wide(_x(2 * FFT_SIZE), outside), "widen [grid] in the scenario"),
        "noise": (_equalize(model, 1e3), "At a noise power of 1e+03, links are computed exactly."),
        "sizes": (lambda: narrow(_x(), _known(model)[..., :8, :, :]), "use nm.Exact()"),
    }


@pytest.mark.parametrize("kind", ["unknown links", "band", "noise", "sizes"])
def test_an_object_warns_once_at_the_line_of_its_user(model: nm.ScenarioModel, kind: str) -> None:
    call, advice = _calls(model)[kind]
    with _caught() as first:
        call()
    (one,) = first
    assert advice in str(one.message)
    assert str(one.message).endswith(".") and one.filename == __file__
    with _caught() as second:
        call()
    assert not second
    # Another object has its own say.
    anew = replace(model, models={name: replace(part) for name, part in model.models.items()})
    with _caught() as third:
        _calls(anew)[kind][0]()
    assert [str(again.message) for again in third] == [str(one.message)]


def test_what_is_as_it_should_be_gives_none(model: nm.ScenarioModel) -> None:
    h = _known(model)
    with _caught() as found:
        _precoder(model)(_x(), h)
        _equalize(model, 0.1)()
        _precoder(nm.Exact())(_x(), _unknown(h))
        _precoder(model, trust="model")(_x(), _unknown(h), links=torch.tensor([0, 1]))
    assert not found


def test_few_unknown_links_give_none(model: nm.ScenarioModel) -> None:
    h = _known(model)
    h = torch.cat([h, _unknown(h[:1])])
    x = torch.ones(3, 1, USERS, 1, FFT_SIZE, dtype=torch.complex64)
    precoder = _precoder(model)
    with _caught() as found:
        precoder(x, h)
    assert precoder.stats.links_unknown == 1 and not found


def test_training_warns_of_many_patches_and_its_advice_helps(write_scenario: Any) -> None:
    def patched(**settings: Any) -> tuple[float, list[str]]:
        file = write_scenario(
            single_user=None,
            grid={"fft_size": 192, "subcarrier_spacing": 120e3},
            model={"samples": 128, "collocation": 128, **settings},
        )
        with _caught() as found:
            model = nm.train(nm.load_scenario(file))
        share = model.models["pseudo_inverse"].marks.exact.double().mean().item()
        return share, [str(one.message) for one in found]

    poor, (message,) = patched(width=12)
    assert poor > 0.1 and f"{100 * poor:.0f} % of the subcarriers of pseudo_inverse" in message
    assert "raise samples, width or rank" in message
    assert "with tolerance_db and tolerance_range" in message
    assert patched(width=96)[1] == []
    assert patched(width=12, tolerance_db=0.0, tolerance_range=1.0)[0] < poor
