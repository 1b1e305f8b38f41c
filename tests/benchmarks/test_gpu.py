"""The benchmark for a GPU, on the CPU: it runs, needs little, and ends in time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import neumatc_mimo as nm
from benchmarks import gpu, plain_paths
from neumatc_mimo.bench.tasks import MMSE, TASKS, ZeroForcing
from neumatc_mimo.scenario import scenario as scenario_module

ROOT = Path(__file__).parents[2]
# What a machine that has Sionna without its ray tracer does not have.
WITHOUT = """
import runpy, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("deepmimo", "mitsuba", "drjit") or name == "sionna.rt":
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Missing())
runpy.run_module("benchmarks.gpu", run_name="__main__")
"""


@pytest.mark.slow
def test_it_runs_without_a_gpu_deepmimo_or_a_ray_tracer(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT, "--out", str(tmp_path), "--dry-run", "--no-tests"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the bundled paths are read without it" in done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert done.stdout.strip() == (tmp_path / "gpu.md").read_text().strip()
    assert all("to train 8 links" in note for note in found["notes"]), found["notes"]
    points = list(dict.fromkeys(row["point"] for row in found["rows"]))
    assert len(points) == 3
    first = {row["block"] for row in found["rows"] if row["point"] == points[0]}
    assert first == {task.title for task in TASKS}
    for row in found["rows"]:
        # What is not looked at is not certified, and the models here are small.
        looked = row["way"] != gpu.LIMIT and "unlooked" not in row["way"]
        if row["block"] in ("ZFPrecoder", "MMSEEqualizer") and looked:
            assert float(row["error, dB"]) < -55, row
    for point in points:
        for block in ("ZFPrecoder", "MMSEEqualizer", "SVDBeamformer", "SVDCombiner"):
            ways = {r["way"] for r in found["rows"] if (r["point"], r["block"]) == (point, block)}
            theirs = {"an SVD for each symbol"} if "SVD" in block else {"Sionna"}
            assert ways == {*gpu._OURS, gpu.LIBRARY, gpu.LIMIT} | theirs
    assert {"torch", "sionna"} <= set(found["facts"]["versions"])


def test_paths_are_those_of_deepmimo(munich: Path, tmp_path: Path) -> None:
    file = tmp_path / "plain.toml"
    sections = [
        f'name = "plain"\nseed = 0\n[deepmimo]\npath = "{munich}"\nbase_station = 0',
        "[array]\nbs = [4, 2]\n[grid]\nfft_size = 48\nsubcarrier_spacing = 480e3",
        "[multi_user]\nusers_per_link = 3\nnum_links = 3",
        "[single_user]\nue = [2, 2]\nnum_streams = 2\nnum_links = 3",
    ]
    file.write_text("\n".join(sections))
    theirs = nm.load_scenario(file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenario_module, "load_base_stations", plain_paths.load_base_stations)
        ours = nm.load_scenario(file)
        pairs = [(ours.multi_user, theirs.multi_user), (ours.single_user, theirs.single_user)]
    for one, other in pairs:
        assert one is not None and other is not None
        assert torch.equal(one.users, other.users) and one.source == other.source
        h, expected = (links.channel(links.grid_frequencies()) for links in (one, other))
        assert torch.linalg.norm(h - expected) < 1e-5 * torch.linalg.norm(expected)
    assert np.array_equal(ours.positions.users, theirs.positions.users)


def test_what_the_plain_paths_lack_is_refused() -> None:
    config = nm.load_scenario("munich").config
    turned = config.model_copy(
        update={"array": config.array.model_copy(update={"rotation": (0.0, 10.0, 0.0)})}
    )
    with pytest.raises(ValueError, match="needs DeepMIMO, which is not installed"):
        plain_paths.load_base_stations(turned)
    assert not plain_paths.install()  # it is installed here
    assert scenario_module.load_base_stations is not plain_paths.load_base_stations


@pytest.fixture
def found(tmp_path: Path) -> gpu.Found:
    return gpu.Found(tmp_path, gpu.facts("cpu"))


@pytest.fixture
def plan() -> gpu.Plan:
    small = gpu.Plan.of("cpu", 1.0, dry=True)
    return replace(small, points=small.points[1:])


def test_training_that_takes_too_long_leaves_the_rest(
    found: gpu.Found, plan: gpu.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "_BASIC", (ZeroForcing,))
    until = gpu.Clock.until
    # The callback of a clock that has run out.
    monkeypatch.setattr(gpu.Clock, "until", lambda clock, left: until(gpu.Clock(0.0), 1.0))
    base = nm.load_scenario("munich", progress=False)
    # Neither is the slow one of a smaller size asked for.
    slow = {("ZFPrecoder", "Sionna")}
    point = replace(plan.points[-1], num_antennas=16, bs=(4, 4), num_users=2)
    gpu.measure(base, point, plan, gpu.Clock(60.0), found, slow)
    assert {row["way"] for row in found.rows} == {
        gpu.EXACT,
        gpu.KERNELS,
        gpu.PLAIN,
        gpu.UNLOOKED,
        gpu.LIBRARY,
        gpu.LIMIT,
    }
    assert any("training took too long" in note for note in found.notes)
    assert any("left out, it took long at the size before" in note for note in found.notes)


def test_a_way_that_fails_is_told_and_left_out(
    found: gpu.Found, plan: gpu.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(task: MMSE) -> Any:
        def call() -> None:
            raise torch.OutOfMemoryError("out of memory")

        return call

    monkeypatch.setattr(MMSE, "theirs", fails)
    base = nm.load_scenario("munich", progress=False).with_model(**plan.model)
    links = gpu.chosen(base, plan.points[0], every=False).multi_user
    assert links is not None
    tasks = [MMSE(links, plan.slot, turn) for turn in range(gpu.NUM_LINKS)]
    rows = gpu.compared(tasks, plan.points[0], None, plan, gpu.Clock(60.0), found, set())
    assert "Sionna" not in {row["way"] for row in rows} and len(rows) == 6
    assert "OutOfMemoryError" in found.notes[0]


def test_tests_are_stopped_in_time(tmp_path: Path) -> None:
    told = gpu.run_tests((("tests/test_seeds.py", "--collect-only"),), tmp_path, 0.2)
    assert "was stopped after" in told
    assert (tmp_path / "tests.txt").exists()


def test_a_folder_stays_small(found: gpu.Found) -> None:
    found.write()
    (found.folder / "large.bin").write_bytes(bytes(17 * 2**20))
    with pytest.raises(ValueError, match="are allowed"):
        found.write()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs no CUDA device")
def test_no_gpu_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(tmp_path)])
    with pytest.raises(SystemExit):
        gpu.main()
    assert "PyTorch finds no CUDA device" in capsys.readouterr().err


def test_what_only_a_gpu_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str] = []

    def waiting() -> None:
        for _ in range(3):
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        warnings.warn("something else", stacklevel=1)

    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    assert gpu.waits(waiting, "cuda") == 3 and modes == ["warn", "default"]
    properties = SimpleNamespace(
        name="one", major=9, minor=0, total_memory=80 * 10**9, multi_processor_count=132
    )
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    facts = gpu.facts("cuda")
    assert facts["device"] == "one" and facts["memory, GB"] == 80
    json.dumps(facts)
    plan = gpu.Plan.of("cuda", 8.0, dry=False)
    assert [point.num_antennas for point in plan.points] == [64, 128, 256]
    marked, kernels = plan.tests
    assert {"tests/test_accelerator.py", "tests/blocks/test_compile.py"} <= set(marked)
    assert all((ROOT / path).exists() for path in (*marked[2:], *kernels[2:]))
