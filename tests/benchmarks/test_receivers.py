"""The benchmarks of receivers, on a few subcarriers."""

from __future__ import annotations

from typing import Any

import pytest

import neumatc_mimo as nm
from benchmarks import estimates, pusch
from neumatc_mimo.simulation.pusch import DMRS
from tests.conftest import Trainer
from tests.warned import beyond, strangers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scenario(write_scenario: Any) -> nm.Scenario:
    noise = {"noise_db": [-40.0, 12.0]}
    changes = {"grid": {"fft_size": 72, "subcarrier_spacing": 60e3}, "multi_user": noise}
    return nm.load_scenario(write_scenario(**changes, single_user=None))


@pytest.fixture(scope="module")
def model(scenario: nm.Scenario, trained: Trainer) -> nm.ScenarioModel:
    return trained(scenario).timing_advanced()


def test_rows_of_the_times(scenario: nm.Scenario, model: nm.ScenarioModel) -> None:
    assert scenario.multi_user is not None
    uplinks = pusch.Uplinks(scenario.multi_user.timing_advanced(), model, 6)
    rows = pusch._timed(uplinks, DMRS())
    assert [(row["channels"], row["way"]) for row in rows] == [
        ("perfect", "Sionna"),
        ("perfect", "exact"),
        ("perfect", "queried"),
        ("lin", "Sionna"),
        ("lin", "exact"),
        ("lin", 'trust="model"'),
    ]
    for row in rows:
        assert row["deviation"] is None if row["way"] == "Sionna" else row["deviation"] < 1e-2
        assert (row["queried"] > 0) == (row["way"] in ("queried", 'trust="model"'))


def test_rates_of_paired_ways(scenario: nm.Scenario, model: nm.ScenarioModel) -> None:
    assert scenario.multi_user is not None
    uplinks = pusch.Uplinks(scenario.multi_user.timing_advanced(), model, 2)
    rows = pusch._rates(uplinks, 1, pusch.POINTS).rows
    assert len(rows) == 18 and all(row["blocks"] == 3 for row in rows)
    for csi in ("perfect", "lin"):
        found = {
            way: [r["in error"] for r in rows if (r["channels"], r["way"]) == (csi, way)]
            for way in ("Sionna", "exact")
        }
        assert found["Sionna"] == found["exact"]


def test_paired_blocks(scenario: nm.Scenario, model: nm.ScenarioModel) -> None:
    assert scenario.multi_user is not None
    uplinks = pusch.Uplinks(scenario.multi_user.timing_advanced(), model, 2)
    with beyond():
        sheet = pusch._paired(uplinks, 4, [-30.0, 30.0])
    assert sheet.name == "paired_2"
    assert [row["blocks"] for row in sheet.rows] == [12, 12]
    assert [row["exact in error"] for row in sheet.rows] == [12, 0]
    assert all(row["one alone in error"] == 0 for row in sheet.rows)
    assert sheet.rows[1]["BLER, queried"].startswith("[0.000, 0.")


@pytest.mark.parametrize("name", ["uplink", "downlink"])
def test_curves_of_estimates(scenario: nm.Scenario, model: nm.ScenarioModel, name: str) -> None:
    assert scenario.multi_user is not None
    links = scenario.multi_user.timing_advanced()
    chosen = estimates.cases(model)
    with strangers():
        curves = estimates.simulate(
            name, links, chosen, points=[0.0, 6.0], num_calls=1, stride=1, block_length=240
        )
    assert list(curves) == list(chosen)
    for csi in ("nearest neighbour", "linear"):
        assert curves[f"queried, {csi}"].block_errors == curves[f"exact, {csi}"].block_errors
    rows = estimates._rows(curves)
    assert [row["curve"] for row in rows] == [*chosen, "blocks"]
    assert rows[0]["offset, dB"] in (0.0, None)
