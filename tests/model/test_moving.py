"""Users that move: channels over a burst, models over frequency and time, blocks told the time."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid, RZFPrecodedChannel
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo import metrics
from neumatc_mimo.blocks import SVDBeamformer, SVDCombiner, ZFPrecodedChannel, ZFPrecoder
from neumatc_mimo.mapping.axes import NoiseAxis, TimeAxis, make_axis
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.scenario.schema import MotionConfig
from neumatc_mimo.training.jobs import jobs
from tests.conftest import Trainer
from tests.warned import strangers

LIGHT = 299_792_458.0
SPEED = 8.0
TIMES = (0.0, 1.3e-3, 4.9e-3, 10e-3)


@pytest.fixture(scope="module")
def scenario(write_scenario: Callable[..., Path]) -> nm.Scenario:
    file = write_scenario(
        array={"bs": [4, 4]},
        grid={"fft_size": 256, "subcarrier_spacing": 30e3},
        multi_user={"users_per_link": 3, "num_links": 2},
        single_user={"ue": [2, 1], "num_streams": 1, "num_links": 2},
        motion={"speed": SPEED, "num_slots": 20},
        model={"width": 64, "samples": 80, "collocation": 100},
    )
    return nm.load_scenario(file)


@pytest.fixture(scope="module")
def model(scenario: nm.Scenario, trained: Trainer) -> nm.ScenarioModel:
    return trained(scenario)


def test_a_burst_lasts_as_long_as_its_slots(links: LinkSet) -> None:
    assert links.duration == pytest.approx(20 * 0.5e-3)
    assert "10 ms" in repr(links)


def test_paths_in_line_of_sight_arrive_from_the_base_station(scenario: nm.Scenario) -> None:
    (station,) = scenario._opened.stations
    users = np.flatnonzero(station.has_path)
    paths = station.paths(users, (1, 1))
    away = station.position - station.user_positions[users]
    distance = np.linalg.norm(away, axis=-1)
    first = paths.delays.argmin(-1)
    direct = np.abs(paths.delays.min(-1) * LIGHT - distance) < 0.01
    arrivals = paths.arrivals[np.arange(len(users)), first]
    assert direct.sum() > 10
    np.testing.assert_allclose(arrivals[direct], (away / distance[:, None])[direct], atol=1e-3)


def test_no_path_shifts_by_more_than_the_speed_allows(links: LinkSet) -> None:
    assert links.doppler is not None
    highest = SPEED * links.carrier_frequency / LIGHT
    assert 0.5 * highest < links.doppler.abs().max() <= highest * (1 + 1e-9)


def test_headings_are_the_users_own(scenario: nm.Scenario) -> None:
    again = nm.load_scenario(scenario.config.file).multi_user
    other = nm.load_scenario(scenario.config.file, seed=5).multi_user
    assert again is not None and other is not None and scenario.multi_user is not None
    assert torch.equal(again.doppler, scenario.multi_user.doppler)
    assert again.fingerprint() == scenario.multi_user.fingerprint() != other.fingerprint()


@pytest.mark.parametrize("time", TIMES)
def test_channels_are_sums_of_shifted_paths(links: LinkSet, time: float) -> None:
    assert links.doppler is not None
    f = links.grid_frequencies()[::37]
    # The whole phase of a wave: at the carrier plus f, of a delay that shrinks with the way.
    ratio = 1 + f[:, None] / links.carrier_frequency
    phase = links.doppler * time * ratio[:, None, None, None] - f[
        :, None, None, None, None
    ] * links.delays.unsqueeze(0)
    waves = torch.polar(torch.ones_like(phase), 2 * math.pi * phase)
    expected = (links.coefficients * waves).sum(-1).transpose(0, 1)
    h = links.channel(f, dtype=torch.complex128, time=time)
    torch.testing.assert_close(h, expected, rtol=1e-9, atol=1e-9)
    aligned = links.channel(f, dtype=torch.complex128, time=time, aligned=True)
    factors = links.row_factors(f, time=time)
    torch.testing.assert_close(h, aligned * factors[..., None], rtol=1e-9, atol=1e-9)


def test_what_aligned_channels_lack_turns_slower(links: LinkSet) -> None:
    assert links.doppler is not None and links.row_doppler is not None
    power = links.coefficients.abs().square().sum(2, keepdim=True)

    def spread(shift: Tensor) -> Tensor:
        return (power * shift.square()).sum(-1)

    centred = links.doppler - links.row_doppler[..., None, None]
    assert (spread(centred) <= spread(links.doppler) * (1 + 1e-9)).all()


def test_a_link_set_survives_files_and_selection(links: LinkSet) -> None:
    again = LinkSet.from_tensors(*links.to_tensors())
    assert torch.equal(again.doppler, links.doppler) and again.duration == links.duration
    one = links.select([1])
    f = links.grid_frequencies()[::50]
    assert torch.equal(one.channel(f, time=3e-3)[0], links.channel(f, time=3e-3)[1])


def test_results_keep_what_is_proven_at_any_time_of_the_burst(
    model: nm.ScenarioModel, links: LinkSet
) -> None:
    f = links.grid_frequencies()
    for time in (0.7e-3, 5.2e-3, 9.9e-3):
        h = links.channel(f, dtype=torch.complex128, time=time)
        (w,) = model.query("pseudo_inverse", f, time=time)
        assert metrics.sir_db(h, w.to(h)).amin() > 38
    part = model.models["pseudo_inverse"]
    assert part.marks.exact.double().mean() < 0.02
    assert part.marks.patched.shape == (2, part.mapping.axis.num_stretches, 256)


def test_singular_vectors_keep_the_rate(model: nm.ScenarioModel) -> None:
    part = model.models["svd"]
    f = part.links.grid_frequencies()
    no = torch.tensor(1e-2, dtype=torch.float64)
    for time in (0.7e-3, 5.2e-3, 9.9e-3):
        h = part.links.channel(f, dtype=torch.complex128, time=time)
        _, _, v = model.query("svd", f, time=time)
        rates = [
            metrics.achievable_rate(h, vectors.to(h), no).mean()
            for vectors in (v, part.operation.exact(h)[2])
        ]
        assert rates[0] > 0.999 * rates[1]


@pytest.mark.parametrize(("no", "time"), [(0.0, 11e-3), (0.0, -1e-3), (0.1, 0.0)])
def test_what_was_not_trained_is_refused(model: nm.ScenarioModel, no: float, time: float) -> None:
    with pytest.raises(ValueError, match="times from 0 to 0.01 s"):
        model.query("pseudo_inverse", torch.zeros(1), no=no, time=time)


def test_nodes_along_the_time_follow_the_speed_unless_given(scenario: nm.Scenario) -> None:
    def nodes(**motion: Any) -> list[int]:
        changed = scenario.config.model_copy(update={"motion": MotionConfig(**motion)})
        return [len(job.axis.nodes) for job in jobs(nm.Scenario(changed))]

    assert nodes(speed=SPEED, num_nodes=9) == [9, 9]
    assert all(fast > slow for fast, slow in zip(nodes(speed=9.0), nodes(speed=1.0), strict=True))


def test_a_time_means_nothing_to_users_that_stand_still() -> None:
    axis = NoiseAxis(1e-4, 1.0, 8)
    assert axis.covers(torch.tensor([0.5]), 0.0) and not axis.covers(torch.tensor([0.5]), 1e-3)


def test_models_of_moving_users_survive_files(model: nm.ScenarioModel, tmp_path: Path) -> None:
    again = nm.ScenarioModel.load(model.save(tmp_path / "model"))
    f = torch.linspace(-3e6, 3e6, 7, dtype=torch.float64)
    (before,), (after,) = (m.query("pseudo_inverse", f, time=2e-3) for m in (model, again))
    assert torch.equal(before, after)


def _slot(links: LinkSet, start: float, duration: float) -> Tensor:
    """Channels of a slot of three symbols, [num_links, K, M, 3, fft_size]."""
    moments = [links.channel(links.grid_frequencies(), time=start + i * duration) for i in range(3)]
    return torch.stack(moments, dim=1).permute(0, 3, 4, 1, 2)


@pytest.mark.parametrize("certify", ["link", "call"])
def test_precoders_recall_links_that_are_where_the_time_says(
    model: nm.ScenarioModel, links: LinkSet, certify: str
) -> None:
    grid = ResourceGrid(3, 256, 30e3, num_tx=1, num_streams_per_tx=3)
    streams = StreamManagement(np.ones([3, 1]), 3)
    start = 4.2e-3
    h = _slot(links, start, float(grid.ofdm_symbol_duration))[:, :, None, None]
    x = torch.randn(2, 1, 3, 3, 256, dtype=torch.complex64, generator=_generator())
    block = ZFPrecoder(grid, streams, model, certify=certify)
    exact = ZFPrecoder(grid, streams, nm.Exact())(x, h)
    found = block(x, h, time=start)
    assert (found - exact).norm() < 1e-2 * exact.norm()
    assert (block.stats.links_recalled, block.stats.links_unknown) == (6, 0)
    # Without the time, or at another one, they are other links.
    for elsewhere in (None, start + 2e-3):
        block = ZFPrecoder(grid, streams, model, certify=certify)
        with strangers():
            found = block(x, h, time=elsewhere)
        # Proofs of every call leave the kernels aside, which round otherwise.
        torch.testing.assert_close(found, exact, rtol=1e-3, atol=1e-4)
        assert block.stats.links_unknown == 6


@pytest.mark.parametrize("trust", ["estimate", "model"])
@pytest.mark.parametrize("power", [1.0, 0.25])
def test_precoded_channels_move_along(
    model: nm.ScenarioModel, links: LinkSet, trust: str, power: float
) -> None:
    """Precoders are those of each symbol's own time, or of what was known of the channel then."""
    grid = ResourceGrid(3, 256, 30e3, num_tx=1, num_streams_per_tx=3)
    streams = StreamManagement(np.ones([3, 1]), 3)
    start = 4.2e-3
    duration = float(grid.ofdm_symbol_duration)
    known = _slot(links, start, duration)[:, :, None, None]
    # What the precoders meet half a millisecond later.
    h = _slot(links, start + 0.5e-3, duration)[:, :, None, None]
    tx_power = torch.full((2, 1, 3), power)
    expected = RZFPrecodedChannel(grid, streams)(h, tx_power, known)
    block = ZFPrecodedChannel(grid, streams, model, trust=trust)
    found = block(h, tx_power, known, links=torch.arange(2), time=start)
    assert (found - expected).norm() < 1e-2 * expected.norm()
    counts = block.stats
    assert (counts.links_recalled, counts.links_trusted) == {"estimate": (6, 0), "model": (0, 6)}[
        trust
    ]
    # At another time they are other links; who trusts the model gets the precoders of that time.
    block = ZFPrecodedChannel(grid, streams, model, trust=trust)
    with strangers(trust == "estimate"):
        found = block(h, tx_power, known, links=torch.arange(2), time=start + 2e-3)
    assert ((found - expected).norm() < 1e-2 * expected.norm()) == (trust == "estimate")
    assert block.stats.links_unknown == {"estimate": 6, "model": 0}[trust]


@pytest.mark.parametrize("trust", ["estimate", "model"])
def test_beamformer_and_combiner_move_along(model: nm.ScenarioModel, trust: str) -> None:
    links = model.models["svd"].links
    grid = ResourceGrid(3, 256, 30e3, num_tx=1, num_streams_per_tx=1)
    streams = StreamManagement(np.ones([1, 1]), 1)
    start = 6e-3
    h = _slot(links, start, float(grid.ofdm_symbol_duration))[:, None, :, None]
    x = torch.randn(2, 1, 1, 3, 256, dtype=torch.complex64, generator=_generator())
    outputs = []
    for solver in (model, nm.Exact()):
        options, named = {}, {}
        if solver is model:
            options, named = {"trust": trust}, {"links": torch.arange(2)}
        sent = SVDBeamformer(grid, streams, solver, **options)(x, h, **named, time=start)
        y = torch.einsum("bkmsf,bmsf->bksf", h[:, 0, :, 0], sent[:, 0])[:, None]
        combiner = SVDCombiner(grid, streams, solver, **options)
        x_hat, no_eff = combiner(y, h, 0.01, **named, time=start)
        outputs.append((x_hat.flatten(), no_eff))
    torch.testing.assert_close(outputs[0][0], x.flatten(), rtol=0.05, atol=0.05)
    torch.testing.assert_close(outputs[0][1], outputs[1][1], rtol=0.05, atol=1e-6)


def test_the_time_axis_interpolates_and_tells_its_stretches() -> None:
    axis = TimeAxis(0.01, 9)
    t = torch.linspace(0, 0.01, 23, dtype=torch.float64)
    wave = torch.polar(torch.ones_like(t), 2 * math.pi * 40 * t)
    nodes = torch.polar(torch.ones(9).double(), 2 * math.pi * 40 * axis.nodes)
    torch.testing.assert_close(axis.weights(t).to(nodes.dtype) @ nodes, wave, rtol=0, atol=1e-5)
    checks = axis.checks
    assert checks[0] == 0 and checks[-1] == 0.01 and axis.num_stretches == len(checks) - 1
    for stretch in range(axis.num_stretches):
        middle = float(checks[stretch] + checks[stretch + 1]) / 2
        assert axis.stretch(middle) == stretch
    marks = torch.arange(len(checks))
    assert axis.by_stretch(marks).tolist() == marks[1:].tolist()
    assert make_axis(axis.settings()) == axis
    with pytest.raises(ValueError, match="no axis"):
        make_axis({"kind": "space"})


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
