"""Sizes of models: by how often delays turn over the band, unless the scenario file says."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import neumatc_mimo as nm
from neumatc_mimo.scenario import Scenario
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.training.jobs import Job, jobs
from neumatc_mimo.training.sizes import sizes, turns_over_band
from tests.warned import patched

ScenarioWriter = Callable[..., Path]


def job(scenario: Scenario) -> Job:
    return next(iter(jobs(scenario)))


def users(scenario: Scenario) -> LinkSet:
    assert scenario.multi_user is not None
    return scenario.multi_user


def on_grid(write_scenario: ScenarioWriter, num: int, spacing: float, **model: int) -> Scenario:
    grid = {"fft_size": num, "subcarrier_spacing": spacing}
    return nm.load_scenario(write_scenario(grid=grid, model=model))


def test_turns_are_bandwidth_times_delay_spread(write_scenario: ScenarioWriter) -> None:
    narrow = users(on_grid(write_scenario, 512, 30e3))
    turns = turns_over_band(narrow)
    assert turns > 1
    wide = users(on_grid(write_scenario, 4096, 60e3))
    assert torch.equal(narrow.users, wide.users)
    assert turns_over_band(wide) == pytest.approx(16 * turns)
    # The first arrivals do not count, as alignment takes them out, unless there is none.
    assert turns_over_band(narrow.timing_advanced()) == pytest.approx(turns)
    assert turns_over_band(narrow.unaligned()) > turns
    latest = (narrow.delays - narrow.row_delays[..., None, None]).amax().item()
    assert turns <= 512 * 30e3 * latest


def test_wide_bands_get_more(write_scenario: ScenarioWriter) -> None:
    scenario = on_grid(write_scenario, 4096, 120e3)
    found = sizes(scenario.config.model, users(scenario), nm.PseudoInverse())
    assert found.width == math.ceil(4 * found.turns) > 800
    assert found.samples == math.ceil(2 * found.turns) > 256
    assert found.collocation == min(found.width, 2 * 4096 // 3) > 819
    settings = job(scenario).settings
    assert settings.basis.width >= found.width
    assert (settings.samples, settings.collocation) == (found.samples, found.collocation)
    # There is nothing to gain from more than one on a subcarrier.
    coarse = on_grid(write_scenario, 1024, 4 * 120e3)
    found = sizes(coarse.config.model, users(coarse), nm.PseudoInverse())
    assert found.turns > 256 and found.width == 1024 and found.samples <= 1024


def test_singular_vectors_get_twice_as_many(write_scenario: ScenarioWriter) -> None:
    scenario = on_grid(write_scenario, 4096, 60e3)
    links, model = users(scenario), scenario.config.model
    found = sizes(model, links, nm.SVD(2))
    assert found.width == math.ceil(8 * found.turns) and found.samples == math.ceil(4 * found.turns)


def test_many_rows_get_more(write_scenario: ScenarioWriter) -> None:
    file = write_scenario(
        array={"bs": [6, 4]},
        grid={"fft_size": 4096, "subcarrier_spacing": 15e3},
        multi_user={"users_per_link": 24, "num_links": 1, "max_condition": 1e12},
    )
    scenario = nm.load_scenario(file)
    found = sizes(scenario.config.model, users(scenario), nm.PseudoInverse())
    assert 2 * found.turns < 480 == found.samples
    assert 4 * found.turns < 1200 == found.width


def test_few_turns_keep_what_users_close_to_each_other_need(write_scenario: ScenarioWriter) -> None:
    scenario = on_grid(write_scenario, 512, 15e3)
    found = sizes(scenario.config.model, users(scenario), nm.PseudoInverse())
    assert found.turns < 128
    assert (found.width, found.samples, found.collocation) == (800, 256, 819)


def test_given_sizes_stand(write_scenario: ScenarioWriter) -> None:
    given = {"width": 900, "samples": 64, "collocation": 100}
    for key, value in given.items():
        scenario = on_grid(write_scenario, 4096, 120e3, **{key: value})
        found = sizes(scenario.config.model, users(scenario), nm.PseudoInverse())
        assert getattr(found, key) == value
        others: dict[str, Any] = {k: v for k, v in found.as_dict().items() if k in given}
        assert all(others[k] > given[k] for k in given if k != key)


def test_large_links_wait_for_each_other(write_scenario: ScenarioWriter) -> None:
    small = job(on_grid(write_scenario, 512, 30e3))
    assert small.most_at_once(2**34) == small.links.num_links == small.most_at_once(math.inf)
    assert small.most_at_once(1.0) == 1


@pytest.mark.slow
def test_a_wide_band_is_served_by_default(write_scenario: ScenarioWriter) -> None:
    def patched_share(**model: int) -> float:
        file = write_scenario(
            grid={"fft_size": 2048, "subcarrier_spacing": 240e3},
            array={"bs": [4, 4]},
            multi_user={"users_per_link": 4, "num_links": 2, "max_condition": 1e4},
            single_user=None,
            model=model,
        )
        part = nm.train(nm.load_scenario(file), progress=False).models["pseudo_inverse"]
        assert part.training["sizes"]["turns"] > 256
        return part.marks.exact.double().mean().item()

    with patched():
        before = patched_share(width=800, samples=256, collocation=819)
    assert patched_share() < 0.02 < 0.1 < before
