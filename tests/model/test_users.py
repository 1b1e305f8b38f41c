"""Trained precoders of users with arrays: what blocks query is what they compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.blocks import BDPrecoder, MaxMinPrecoder, SLNRPrecoder
from neumatc_mimo.solvers import Channels
from tests.conftest import ScenarioWriter, Trainer

USERS, ANTENNAS, ROWS, SUBCARRIERS, NO = 2, 2, 4, 256, 0.01


@pytest.fixture(scope="module")
def scenario(write_scenario: ScenarioWriter) -> nm.Scenario:
    file = write_scenario(
        name="arrays",
        seed=1,
        array={"bs": [4, 4]},
        grid={"fft_size": 256, "subcarrier_spacing": 60e3},
        multi_user={
            "users_per_link": 2,
            "ue": [2, 1],
            "num_links": 2,
            "max_min_db": -20.0,
            "slnr_db": -20.0,
            "block_diagonalization": True,
        },
        single_user=None,
        model={"width": 192, "samples": 128, "collocation": 128, "rounds": 3},
    )
    return nm.load_scenario(file)


@pytest.fixture(scope="module")
def model(scenario: nm.Scenario, trained: Trainer) -> nm.ScenarioModel:
    return trained(scenario)


def grids(users: int) -> tuple[ResourceGrid, StreamManagement]:
    grid = ResourceGrid(2, SUBCARRIERS, 60e3, num_tx=1, num_streams_per_tx=ROWS)
    return grid, StreamManagement(np.ones([users, 1]), ROWS)


def channel(scenario: nm.Scenario, links: list[int]) -> Tensor:
    """[len(links), SUBCARRIERS, ROWS, 16]"""
    many = scenario.multi_user
    assert many is not None and many.antennas_per_user == ANTENNAS
    return many.channel(many.grid_frequencies(), links)


def sionna_layout(h: Tensor, users: int) -> Tensor:
    h = h.permute(0, 2, 3, 1).unflatten(1, (users, -1))[:, :, :, None, :, None]
    return h.expand(*h.shape[:5], 2, -1)


CASES: dict[str, tuple[type, int, tuple[float, ...]]] = {
    "slnr": (SLNRPrecoder, USERS, (NO,)),
    "block_diagonalization": (BDPrecoder, USERS, ()),
    "max_min": (MaxMinPrecoder, ROWS, (NO,)),
}


def test_the_scenario_says_what_is_trained(model: nm.ScenarioModel) -> None:
    assert set(model.models) == {"pseudo_inverse", *CASES}
    for name in ("slnr", "block_diagonalization"):
        assert model.models[name].operation.settings()["antennas_per_user"] == ANTENNAS


@pytest.mark.parametrize("name", CASES)
def test_queried_blocks_are_the_exact_ones(
    scenario: nm.Scenario, model: nm.ScenarioModel, name: str
) -> None:
    kind, users, noise = CASES[name]
    h = sionna_layout(channel(scenario, [1, 0]), users)
    g = torch.Generator().manual_seed(4)
    x = torch.randn(2, 1, ROWS, 2, SUBCARRIERS, dtype=torch.complex64, generator=g)
    block = kind(*grids(users), model)
    found, exact = block(x, h, *noise), kind(*grids(users), nm.Exact())(x, h, *noise)
    error = torch.linalg.vector_norm(found - exact) / torch.linalg.vector_norm(exact)
    assert error < 0.02
    assert block.stats.links_recalled == 2 and block.stats.links_unknown == 0
    assert block.stats.queried > SUBCARRIERS


def test_users_in_another_order_are_recognised(
    scenario: nm.Scenario, model: nm.ScenarioModel
) -> None:
    a = channel(scenario, [0, 1])
    many = scenario.multi_user
    assert many is not None
    operation = nm.BlockDiagonalization(ANTENNAS)
    for order, recalled in (([2, 3, 0, 1], 2), ([3, 2, 1, 0], 2), ([0, 2, 1, 3], 0)):
        changed = a[:, :, order]
        answers = model.start(operation, Channels(changed, many.grid_frequencies()))
        found, exact = answers.tile(slice(0, SUBCARRIERS)), operation.solve(changed)
        assert answers.counts.links_recalled == recalled
        assert answers.counts.links_unknown == 2 - recalled
        error = torch.linalg.matrix_norm(found.v - exact.v)
        assert error.median() < 0.02


def test_other_users_than_a_model_has_are_computed_exactly(
    scenario: nm.Scenario, model: nm.ScenarioModel
) -> None:
    a = channel(scenario, [0])
    many = scenario.multi_user
    assert many is not None
    channels = Channels(a, many.grid_frequencies())
    one = nm.BlockDiagonalization(1)
    with pytest.warns(nm.NeuMatCWarning, match="'antennas_per_user': 1} of .* is needed."):
        answers = model.start(one, channels)
    found, exact = answers.tile(slice(0, SUBCARRIERS)), one.solve(a)
    assert torch.equal(found.v, exact.v)
    assert (answers.counts.links_unknown, answers.counts.exact) == (1, SUBCARRIERS)


def test_files_round_trip(scenario: nm.Scenario, model: nm.ScenarioModel, tmp_path: Path) -> None:
    loaded = nm.ScenarioModel.load(model.save(tmp_path / "model"))
    assert scenario.multi_user is not None
    frequencies = scenario.multi_user.grid_frequencies()[:9]
    answers: list[Any] = [m.query("slnr", frequencies, no=NO) for m in (model, loaded)]
    for one, other in zip(*answers, strict=True):
        assert torch.equal(one, other)
