"""The cell of Sionna's system-level blocks: the same whatever computes the precoders."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

import neumatc_mimo as nm
from benchmarks import system
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.simulation.system import SystemDownlink, SystemSlots
from tests.conftest import Trainer

NUM_SLOTS = 6


@pytest.fixture(scope="module")
def scenario(write_scenario: Any) -> nm.Scenario:
    """Six resource blocks."""
    grid = {"fft_size": 72, "subcarrier_spacing": 60e3}
    return nm.load_scenario(write_scenario(grid=grid, single_user=None))


@pytest.fixture(scope="module")
def model(scenario: nm.Scenario, trained: Trainer) -> nm.ScenarioModel:
    return trained(scenario)


def _same(found: SystemSlots, expected: SystemSlots) -> None:
    for field in fields(SystemSlots):
        ours, theirs = getattr(found, field.name), getattr(expected, field.name)
        if field.name == "sinr_eff":
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=0)
        else:
            assert torch.equal(ours, theirs), field.name


def test_decisions_and_throughput_are_sionnas(links: LinkSet, model: nm.ScenarioModel) -> None:
    expected = SystemDownlink(links, None, bs_power_dbm=5.0)(NUM_SLOTS)
    for solver in (nm.Exact(), model):
        downlink = SystemDownlink(links, solver, bs_power_dbm=5.0)
        _same(downlink(NUM_SLOTS), expected)
        recalled = downlink.channel.stats.links_recalled
        assert recalled == (NUM_SLOTS * links.num_links if solver is model else 0)
    assert len(expected.mcs_index.unique()) > 3
    assert len(expected.scheduled.unique()) > 1


def test_conjugate_beamforming_is_sionnas(links: LinkSet) -> None:
    ours, theirs = (
        SystemDownlink(links, solver, precoding="matched_filter", bs_power_dbm=20.0)(2)
        for solver in (nm.Exact(), None)
    )
    _same(ours, theirs)


def _rate(links: LinkSet, precoding: str) -> float:
    """Mean over groups and subcarriers of the sum rate."""
    return float(torch.log2(1 + _sinr(links, precoding)).sum((-2, -1)).mean())


def _sinr(links: LinkSet, precoding: str) -> Tensor:
    """Of each stream, [num_groups, fft_size, num_users, num_streams_per_rx]."""
    return SystemDownlink(links, nm.Exact(), precoding=precoding, bs_power_dbm=5.0)._sinrs(0)


def test_precoders_are_good_for_what_they_maximise(links: LinkSet) -> None:
    rates = {name: _rate(links, name) for name in ("wmmse", "pseudo_inverse", "matched_filter")}
    assert rates["wmmse"] >= max(rates.values())
    fair, fast = (_sinr(links, name).amin(-2) for name in ("max_min", "wmmse"))
    assert bool((fair > fast).all())


def test_users_of_several_antennas(write_scenario: Any) -> None:
    grid = {"fft_size": 72, "subcarrier_spacing": 60e3}
    two = nm.load_scenario(
        write_scenario(grid=grid, multi_user={"ue": [2, 1]}, single_user=None)
    ).multi_user
    assert two is not None
    slots = {
        name: SystemDownlink(two, nm.Exact(), precoding=name)(2)
        for name in ("block_diagonalization", "slnr", "pseudo_inverse")
    }
    shape = (2, two.num_links, two.num_users)
    for found in slots.values():
        assert found.mcs_index.shape == shape and bool((found.num_decoded_bits >= 0).all())
    # A user's antennas need not be told apart before they are equalized together.
    assert _rate(two, "block_diagonalization") > _rate(two, "pseudo_inverse")


def test_slots_add_up(links: LinkSet) -> None:
    slots = SystemDownlink(links, nm.Exact())(NUM_SLOTS)
    assert slots.scheduled.shape == (NUM_SLOTS, 6)
    shape = (NUM_SLOTS, links.num_links, links.num_users)
    for field in fields(SystemSlots)[1:]:
        assert getattr(slots, field.name).shape == shape
    groups = torch.arange(links.num_links)
    served = (slots.scheduled[..., None] == groups).any(1)  # [NUM_SLOTS, num_groups]
    assert torch.equal((slots.harq_feedback >= 0).all(-1), served)
    assert torch.equal((slots.sinr_eff > 0).any(-1), served)
    assert torch.equal(slots.num_decoded_bits > 0, slots.harq_feedback == 1)


def test_one_symbol_stands_for_all(links: LinkSet) -> None:
    every, one = (SystemDownlink(links, None, num_ofdm_symbols=n)(2) for n in (14, 1))
    _same(one, every)


def test_the_seed_decides_which_blocks_arrive(links: LinkSet) -> None:
    """And nothing of the process's random numbers is drawn."""
    state = torch.random.get_rng_state()
    runs = [
        SystemDownlink(links, nm.Exact(), bs_power_dbm=0.0, seed=seed)(NUM_SLOTS)
        for seed in (1, 1, 2)
    ]
    _same(runs[0], runs[1])
    assert not torch.equal(runs[0].harq_feedback, runs[2].harq_feedback)
    assert torch.equal(state, torch.random.get_rng_state())


def test_more_power_carries_more(links: LinkSet) -> None:
    bits = [
        SystemDownlink(links, nm.Exact(), bs_power_dbm=power)(NUM_SLOTS).num_decoded_bits.sum()
        for power in (-20.0, -5.0, 10.0)
    ]
    assert bits[0] < bits[1] < bits[2]


def test_what_is_refused(scenario: nm.Scenario, write_scenario: Any, links: LinkSet) -> None:
    with pytest.raises(ValueError, match="num_slots is 0"):
        SystemDownlink(links, None)(0)
    other = nm.load_scenario(write_scenario(grid={"fft_size": 70}, single_user=None)).multi_user
    assert other is not None
    with pytest.raises(ValueError, match="70 subcarriers, whole resource blocks of 12"):
        SystemDownlink(other, None)
    one = nm.load_scenario(write_scenario(multi_user=None)).single_user
    assert one is not None
    with pytest.raises(ValueError, match="those of several users are needed"):
        SystemDownlink(one, None)
    with pytest.raises(ValueError, match="Sionna has only pseudo_inverse and matched_filter"):
        SystemDownlink(links, None, precoding="wmmse")
    with pytest.raises(ValueError, match='There is no precoded channel "zf", known are'):
        SystemDownlink(links, nm.Exact(), precoding="zf")
    cells = replace(links, base_station=torch.arange(links.num_links) % 2)
    with pytest.raises(ValueError, match="2 base stations, a cell has one"):
        SystemDownlink(cells, None)


@pytest.mark.slow
def test_benchmark_of_walking_users(write_scenario: Any) -> None:
    scenario = nm.load_scenario(
        write_scenario(
            array={"bs": [4, 4]},
            grid={"fft_size": 72, "subcarrier_spacing": 60e3},
            multi_user={"num_links": 2},
            single_user=None,
            motion={"speed": system.WALKING, "num_slots": 4},
            model={"width": 48, "samples": 64, "collocation": 72},
        )
    )
    links = scenario.multi_user
    assert links is not None
    sheet = system.compared(links, nm.train(scenario, progress=False), 4)
    assert [row["way"] for row in sheet.rows][::2] == [system.SIONNA, "exact"]
    for row in sheet.rows:
        assert row["SINR, dB"] < 0.01
        assert row["MCS"] == "0 of 24" and row["acknowledgements"] == "0 of 24"
        assert row["Mbit/s"] == sheet.rows[0]["Mbit/s"] > 0
    assert [row["queried, %"] for row in sheet.rows[:3]] == [None, None, 0]
    assert sheet.rows[3]["queried, %"] > 90
    with pytest.raises(ValueError, match="num_slots is 5, .* at most the 4 of the links' burst"):
        SystemDownlink(links, None)(5)
