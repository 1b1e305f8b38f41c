"""Any noise, any covariance: what a model serves, and what is computed once for what is equal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LMMSEEqualizer, ResourceGrid, RZFPrecoder
from torch import Tensor

import neumatc_mimo as nm
from benchmarks.kernels import kernels
from neumatc_mimo.blocks import MMSEEqualizer, ZFPrecoder
from tests.blocks.common import close
from tests.warned import beyond, unwarned

SYMBOLS, FFT_SIZE, K, ANTENNAS = 4, 192, 3, 16


def grid(num_tx: int, num_streams: int, fft_size: int = FFT_SIZE) -> ResourceGrid:
    return ResourceGrid(SYMBOLS, fft_size, 120e3, num_tx=num_tx, num_streams_per_tx=num_streams)


def drawn(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.complex128, generator=generator)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.01 + 0.1 * torch.rand(*shape, dtype=torch.float64, generator=generator)


def link(model: nm.ScenarioModel, index: int = 0) -> Tensor:
    """A trained link, [K, ANTENNAS, FFT_SIZE]."""
    links = model.models["pseudo_inverse"].links
    h = links.channel(links.grid_frequencies(), [index], dtype=torch.complex128)
    return h[0].permute(1, 2, 0)


class Uplink:
    """An equalizer with a model beside Sionna's, both in double precision."""

    def __init__(self, model: nm.ScenarioModel) -> None:
        pair = grid(K, 1), StreamManagement(np.ones([1, K]), 1)
        self.ours = MMSEEqualizer(*pair, model, precision="double")
        self.theirs = LMMSEEqualizer(*pair, precision="double")
        h = link(model).permute(1, 0, 2)[None, None, :, :, None, None]
        self.h = h.expand(-1, -1, -1, -1, -1, SYMBOLS, -1)
        self.y = drawn(1, 1, ANTENNAS, SYMBOLS, FFT_SIZE, seed=1)

    def errors(self, err_var: Any, no: Any) -> tuple[Tensor, Tensor]:
        """Relative errors of x_hat and no_eff, [K, SYMBOLS * FFT_SIZE]."""
        found = self.ours(self.y, self.h, err_var, no)
        expected = self.theirs(self.y, self.h, torch.as_tensor(err_var), torch.as_tensor(no))
        x_hat, no_eff = (
            (one - other)[0, :, 0].abs() / other[0, :, 0].abs()
            for one, other in zip(found, expected, strict=True)
        )
        return x_hat, no_eff


@pytest.mark.parametrize("no", [1e-9, 1e-6, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 1.0])
def test_one_model_serves_the_whole_noise_range(small_model: nm.ScenarioModel, no: float) -> None:
    uplink = Uplink(small_model)
    x_hat, no_eff = uplink.errors(0.0, no)
    assert x_hat.median() < 5e-3 and no_eff.median() < 5e-3 and no_eff.max() < 0.05
    assert uplink.ours.stats.links_recalled == 1 and uplink.ours.stats.exact == 0


@pytest.mark.parametrize("no", [2.0, 1e3])
def test_beyond_it_results_are_exact_and_counted(small_model: nm.ScenarioModel, no: float) -> None:
    uplink = Uplink(unwarned(small_model))
    with beyond():
        assert max(e.max() for e in uplink.errors(0.0, no)) < 1e-8
    stats = uplink.ours.stats
    assert stats.exact == FFT_SIZE and stats.links_recalled == 0
    assert stats.links_unknown == stats.links_beyond == 1


FOLDED = {
    "scalar": torch.tensor(0.02),
    "streams": uniform(K, 1, 1, 1),
    "equal everywhere": torch.full((1, 1, ANTENNAS, K, 1, SYMBOLS, FFT_SIZE), 0.02),
}


@pytest.mark.parametrize("err_var", FOLDED.values(), ids=FOLDED)
def test_white_and_constant_errors_are_noise(small_model: nm.ScenarioModel, err_var: Any) -> None:
    uplink = Uplink(small_model)
    x_hat, no_eff = uplink.errors(err_var, 0.05)
    assert x_hat.median() < 5e-3 and no_eff.median() < 5e-3
    assert uplink.ours.stats.links_recalled == 1 and uplink.ours.stats.exact == 0
    error = err_var.double().sum() if err_var.dim() == 4 else K * 0.02
    folded = uplink.ours(uplink.y, uplink.h, 0.0, 0.05 + error)
    for one, other in zip(uplink.ours(uplink.y, uplink.h, err_var, 0.05), folded, strict=True):
        close(one, other, 1e-6)


def at_symbols(value: Tensor, *symbols: int) -> Tensor:
    """A value [..., n] at some symbols, and 0.02 at the others, [..., SYMBOLS, n]."""
    full = torch.full((*value.shape[:-1], SYMBOLS, value.shape[-1]), 0.02, dtype=torch.float64)
    full[..., list(symbols), :] = value[..., None, :]
    return full


# Error variances, and how many filters a subcarrier needs.
COMPUTED = {
    "subcarriers": (uniform(1, FFT_SIZE), 1),
    "antennas": (uniform(ANTENNAS, 1, 1, 1, 1), 1),
    "resource elements": (uniform(SYMBOLS, FFT_SIZE), SYMBOLS),
    "subcarriers, one symbol": (at_symbols(uniform(FFT_SIZE), 2), 2),
    "subcarriers, symbols apart": (at_symbols(uniform(FFT_SIZE), 0, 2), 2),
    "antennas, one symbol": (at_symbols(uniform(ANTENNAS, 1, 1, 1), 1), 2),
    "entries": (uniform(1, 1, ANTENNAS, K, 1, SYMBOLS, FFT_SIZE), SYMBOLS),
    "entries, symbols apart": (at_symbols(uniform(ANTENNAS, K, 1, FFT_SIZE), 1, 3), 2),
}


@pytest.mark.parametrize("err_var, distinct", COMPUTED.values(), ids=COMPUTED)
def test_other_errors_are_computed_once_each(
    small_model: nm.ScenarioModel, err_var: Tensor, distinct: int
) -> None:
    uplink = Uplink(small_model)
    assert max(e.max() for e in uplink.errors(err_var, 0.05)) < 1e-8
    stats = uplink.ours.stats
    assert stats.exact == distinct * FFT_SIZE and stats.queried == stats.corrected == 0


def test_noise_of_each_antenna_is_computed(small_model: nm.ScenarioModel) -> None:
    uplink = Uplink(small_model)
    assert max(e.max() for e in uplink.errors(0.0, uniform(1, 1, ANTENNAS))) < 1e-8
    assert uplink.ours.stats.exact == FFT_SIZE


@pytest.mark.parametrize("symbols, distinct", [((1,), 2), ((0, 2), 2), ((0, 1, 2, 3), 1)])
def test_errors_that_differ_in_time_only_are_queried(
    small_model: nm.ScenarioModel, symbols: tuple[int, ...], distinct: int
) -> None:
    uplink = Uplink(small_model)
    x_hat, no_eff = uplink.errors(at_symbols(torch.tensor([0.1]).double(), *symbols), 0.01)
    assert x_hat.median() < 5e-3 and no_eff.median() < 5e-3
    stats = uplink.ours.stats
    assert stats.links_recalled == distinct and stats.exact == 0


def test_channels_that_are_equal_at_some_symbols(small_model: nm.ScenarioModel) -> None:
    uplink = Uplink(small_model)
    uplink.h = uplink.h.clone()
    uplink.h[..., 1, :] = link(small_model, 1).permute(1, 0, 2)[None, None, :, :, None]
    uplink.h[..., 3, :] = drawn(1, 1, ANTENNAS, K, 1, FFT_SIZE, seed=3)
    x_hat, no_eff = uplink.errors(0.0, 0.05)
    assert x_hat.median() < 5e-3 and no_eff.median() < 5e-3
    stats = uplink.ours.stats
    assert (stats.links_recalled, stats.links_unknown, stats.exact) == (2, 1, FFT_SIZE)


def cells(num: int, antennas: int, h: Tensor, err_var: Any, no: Any) -> tuple[Any, float]:
    """Counts and largest error of receivers with K users each that hear those of all others.

    :param h: [batch_size, num_rx, antennas, num_tx, SYMBOLS or 1, num_subcarriers]
    """
    size = h.shape[-1]
    pair = grid(num * K, 1, size), StreamManagement(np.kron(np.eye(num), np.ones([1, K])), 1)
    ours = MMSEEqualizer(*pair, nm.Exact(), precision="double")
    theirs = LMMSEEqualizer(*pair, precision="double")
    h = h[:, :, :, :, None].expand(-1, -1, -1, -1, -1, SYMBOLS, -1)
    y = drawn(len(h), num, antennas, SYMBOLS, size, seed=1)
    found = ours(y, h, err_var, no)
    expected = theirs(y, h, torch.as_tensor(err_var), torch.as_tensor(no))
    error = max(
        float(((one - other).abs() / other.abs().amax()).max())
        for one, other in zip(found, expected, strict=True)
    )
    return ours.stats, error


NOISES = {
    "white": (0.0, 0.1),
    "antennas": (0.0, uniform(2, 2, 8)),
    "resource elements": (uniform(SYMBOLS, 24), 0.1),
    "entries at a symbol": (at_symbols(uniform(8, 1, 1, 24), 2), 0.1),
}


@pytest.mark.parametrize("num", [2, 3], ids=["fewer streams than antennas", "more"])
@pytest.mark.parametrize("err_var, no", NOISES.values(), ids=NOISES)
def test_interference_of_other_cells(num: int, err_var: Any, no: Any) -> None:
    if isinstance(no, Tensor):
        no = uniform(2, num, 8)
    h = drawn(2, num, 8, num * K, 1, 24, seed=2)
    stats, error = cells(num, 8, h, err_var, no)
    assert error < 1e-9
    distinct = {0: 1, 2: SYMBOLS, 5: 2}[err_var.dim() if isinstance(err_var, Tensor) else 0]
    assert stats.exact == 2 * num * distinct * 24


@pytest.mark.parametrize("no", [1e-6, 1e-3, 1.0])
def test_interference_at_any_noise(no: float) -> None:
    h = drawn(2, 2, 8, 2 * K, 1, 24, seed=2)
    _, error = cells(2, 8, h, 0.0, no)
    assert error < 1e-7


def test_a_covariance_of_neighbouring_subcarriers_is_factored_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Flat interference in blocks of six subcarriers, on desired channels that are not flat."""
    factored: list[int] = []
    cholesky = torch.linalg.cholesky_ex

    def counting(a: Tensor, **settings: Any) -> Any:
        factored.append(a[..., 0, 0].numel() if a.shape[-1] == 8 else 0)
        return cholesky(a, **settings)

    h = drawn(2, 3, 8, 3 * K, 1, 4, seed=2).repeat_interleave(6, -1)
    for rx in range(3):
        own = slice(rx * K, rx * K + K)
        h[:, rx, :, own] = drawn(2, 8, K, 1, 24, seed=3 + rx)
    monkeypatch.setattr(torch.linalg, "cholesky_ex", counting)
    with kernels(False):
        stats, error = cells(3, 8, h, 0.0, 0.1)
    assert error < 1e-9 and stats.exact == 2 * 3 * 24
    # Sionna factors its own, of every symbol and subcarrier.
    assert sorted(set(factored) - {0})[0] == 2 * 4


ALPHAS = {
    "scalar": (0.1, 1, 0),
    "two values in time": (at_symbols(torch.tensor([0.3], dtype=torch.float64), 0, 3), 2, 0),
    "out of range": (7.0, 0, 1),
    "subcarriers": (uniform(FFT_SIZE), 0, 1),
    "resource elements": (uniform(SYMBOLS, FFT_SIZE), 0, SYMBOLS),
    "subcarriers, one symbol": (at_symbols(uniform(FFT_SIZE), 1), 0, 2),
}


@pytest.mark.parametrize("alpha, recalled, computed", ALPHAS.values(), ids=ALPHAS)
def test_alpha_is_a_noise_power(
    small_model: nm.ScenarioModel, alpha: Any, recalled: int, computed: int
) -> None:
    pair = grid(1, K), StreamManagement(np.ones([K, 1]), K)
    ours = ZFPrecoder(*pair, unwarned(small_model), True, precision="double")
    theirs = RZFPrecoder(*pair, True, precision="double")
    h = link(small_model)[None, :, None, None, :, None].expand(-1, -1, -1, -1, -1, SYMBOLS, -1)
    x = drawn(1, 1, K, SYMBOLS, FFT_SIZE, seed=1)
    out_of_range = isinstance(alpha, float) and recalled == 0
    with beyond(out_of_range):
        found, expected = ours(x, h, alpha), theirs(x, h, alpha)
    for one, other in zip(found, expected, strict=True):
        close(one, other, 0.05 if recalled else 1e-9)
    assert ours.stats.links_recalled == recalled
    assert ours.stats.exact == computed * FFT_SIZE
