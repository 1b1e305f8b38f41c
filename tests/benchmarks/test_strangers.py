"""The benchmark of channels that match no scenario, at tiny sizes."""

from __future__ import annotations

import pytest
import sionna.phy
import torch

import neumatc_mimo as nm
from benchmarks.strangers.__main__ import TASKS, Tally
from benchmarks.strangers.channels import FAMILIES, drawn, family_of, on_fewer_subcarriers
from tests.warned import strangers


@pytest.mark.parametrize("name", ["Rayleigh", "TDL-A", "CDL-C", "CDL-E"])
def test_strangers_are_computed_exactly(small_model: nm.ScenarioModel, name: str) -> None:
    sionna.phy.config.seed = 1
    for task in TASKS:
        like = on_fewer_subcarriers(small_model.models[task.operation].links, 8)
        assert like.fft_size == 24 and like.band[0] == pytest.approx(-96 * 120e3)
        links = drawn(like, 2, family_of(name, like))
        h = links.channel(links.grid_frequencies())
        power = h.abs().square().unflatten(2, (links.num_users, -1)).mean((1, 3, 4))
        torch.testing.assert_close(power, torch.ones_like(power))
        tally = Tally()
        with strangers():
            tally.add(small_model, task, links)
        assert (tally.links, tally.recalled, tally.computed) == (2, 0, 48)
        assert tally.error == 0.0 and tally.others < 1e-9


def test_links_of_the_model_are_no_strangers(small_model: nm.ScenarioModel) -> None:
    for task in TASKS:
        links = on_fewer_subcarriers(small_model.models[task.operation].links, 2)
        tally = Tally()
        tally.add(small_model, task, links)
        assert tally.recalled == links.num_links and 0.0 < tally.error < 0.12


def test_ten_thousand_links_are_drawn() -> None:
    assert sum(total for _, total in FAMILIES.values()) == 10_000
