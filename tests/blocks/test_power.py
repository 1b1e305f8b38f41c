"""Water-filling: its conditions, its rate, and the blocks that agree on it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mapping import Demapper
from sionna.phy.mimo import StreamManagement
from torch import Tensor

from neumatc_mimo.blocks import SVDBeamformer, SVDCombiner
from neumatc_mimo.blocks.power import waterfilling
from neumatc_mimo.operations.svd import SVD
from neumatc_mimo.solvers.exact import Exact
from tests.blocks.common import FFT_SIZE, PRECISIONS, SYMBOLS, close, grid, in_time, noise

RX_ANT, TX_ANT = 3, 8


def drawn(num_streams: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Singular values [200, L], descending over several decades, and noise powers [200, 1]."""
    generator = torch.Generator().manual_seed(seed)
    s = 10 ** (-2 * torch.rand(200, num_streams, dtype=torch.float64, generator=generator))
    no = 10 ** (2 - 6 * torch.rand(200, 1, dtype=torch.float64, generator=generator))
    return s.sort(-1, descending=True).values, no


def bisection(ratio: list[float], total: float) -> list[float]:
    """The powers at the water level that a bisection finds."""
    low, high = min(ratio), max(ratio) + total
    for _ in range(200):
        level = (low + high) / 2
        if sum(max(level - r, 0) for r in ratio) > total:
            high = level
        else:
            low = level
    return [max(low - r, 0) for r in ratio]


@pytest.mark.parametrize("num_streams", [1, 2, 3, 4, 8])
def test_powers_are_those_of_a_bisection(num_streams: int) -> None:
    s, no = drawn(num_streams)
    powers = waterfilling(s, no)
    for found, ratio in zip(powers, no / s.square(), strict=True):
        expected = bisection(ratio.tolist(), num_streams)
        assert found.tolist() == pytest.approx(expected, abs=1e-9 * float(ratio.max() + 1))


@pytest.mark.parametrize("num_streams", [1, 2, 3, 4, 8])
def test_powers_keep_the_conditions_of_karush_kuhn_and_tucker(num_streams: int) -> None:
    s, no = drawn(num_streams, seed=1)
    powers = waterfilling(s, no)
    assert (powers >= 0).all()
    assert (powers.sum(-1) - num_streams).abs().max() < 1e-9 * num_streams
    # The slope of the rate is the multiplier where there is power, and no more where there is none.
    ratio = no / s.square()
    slope = 1 / (powers + ratio)
    multiplier = slope.amax(-1, keepdim=True)
    equal = (slope - multiplier).abs() < 1e-6 * multiplier
    assert (equal | (powers == 0)).all()


@pytest.mark.parametrize("num_streams", [2, 4, 8])
def test_rate_is_that_of_no_other_division(num_streams: int) -> None:
    s, no = drawn(num_streams, seed=2)
    best = torch.log2(1 + waterfilling(s, no) * s.square() / no).sum(-1)
    generator = torch.Generator().manual_seed(3)
    for _ in range(50):
        other = torch.rand(s.shape, dtype=s.dtype, generator=generator)
        other = num_streams * other / other.sum(-1, keepdim=True)
        assert (torch.log2(1 + other * s.square() / no).sum(-1) <= best + 1e-9).all()
    assert (torch.log2(1 + s.square() / no).sum(-1) <= best + 1e-9).all()


def test_limits() -> None:
    s = torch.tensor([2.0, 1.0, 0.5])
    ones = waterfilling(s, torch.zeros(1))
    assert torch.equal(ones, torch.ones(3))
    assert waterfilling(s, torch.tensor([1e9])).tolist() == [3, 0, 0]
    for values in ([0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1e-20, 1e-25, 0.0]):
        powers = waterfilling(torch.tensor(values), torch.tensor([1.0]))
        assert torch.isfinite(powers).all() and math.isclose(float(powers.sum()), 3, rel_tol=1e-6)


def system(
    num_streams: int, solver: Any, dtype: str = "double", **options: Any
) -> tuple[SVDBeamformer, SVDCombiner]:
    rg, sm = grid(1, num_streams), StreamManagement(np.ones([1, 1]), num_streams)
    settings = {"power": "waterfilling", "precision": dtype, **options}
    return SVDBeamformer(rg, sm, solver, **settings), SVDCombiner(rg, sm, solver, **settings)


def transmit(h: Tensor, x: Tensor) -> Tensor:
    return torch.einsum("brmtnsf,btnsf->brmsf", h, x)


def effective(num_streams: int) -> Tensor:
    return torch.as_tensor(grid(1, num_streams).effective_subcarrier_ind.astype(np.int64))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("time", ["view", "every symbol"])
@pytest.mark.parametrize("num_streams", [1, 2, 3])
def test_streams_arrive_and_their_noise_is_told(
    num_streams: int, time: str, precision: str
) -> None:
    dtype, tolerance = PRECISIONS[precision]
    beamformer, combiner = system(num_streams, Exact(), precision)
    x = noise(2, 1, num_streams, SYMBOLS, FFT_SIZE, seed=1).to(dtype)
    h = in_time(noise(2, 1, RX_ANT, 1, TX_ANT, 1, FFT_SIZE, seed=2).to(dtype), time)
    no = torch.tensor([2.0, 40.0])
    x_precoded = beamformer(x, h, no=no)
    x_hat, no_eff = combiner(transmit(h, x_precoded), h, no)

    data = [0, 2, 3]  # symbol 1 carries pilots
    sent = x[..., effective(num_streams)][:, :, :, data].flatten(-2)
    a = h[:, 0, :, 0].permute(0, 3, 4, 1, 2)[:, data][:, :, effective(num_streams)]
    s = torch.linalg.svdvals(a)[..., :num_streams]
    powers = waterfilling(s, no[:, None, None, None].to(s))
    expected = (no[:, None, None, None] / (s.square() * powers)).permute(0, 3, 1, 2).flatten(2)
    on = (powers > 0).permute(0, 3, 1, 2).flatten(2)[:, None]
    assert on.any() and (num_streams == 1 or not on.all())
    close(torch.where(on, x_hat, sent), sent, 10 * tolerance)
    assert (x_hat[~on] == 0).all() and no_eff[~on].isinf().all()
    ratio = no_eff[on] / expected[:, None][on]
    assert (ratio - 1).abs().max() < (1e-6 if precision == "double" else 1e-2)
    llr = Demapper("app", "qam", 4, precision=precision)(x_hat, no_eff)
    assert torch.isfinite(llr).all()


def test_power_of_a_subcarrier_and_effective_channel() -> None:
    """Every subcarrier sends the power of uniform streams, and h_eff is what symbols go through."""
    rg, sm = grid(1, 2), StreamManagement(np.ones([1, 1]), 2)
    beamformer = SVDBeamformer(rg, sm, Exact(), True, "waterfilling", precision="double")
    h = in_time(noise(2, 1, RX_ANT, 1, TX_ANT, 1, FFT_SIZE, seed=2), "constant")
    x = noise(2, 1, 2, SYMBOLS, FFT_SIZE, seed=1)
    x_precoded, h_eff = beamformer(x, h, no=5.0)
    received = transmit(h, x_precoded)[..., effective(2)]
    through = torch.einsum("brmtlsf,btlsf->brmsf", h_eff, x[..., effective(2)])
    close(through, received, 1e-9)
    # The columns of the precoder: what unit symbols become.
    total = 0
    for stream in range(2):
        unit = torch.zeros_like(x)
        unit[:, :, stream] = 1
        total = total + beamformer(unit, h, no=5.0)[0].abs().square().sum(2)
    close(total, torch.full_like(total, 2), 1e-9)


@pytest.mark.parametrize("no", [0.1, 3.0, 30.0])
def test_rate_of_the_link_is_the_capacity_of_its_channel(no: float) -> None:
    """log det(I + H Q H^H / σ²) of what is sent; it beats uniform power."""
    rg, sm = grid(1, RX_ANT), StreamManagement(np.ones([1, 1]), RX_ANT)
    h = in_time(noise(2, 1, RX_ANT, 1, TX_ANT, 1, FFT_SIZE, seed=4), "constant")
    x = noise(2, 1, RX_ANT, SYMBOLS, FFT_SIZE, seed=1)
    rates = {}
    for power in ("uniform", "waterfilling"):
        block = SVDBeamformer(rg, sm, Exact(), True, power, precision="double")
        h_eff = block(x, h, no=no)[1][:, 0, :, 0, :, 0].permute(0, 3, 1, 2)
        eye = torch.eye(RX_ANT, dtype=h_eff.dtype)
        rates[power] = torch.linalg.slogdet(eye + h_eff @ h_eff.mH / no).logabsdet
    a = h[:, 0, :, 0, :, 0].permute(0, 3, 1, 2)[:, effective(RX_ANT)]
    ratio = no / torch.linalg.svdvals(a).square()
    capacity = [
        sum(math.log(1 + p / r) for p, r in zip(bisection(row, RX_ANT), row, strict=True))
        for row in ratio.flatten(0, 1).tolist()
    ]
    assert rates["waterfilling"].flatten().tolist() == pytest.approx(capacity, rel=1e-8)
    assert (rates["waterfilling"] >= rates["uniform"] - 1e-9).all()


def test_noise_of_each_antenna_counts_as_its_mean_on_both_sides() -> None:
    beamformer, combiner = system(2, Exact())
    h = in_time(noise(1, 1, RX_ANT, 1, TX_ANT, 1, FFT_SIZE, seed=2), "constant")
    x = noise(1, 1, 2, SYMBOLS, FFT_SIZE, seed=1)
    no = torch.tensor([[[1.0, 2.0, 6.0]]], dtype=torch.float64)
    x_precoded = beamformer(x, h, no=no)
    close(x_precoded, beamformer(x, h, no=3.0), 1e-12)
    x_hat, no_eff = combiner(transmit(h, x_precoded), h, no)
    sent = x[..., effective(2)][:, :, :, [0, 2, 3]].flatten(-2)
    on = no_eff.isfinite()
    close(torch.where(on, x_hat, sent), sent, 1e-9)


def test_compiles_without_certification() -> None:
    rg, sm = grid(1, 2), StreamManagement(np.ones([1, 1]), 2)
    options: dict[str, Any] = {"certify": None, "time_varying": False, "power": "waterfilling"}
    beamformer = SVDBeamformer(rg, sm, Exact(), **options)
    combiner = SVDCombiner(rg, sm, Exact(), **options)
    h = in_time(noise(1, 1, RX_ANT, 1, TX_ANT, 1, FFT_SIZE, seed=2), "view").to(torch.complex64)
    x = noise(1, 1, 2, SYMBOLS, FFT_SIZE, seed=1).to(torch.complex64)
    no = torch.tensor(5.0)

    def link(x: Tensor, h: Tensor, no: Tensor) -> Any:
        return combiner(transmit(h, beamformer(x, h, no=no)), h, no)

    compiled = torch.compile(link, fullgraph=True, backend="eager")
    for one, other in zip(compiled(x, h, no), link(x, h, no), strict=True):
        assert torch.equal(one.isfinite(), other.isfinite())
        close(one.nan_to_num(posinf=0), other.nan_to_num(posinf=0), 1e-4)


def test_what_is_refused() -> None:
    rg, sm = grid(1, 2), StreamManagement(np.ones([1, 1]), 2)
    for kind in (SVDBeamformer, SVDCombiner):
        with pytest.raises(ValueError, match='power is \'equal\', it must be "uniform" or "water'):
            kind(rg, sm, Exact(), power="equal")
    beamformer, _ = system(2, Exact())
    h = noise(1, 1, RX_ANT, 1, TX_ANT, SYMBOLS, FFT_SIZE, seed=2)
    x = noise(1, 1, 2, SYMBOLS, FFT_SIZE, seed=1)
    with pytest.raises(ValueError, match='no is missing, power="waterfilling" needs the noise'):
        beamformer(x, h)
    with pytest.raises(ValueError, match="no has negative entries or NaN"):
        beamformer(x, h, no=-1.0)


def test_singular_values_of_the_operation_are_in_order() -> None:
    a = noise(50, RX_ANT, TX_ANT, seed=9)
    s = SVD(RX_ANT).solve(a).s
    assert (s[:, 1:] <= s[:, :-1]).all()
