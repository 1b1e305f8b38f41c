"""The benchmark's own arithmetic, and the equality of all ways to run a block."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import neumatc_mimo as nm
from neumatc_mimo.bench.blocks import Point, Row, along, at_point, axes
from neumatc_mimo.bench.fidelity import fidelity
from neumatc_mimo.bench.plan import plan
from neumatc_mimo.bench.report import run_and_write
from neumatc_mimo.bench.scaling import exponent, growth, hindsight
from neumatc_mimo.bench.tasks import (
    RECEIVERS,
    TASKS,
    Detection,
    Precoding,
    Slot,
    applied,
    effective_channel,
    tasks_of,
)
from neumatc_mimo.bench.timing import Spread, peak_bytes, side_by_side
from tests.conftest import Trainer
from tests.warned import patched

SMALL = Point(num_users=2, num_antennas=8, fft_size=48, num_streams=1, slot=Slot(2, 2))

# Sionna's lists of candidates are compiled otherwise.
pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture(scope="module")
def small() -> nm.Scenario:
    return SMALL.scenario(nm.load_scenario("munich"), 2)


@pytest.fixture(scope="module")
def model(small: nm.Scenario, trained: Trainer) -> nm.ScenarioModel:
    return trained(small)


@pytest.fixture(scope="module")
def rows(small: nm.Scenario, model: nm.ScenarioModel) -> list[Row]:
    return list(at_point(small, SMALL, model, seconds=0.0))


def test_every_block_runs_in_every_way(rows: list[Row]) -> None:
    ways = {"exact", "exact, cached", "queried", "queried, proven a call", "limit"}
    for task in TASKS:
        own = [row for row in rows if row.block == task.title]
        names = {row.way for row in own}
        assert ways < names and any(name.startswith("spline") for name in names)
        assert len(own) == len(names)
    sionna = {row.block for row in rows if row.way == "Sionna"}
    # All but those that Sionna has no block for.
    assert {"ZFPrecoder", "MMSEEqualizer", "MMSEDetector", "ZFEqualizer"} < sionna
    assert {task.title for task in RECEIVERS} < sionna and "WMMSEPrecoder" not in sionna


def test_ways_agree_with_the_exact_result(rows: list[Row]) -> None:
    for row in rows:
        if row.error_db is not None:
            assert row.worst_db is not None and row.error_db <= row.worst_db
            limit = -35 if row.way.startswith(("queried", "spline")) else -60
            # A sum rate has several maxima, and near the certified one there may be another.
            if limit == -60 or row.block != "WMMSEPrecoder":
                assert row.error_db < limit, row


@pytest.mark.slow
@pytest.mark.usefixtures("in_haste")
def test_operations_are_benched_as_a_scenario_trains_them(
    write_scenario: Any, trained: Trainer
) -> None:
    file = write_scenario(
        multi_user={
            "users_per_link": 2,
            "ue": [2, 1],
            "num_links": 2,
            "slnr_db": -15.0,
            "operation": [{"name": "block_diagonalization"}],
        },
        single_user={"num_links": 2, "operation": [{"name": "max_min", "noise_db": -10.0}]},
        grid={"fft_size": 48, "subcarrier_spacing": 60e3},
    )
    base = nm.load_scenario(file)
    point = Point(2, 8, 48, slot=Slot(2, 2))
    scenario = point.scenario(base, 2)
    model = trained(scenario)
    assert set(model.models) == {
        *("pseudo_inverse", "slnr", "wmmse", "block_diagonalization", "svd", "max_min")
    }
    tasks = [task for task in tasks_of(scenario.config) if issubclass(task, Precoding)]
    assert len(tasks) == 4
    found = list(at_point(scenario, point, model, tasks=tasks, seconds=0.01, theirs=False))
    queried = {row.block: row for row in found if row.way == "queried"}
    assert set(queried) == {"MaxMinPrecoder", "SLNRPrecoder", "WMMSEPrecoder", "BDPrecoder"}
    for row in queried.values():
        assert row.state_bytes > 0 and row.error_db is not None and row.error_db < -35


def test_ratios_are_those_of_the_medians(rows: list[Row]) -> None:
    for row in rows:
        (exact,) = (r for r in rows if (r.block, r.way) == (row.block, "exact"))
        (limit,) = (r for r in rows if (r.block, r.way) == (row.block, "limit"))
        middle = row.milliseconds.median
        assert row.query == pytest.approx(exact.milliseconds.median / middle)
        assert row.over_limit == pytest.approx(middle / limit.milliseconds.median)
        (theirs,) = [r for r in rows if r.block == row.block and r.way == "Sionna"] or [None]
        if theirs is not None:
            assert row.once is not None
            assert row.once * row.query == pytest.approx(theirs.milliseconds.median / middle)
        assert (row.repaid is None) == (row.way != "queried")
        assert row.state_bytes > 0 or not row.way.endswith(("cached", "queried"))


def test_auto_stands_beside_the_better_one(rows: list[Row]) -> None:
    times = {(row.block, row.way): row.milliseconds.median for row in rows}
    found = [row for row in rows if row.way == "auto"]
    assert len(found) == len(TASKS)
    for row in found:
        better = min(times[row.block, "exact"], times[row.block, "queried"])
        assert row.hindsight == pytest.approx(row.milliseconds.median / better)
    (entry, *others) = hindsight(rows)
    assert len(others) == len(TASKS) - 1 and entry["points"] == 1


def test_exponents_are_those_of_the_costs(rows: list[Row]) -> None:
    points = [replace(SMALL, fft_size=size) for size in (48, 96, 192)]
    queried = next(row for row in rows if row.way == "queried")
    grown = {
        point: [replace(queried, milliseconds=Spread(0, 2 * point.fft_size**1.5, 0), training=3.0)]
        for point in points
    }
    found = {entry["cost"]: entry for entry in growth("subcarriers", points, grown)}
    assert (found["queried, ms"]["exponent"], found["queried, ms"]["last step"]) == ("1.50", "1.50")
    assert found["training, s a link"]["exponent"] in ("0.00", "-0.00")
    assert exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)
    assert growth("subcarriers", points[:2], grown) == []


@pytest.mark.parametrize("size", [7, 64])
def test_the_limit_applies_its_matrices(size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(2, 30, 5, 3, dtype=torch.complex64, generator=generator)
    x = torch.randn(2, 3, 4, 30, dtype=torch.complex64, generator=generator)
    h = torch.randn(2, 6, 5, 30, dtype=torch.complex64, generator=generator)
    torch.testing.assert_close(applied(w, x, size), torch.einsum("bfmn,bntf->bmtf", w, x))
    expected = torch.einsum("bkmf,bfmn->bknf", h, w)
    torch.testing.assert_close(effective_channel(h, w, size), expected)


def test_axes_leave_the_base_point_one_size_at_a_time() -> None:
    base = Point()
    for axis, points in axes(base).items():
        places = [along(axis, point) for point in points]
        assert len(set(places)) == len(places) > 1
        assert base in points or axis in ("K, M = 256", "links", "basis")


def test_calls_are_timed_by_turns() -> None:
    order: list[str] = []

    def call(name: str, seconds: float) -> Any:
        def run() -> None:
            order.append(name)
            time.sleep(seconds)

        return run

    calls = {"slow": call("slow", 0.02), "fast": call("fast", 0.002)}
    found = side_by_side(calls, seconds=0.06, most=20)
    assert found["slow"].median >= 0.02 and 0.002 <= found["fast"].median < 0.02
    # Slow ones fewer times, and not all of them first.
    assert 3 <= order.count("slow") < order.count("fast")
    assert order.index("fast") < len(order) - order[::-1].index("slow")


def test_spread_is_that_of_the_runs() -> None:
    found = Spread.of([5.0, 1.0, 3.0, 2.0, 4.0])
    assert (found.low, found.median, found.high) == (2.0, 3.0, 4.0)
    assert found.times(1e3) == Spread(2e3, 3e3, 4e3) and str(found) == "3 [2, 4]"


def test_peak_is_what_a_call_holds_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    def call() -> torch.Tensor:
        one = torch.ones(2**20)
        two = one * 2
        del one
        return two[:10] * 3

    assert 8 * 2**20 <= peak_bytes(call) < 9 * 2**20
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("in_haste")
def test_report_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = nm.load_scenario("munich")
    both = [SMALL, replace(SMALL, num_antennas=16)]
    monkeypatch.setattr("neumatc_mimo.bench.report.axes", lambda base: {"M": both})
    sheet, scaling = run_and_write(base, tmp_path, quick=True, only=["M"], theirs=False)
    names = {"bench.md", "bench.json", "bench_M.png", "scaling.md", "scaling.json"}
    assert {file.name for file in tmp_path.iterdir()} == names
    data = json.loads((tmp_path / "bench.json").read_text())
    assert len(data["rows"]) == len(sheet.rows) == len(data["origin"]["measured"])
    assert {row["point"] for row in data["rows"]} == {point.label for point in both}
    # Two points are too few for an exponent.
    assert {"auto over the better, median"} < set(scaling.rows[0])
    with pytest.raises(ValueError, match='There is no axis "N", known are "own", "M".'):
        run_and_write(base, tmp_path, only=["N"])


def test_fidelity_tells_the_sum_rate_of_queried_precoders(small: nm.Scenario) -> None:
    few = {"samples": 60, "collocation": 24}  # of 48 subcarriers: some are left to test on
    config = small.config.model_copy(
        update={"model": small.config.model.model_copy(update=few), "single_user": None}
    )
    scenario = nm.Scenario(config)
    with patched():
        model = nm.train(scenario, progress=False)
    found = fidelity(model, scenario)["wmmse"]
    # It may be larger: the learned precoder may have found a better maximum nearby.
    assert found["rate_ratio_least"] <= found["rate_ratio"] and found["rate_ratio"] > 0.97
    assert found["rate_ratio_of_regularised_zero_forcing"] < 1.0 + 1e-6


@pytest.mark.usefixtures("in_haste")
def test_plan_names_the_cheapest(small: nm.Scenario) -> None:
    entries = plan(small)
    assert [entry["block"] for entry in entries] == [
        task.title for task in TASKS if not issubclass(task, Detection)
    ]
    for entry in entries:
        faster = entry["queried, ms"] < entry["exact, ms"]
        assert entry["cheapest"] == ("queried" if faster else "exact")
        assert math.isinf(entry["repaid, slots"]) != faster
        assert entry["training, s"] > 0 and entry["model, MB"] > 0
        assert set(entry["sizes"]) == {"turns", "width", "samples", "collocation"}
