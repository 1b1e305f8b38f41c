"""The WMMSE precoder: its sum rate, its power, and what it shares with zero forcing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks import WMMSEPrecoder, ZFPrecoder
from neumatc_mimo.metrics.measures import sum_rate
from neumatc_mimo.operations import WMMSE
from neumatc_mimo.solvers import Exact, Spline

K, M, SYMBOLS, SUBCARRIERS = 3, 6, 2, 32


@pytest.fixture
def grids() -> tuple[ResourceGrid, StreamManagement]:
    grid = ResourceGrid(SYMBOLS, SUBCARRIERS, 30e3, num_tx=1, num_streams_per_tx=K)
    return grid, StreamManagement(np.ones([K, 1]), K)


@pytest.fixture
def channel() -> Tensor:
    """[1, SUBCARRIERS, K, M], of few delays."""
    g = torch.Generator().manual_seed(3)
    gain = torch.randn(K, M, 4, dtype=torch.complex64, generator=g)
    delay = torch.rand(4, generator=g) / SUBCARRIERS
    wave = torch.exp(-2j * torch.pi * torch.arange(SUBCARRIERS)[:, None] * delay)
    return torch.einsum("fp,kmp->fkm", wave, gain)[None] / 2


def sionna_layout(h: Tensor) -> Tensor:
    h = h.permute(0, 2, 3, 1)[:, :, None, None, :, None]
    return h.expand(*h.shape[:5], SYMBOLS, -1)


def symbols() -> Tensor:
    g = torch.Generator().manual_seed(4)
    return torch.randn(1, 1, K, SYMBOLS, SUBCARRIERS, dtype=torch.complex64, generator=g)


def test_block_applies_the_precoder(
    grids: tuple[ResourceGrid, StreamManagement], channel: Tensor
) -> None:
    x = symbols()
    block = WMMSEPrecoder(*grids, Exact(), return_effective_channel=True)
    precoded, h_eff = block(x, sionna_layout(channel), 0.2)
    (v,) = WMMSE(0.2).exact(channel)
    expected = (v @ x[:, 0].permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    torch.testing.assert_close(precoded[:, 0], expected, rtol=1e-4, atol=1e-5)
    effective = (channel @ v).permute(0, 2, 3, 1)
    torch.testing.assert_close(h_eff[:, :, 0, 0, :, 0], effective, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("no", "least"), [(10.0, 0.05), (1.0, 0.01), (0.1, -1e-4)])
def test_rate_is_above_that_of_regularised_zero_forcing(
    channel: Tensor, no: float, least: float
) -> None:
    (v,) = WMMSE(no).exact(channel)
    power = torch.linalg.norm(v, dim=(-2, -1)).square()
    torch.testing.assert_close(power, torch.full_like(power, K))
    eye = torch.eye(K, dtype=channel.dtype)
    w = channel.mH @ torch.linalg.inv(channel @ channel.mH + no * eye)
    w = w / torch.linalg.vector_norm(w, dim=-2, keepdim=True)
    gain = sum_rate(channel, v, no) - sum_rate(channel, w, no)
    assert gain.min() > -1e-4 and gain.mean() > least


def test_other_solvers_give_the_same(
    grids: tuple[ResourceGrid, StreamManagement], channel: Tensor
) -> None:
    x, h = symbols(), sionna_layout(channel)
    exact = WMMSEPrecoder(*grids, Exact())(x, h, 0.2)
    other = WMMSEPrecoder(*grids, Spline(16), certify="call")
    found = other(x, h, 0.2)
    assert torch.linalg.norm(found - exact) < 0.02 * torch.linalg.norm(exact)
    assert other.stats.exact + other.stats.queried + other.stats.corrected == SUBCARRIERS


def test_vanishing_noise_tends_to_zero_forcing_of_other_powers(
    grids: tuple[ResourceGrid, StreamManagement], channel: Tensor
) -> None:
    h = sionna_layout(channel)
    _, zero_forcing = ZFPrecoder(*grids, Exact(), True)(symbols(), h)
    _, effective = WMMSEPrecoder(*grids, Exact(), True)(symbols(), h, 1e-6)
    for h_eff, limit in ((zero_forcing, 1e-4), (effective, 1e-2)):
        g = h_eff[0, :, 0, 0, :, 0]
        own = g.diagonal(dim1=0, dim2=1).abs()
        off = g.abs().sum((0, 1)) - own.sum(-1)
        assert (off < limit * own.sum(-1)).all()


def test_noise_is_needed(grids: tuple[ResourceGrid, StreamManagement], channel: Tensor) -> None:
    block = WMMSEPrecoder(*grids, Exact())
    with pytest.raises(ValueError, match="no is zero, but without noise the rate is not finite."):
        block(symbols(), sionna_layout(channel), 0.0)
    with pytest.raises(ValueError, match="no has negative entries or NaN"):
        block(symbols(), sionna_layout(channel), -1.0)
    with pytest.raises(ValueError, match="no is 0, a noise power above zero is needed."):
        WMMSE(0)
    with pytest.raises(ValueError, match="num_iterations is 0, at least one is needed."):
        WMMSE(num_iterations=0)
