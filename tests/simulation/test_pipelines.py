"""The pipelines: paired, reproducible, and right where theory says what comes out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from neumatc_mimo.scenario import Scenario, load_scenario
from neumatc_mimo.simulation import (
    PIPELINES,
    ErrorCurve,
    MultiUserDownlink,
    MultiUserUplink,
    error_curves,
    fall,
    snr_offset_db,
    snr_offset_error_db,
    waterfall,
)
from neumatc_mimo.solvers.exact import Exact

_SMALL: dict[str, Any] = {"block_length": 240, "stride": 2, "num_ofdm_symbols": 2}


@pytest.fixture(scope="module")
def scenario(write_scenario: Any) -> Scenario:
    return load_scenario(write_scenario())


def _pipeline(scenario: Scenario, name: str, **options: Any) -> Any:
    kind = PIPELINES[name]
    return kind(getattr(scenario, kind.kind), Exact(), **{**_SMALL, **options})


@pytest.mark.parametrize("coded", [True, False])
@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_two_exact_pipelines_give_identical_bits(
    scenario: Scenario, name: str, coded: bool
) -> None:
    a, b = (_pipeline(scenario, name, coded=coded) for _ in range(2))
    torch.rand(7)  # the global generator must not matter
    a(4, 20.0)  # nor calls at another Eb/N0
    for _ in range(2):
        bits_a, hat_a = a(4, 0.0)
        torch.rand(3)
        bits_b, hat_b = b(4, 0.0)
        assert torch.equal(bits_a, bits_b) and torch.equal(hat_a, hat_b)
    assert bits_a.shape == hat_a.shape and bits_a.shape[:2] == (4, a.num_streams)


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_calls_and_seeds_draw_other_bits(scenario: Scenario, name: str) -> None:
    pipeline = _pipeline(scenario, name)
    first, second = pipeline(4, 0.0)[0], pipeline(4, 0.0)[0]
    assert not torch.equal(first, second)
    assert not torch.equal(first, _pipeline(scenario, name, seed=1)(4, 0.0)[0])


@pytest.mark.parametrize("coded", [True, False])
@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_without_noise_all_bits_arrive(scenario: Scenario, name: str, coded: bool) -> None:
    bits, bits_hat = _pipeline(scenario, name, coded=coded)(4, 90.0)
    assert torch.equal(bits, bits_hat)


def test_zero_forcing_reaches_the_theory_of_awgn(scenario: Scenario) -> None:
    """QPSK on parallel channels of SNR 1/(σ² X_kk): BER = mean Q(√SNR)."""
    links = scenario.multi_user
    assert links is not None
    pipeline = MultiUserDownlink(
        links, Exact(), coded=False, num_bits_per_symbol=2, block_length=2, stride=1
    )
    for ebno_db in (-6.0, 0.0, 6.0):
        bits, bits_hat = pipeline(64, ebno_db)
        ber = (bits != bits_hat).double().mean().item()
        h = links.channel(links.grid_frequencies(), dtype=torch.complex128)
        x_diagonal = torch.linalg.inv(h @ h.mH).diagonal(dim1=-2, dim2=-1).real
        snr = 2 * 10 ** (ebno_db / 10) / x_diagonal
        expected = (0.5 * torch.erfc((snr / 2).sqrt())).mean().item()
        deviation = math.sqrt(expected * (1 - expected) / bits.numel())
        assert abs(ber - expected) < 5 * deviation + 1e-6


def test_the_uplink_is_no_worse_than_zero_forcing(scenario: Scenario) -> None:
    links = scenario.multi_user
    assert links is not None
    errors = []
    for kind in (MultiUserDownlink, MultiUserUplink):
        pipeline = kind(links, Exact(), coded=False, num_bits_per_symbol=2, **_SMALL)
        bits, bits_hat = pipeline(32, 0.0)
        errors.append((bits != bits_hat).double().mean().item())
    assert errors[1] < 1.05 * errors[0]


def test_curves_of_paired_solvers_agree_and_their_offset_is_zero(scenario: Scenario) -> None:
    curves = error_curves(
        lambda solver: MultiUserDownlink(scenario.multi_user, solver, **_SMALL),
        {"exact": Exact(), "again": Exact()},
        [-5.0, 5.0, 15.0],
        batch_size=8,
        target_block_errors=20,
        max_calls=3,
    )
    assert curves["exact"] == curves["again"]
    assert curves["exact"].num_calls[0] <= 3
    assert snr_offset_db(curves["exact"], curves["again"]) == 0.0


def test_waterfall_brackets_the_fall(scenario: Scenario) -> None:
    points = waterfall(_pipeline(scenario, "downlink"), num_points=3, batch_size=8)
    assert len(points) == 3 and points == sorted(points)


class Logistic:
    """Blocks that are lost with the probability 1 / (1 + e^{Eb/N0 − middle})."""

    ebno_range = (-20.0, 40.0)

    def __init__(self, middle: float) -> None:
        self.middle = middle
        self.generator = torch.Generator().manual_seed(0)

    def bler(self, ebno_db: float) -> float:
        return 1 / (1 + math.exp(ebno_db - self.middle))

    def __call__(self, batch_size: int, ebno_db: float) -> tuple[torch.Tensor, torch.Tensor]:
        bits = torch.zeros(batch_size, 1, 4, 2)
        lost = torch.rand(bits.shape[:-1], generator=self.generator) < self.bler(ebno_db)
        return bits, bits + lost[..., None]


@pytest.mark.parametrize("middle", [-21.0, -7.3, 0.0, 12.6, 37.0])
def test_fall_is_where_a_block_in_ten_is_lost(middle: float) -> None:
    pipeline: Any = Logistic(middle)
    assert 0.03 < pipeline.bler(fall(pipeline, batch_size=64)) < 0.3


def test_fall_is_an_end_of_the_range_where_that_comes_first() -> None:
    early: Any = Logistic(-40.0)
    late: Any = Logistic(60.0)
    assert fall(early) == -20.0 and abs(fall(late) - 40.0) < 0.2


def test_offset_of_a_shifted_curve_is_the_shift() -> None:
    ebno = [0.0, 2.0, 4.0, 6.0]
    rates = [0.9, 0.3, 0.05, 0.005]
    empty: list[int] = []
    a = ErrorCurve(ebno, rates, rates, empty, empty, empty)
    b = ErrorCurve([e + 0.25 for e in ebno], rates, rates, empty, empty, empty)
    assert math.isclose(snr_offset_db(a, b), 0.25, abs_tol=1e-9)
    assert math.isclose(snr_offset_db(b, a, rate="ber"), -0.25, abs_tol=1e-9)
    assert math.isnan(snr_offset_db(a, b, (0.95, 0.99)))


def test_an_offset_of_few_errors_is_uncertain() -> None:
    ebno, rates = [0.0, 2.0, 4.0, 6.0], np.array([0.9, 0.3, 0.05, 0.005])

    def curve(blocks: int) -> ErrorCurve:
        errors, ber = np.rint(rates * blocks).astype(int).tolist(), rates.tolist()
        return ErrorCurve(ebno, ber, ber, errors, [blocks] * 4, [1] * 4)

    few, many = (snr_offset_error_db(curve(n), curve(n)) for n in (1000, 100_000))
    # Ten times the blocks, squared: a tenth of the uncertainty.
    assert 5 < few / many < 20 and many < 0.1
    assert math.isnan(snr_offset_error_db(curve(1000), curve(1000), (0.95, 0.99)))


def test_the_interval_holds_as_many_offsets_as_it_says() -> None:
    ebno, rates = [0.0, 2.0, 4.0, 6.0], np.array([0.9, 0.3, 0.05, 0.005])
    rng, blocks = np.random.default_rng(1), 20_000
    found = []
    for _ in range(60):
        curves = []
        for _ in range(2):
            errors = rng.binomial(blocks, rates)
            bler = (errors / blocks).tolist()
            curves.append(ErrorCurve(ebno, bler, bler, errors.tolist(), [blocks] * 4, [1] * 4))
        found.append(abs(snr_offset_db(*curves)) <= snr_offset_error_db(*curves, draws=100))
    assert np.mean(found) > 0.85


def test_wrong_links_and_blocks_are_refused(scenario: Scenario) -> None:
    assert scenario.multi_user is not None and scenario.single_user is not None
    with pytest.raises(ValueError, match="needs multi_user"):
        MultiUserDownlink(scenario.single_user, Exact())
    with pytest.raises(ValueError, match="block_length is 10000"):
        MultiUserDownlink(scenario.multi_user, Exact(), block_length=10000)
