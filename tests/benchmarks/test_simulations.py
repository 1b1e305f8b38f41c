"""Whole simulations with all blocks, on a few subcarriers."""

from __future__ import annotations

from typing import Any

import pytest

import neumatc_mimo as nm
from benchmarks import simulations
from benchmarks.kernels import OFF, kernels, settings
from neumatc_mimo.kernels.lanes import library
from tests.conftest import Trainer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scenario(write_scenario: Any) -> nm.Scenario:
    return nm.load_scenario(
        write_scenario(
            array={"bs": [4, 4]},
            grid={"fft_size": 96, "subcarrier_spacing": 60e3},
            multi_user={"noise_db": [-40.0, 12.0], "num_links": 2},
            single_user={"num_links": 2},
        )
    )


@pytest.fixture(scope="module")
def rows(scenario: nm.Scenario, trained: Trainer) -> list[dict[str, Any]]:
    model = trained(scenario)
    return [
        row
        for case in simulations.cases(scenario, model, stride=1, num_ofdm_symbols=6)
        for row in simulations.timed(case, model, num_links=2, num_slots=1)
    ]


def test_all_simulations_run_in_all_ways(rows: list[dict[str, Any]]) -> None:
    found: dict[str, list[tuple[str, str | None]]] = {}
    for row in rows:
        found.setdefault(row["simulation"], []).append((row["way"], row["kernels"]))
    ours = [(way, kind) for way in ("exact", "queried") for kind in settings()]
    *perfect, estimated = found.values()
    assert len(perfect) == 4
    assert all(ways == [("Sionna", None), *ours] for ways in perfect)
    assert estimated == [("Sionna", None), *(way for way in ours if way[0] == "exact")]


def test_all_ways_lose_the_same_blocks(rows: list[dict[str, Any]]) -> None:
    for simulation in {row["simulation"] for row in rows}:
        lost = {row["in error"] for row in rows if row["simulation"] == simulation}
        assert len(lost) == 1


def test_shares_are_of_the_whole(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        shares = [row[f"{part}, %"] for part in ("block", "decoder", "rest")]
        assert min(shares) > 0 and sum(shares) == pytest.approx(100)
        assert 0 < row["block, s"] < row["s a slot"]


def test_kernels_are_turned_off_and_on_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before = library.loaded()
    with kernels(False):
        assert library.loaded() is None
    assert (library.loaded() is None) == (before is None)
    monkeypatch.setenv(library.VARIABLE, OFF)
    library.forget()
    assert settings() == {OFF: False}
    monkeypatch.undo()
    library.forget()
