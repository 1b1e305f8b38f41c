"""Tasks of precoded channels: each is its block, beside Sionna's where there is one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import neumatc_mimo as nm
from neumatc_mimo.bench.blocks import Point, Row, at_point
from neumatc_mimo.bench.channels import CHANNELS
from neumatc_mimo.bench.tasks import Slot, Task
from tests.conftest import ScenarioWriter

SLOT = Slot(num_ofdm_symbols=3)


@pytest.fixture(scope="module")
def scenario(write_scenario: ScenarioWriter) -> nm.Scenario:
    return nm.load_scenario(
        write_scenario(
            array={"bs": [3, 2]},
            grid={"fft_size": 48, "subcarrier_spacing": 60e3},
            multi_user={"users_per_link": 3, "num_links": 2},
            single_user={"ue": [3, 1], "num_streams": 2, "num_links": 2},
        )
    )


@pytest.fixture(scope="module")
def rows(scenario: nm.Scenario) -> list[Row]:
    point = Point(3, 6, 48, slot=SLOT)
    return list(at_point(scenario, point, tasks=CHANNELS, seconds=0.0, spline_samples=()))


def test_every_block_is_timed_beside_its_rival(rows: list[Row]) -> None:
    ways: dict[str, set[str]] = {}
    for row in rows:
        ways.setdefault(row.block, set()).add(row.way)
    assert set(ways) == {task.title for task in CHANNELS}
    for task in CHANNELS:
        assert ("exact, cached" in ways[task.title]) == task.asks_solver
    theirs = {block for block, found in ways.items() if "Sionna" in found}
    assert theirs == {"ZFPrecodedChannel", "CBFPrecodedChannel", "EyePrecodedChannel"}


def test_sionnas_blocks_give_the_same(rows: list[Row]) -> None:
    for row in rows:
        if row.way in ("Sionna", "exact"):
            assert row.worst_db is not None and row.worst_db < -60


@pytest.mark.parametrize("task", CHANNELS, ids=lambda task: task.title)
def test_results_are_gains(task: type[Task], scenario: nm.Scenario) -> None:
    links: Any = getattr(scenario, task.kind)
    case = task(links, SLOT)
    h_eff = case.block(nm.Exact())(*case.inputs())
    assert isinstance(case.limit()(), torch.Tensor)
    assert case.result(h_eff).shape[2:] == (3, 48)
    assert case.bytes_moved(h_eff) > 0
