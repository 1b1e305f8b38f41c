"""The benchmark with another link at every call, at tiny sizes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import neumatc_mimo as nm
from benchmarks import eight_links
from benchmarks.eight_links import (
    AGAIN,
    CACHED,
    CASES,
    EXACT,
    NAMED,
    NUM_LINKS,
    QUERIED,
    ROOT,
    WAYS,
    Bench,
    Spread,
    least,
    quickest,
    ratio,
    summary,
    tables,
)
from tests.conftest import Trainer

# What each way is called with beside the round: to warm up, and to wake threads.
_CALLS = 1 + 2 * (NUM_LINKS + 1)


@pytest.fixture(scope="module")
def file(write_scenario: Any) -> Path:
    """A scenario of eight links of each kind."""
    links = {"num_links": NUM_LINKS}
    return write_scenario(
        array={"bs": [4, 4]},
        grid={"fft_size": 192, "subcarrier_spacing": 120e3},
        multi_user=links,
        single_user=links,
        model={"width": 96, "samples": 128, "collocation": 128},
    )


@pytest.fixture(scope="module")
def folder(file: Path, trained: Trainer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its model."""
    folder = tmp_path_factory.mktemp("models") / "small"
    trained(nm.load_scenario(file)).save(folder)
    return folder


@pytest.fixture(scope="module")
def bench(file: Path, folder: Path) -> Bench:
    models = {way: nm.ScenarioModel.load(folder) for way in (QUERIED, NAMED, AGAIN)}
    return Bench(nm.load_scenario(file), dict(models))


@pytest.mark.parametrize("name", [name for name in CASES if name != "WMMSEPrecoder"])
def test_ways_are_what_they_are_called(
    bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {}
    make = eight_links._call

    def call(block: Any, inputs: Any, slots: Any, way: str, number: int) -> None:
        made[way] = block
        make(block, inputs, slots, way, number)

    monkeypatch.setattr(eight_links, "_call", call)
    assert bench.prepare(name) == list(WAYS)
    for way in WAYS:
        seconds = bench.round(way)
        assert len(seconds) == NUM_LINKS and min(seconds) > 0
    for way in (QUERIED, NAMED, AGAIN):
        assert made[way].stats.links_recalled == _CALLS
        assert made[way].stats.queried > 0
    assert made[EXACT].stats.links_recalled == 0
    # All but the first call.
    assert made[CACHED].stats.links_recalled == _CALLS - 1


def test_dear_blocks_are_left_out(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench.prepare("WMMSEPrecoder") == [EXACT]
    monkeypatch.setattr(eight_links, "_LONG", 0.0)
    assert bench.prepare("WMMSEPrecoder") == []


def test_links_of_another_scenario_are_refused(bench: Bench, file: Path, folder: Path) -> None:
    text = file.read_text().replace("seed = 0", "seed = 1")
    other = file.with_name("other.toml")
    other.write_text(text)
    models = {way: nm.ScenarioModel.load(folder) for way in (QUERIED, NAMED, AGAIN)}
    refused = pytest.raises(RuntimeError, match="does not know the scenario's links")
    with pytest.warns(nm.NeuMatCWarning, match="computed 1 of 1 links exactly"), refused:
        Bench(nm.load_scenario(other), dict(models)).prepare("ZFPrecoder")


def test_ratios_are_those_of_rounds() -> None:
    """A load that doubles both versions' times in a round leaves its ratio."""
    before = [[2.0, 4.0, 6.0], [4.0, 8.0, 12.0]]
    after = [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]]
    assert ratio(after, before) == Spread(0.5, 0.5, 0.5)
    times = {
        "before": {"ZFPrecoder": {EXACT: before}},
        "after": {"ZFPrecoder": {EXACT: after}},
    }
    found = summary(times)
    assert found["before"]["ZFPrecoder"][EXACT] == Spread(5000.0, 6000.0, 7000.0)
    assert list(found) == ["before", "after", "after/before"]
    text = tables(times, {})
    assert "6000 [5000, 7000]" in text and "0.5 [0.5, 0.5]" in text


def test_quickest_calls_are_those_without_load() -> None:
    """A load that meets some calls of each round changes nothing."""
    alone = [[1.0, 2.0, 3.0]] * 3
    loaded = [[1.0, 9.0, 3.0], [7.0, 2.0, 3.0], [8.0, 8.0, 8.0]]
    assert quickest(loaded) == quickest(alone) == 2000.0
    times = {version: {"ZFPrecoder": {EXACT: loaded}} for version in ("before", "after")}
    assert least(times)["after/before"] == {"ZFPrecoder": {EXACT: 1.0}}


@pytest.mark.slow
def test_two_versions_are_timed_by_turns(file: Path, folder: Path, tmp_path: Path) -> None:
    """Each in a process of its own, with a model that is trained where it is missing."""
    output, missing = tmp_path / "times.json", tmp_path / "model"
    command = [sys.executable, "-m", "benchmarks.eight_links", "--scenario", str(file)]
    command += ["--model", str(folder), "--against", str(ROOT), "--model-against", str(missing)]
    command += ["--rounds", "2", "--threads", "1", "--json", str(output)]
    command += ["--only", "ZFPrecoder", "SVDCombiner"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "after/before" in done.stdout and "| SVDCombiner" in done.stdout
    assert nm.ScenarioModel.load(missing).models
    data = json.loads(output.read_text())
    assert list(data["seconds"]) == ["before", "after"]
    for times in data["seconds"].values():
        assert list(times) == ["ZFPrecoder", "SVDCombiner"]
        for ways in times.values():
            assert list(ways) == list(WAYS)
            assert all(len(calls) == NUM_LINKS for rounds in ways.values() for calls in rounds)
    assert set(data["summary"]["after/before"]["ZFPrecoder"][EXACT]) == {"low", "median", "high"}
