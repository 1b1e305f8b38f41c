"""What is told of the machine is what there is."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import neumatc_mimo as nm
from neumatc_mimo.cli import app
from neumatc_mimo.reporting.info import info, version_of
from neumatc_mimo.scenario.bundled import scenarios_folder


def _scenario(folder: Path, num_bytes: int) -> None:
    folder.mkdir(parents=True)
    (folder / "params.json").write_text("{}")
    (folder / "power.npz").write_bytes(bytes(num_bytes - 2))


def test_versions_devices_and_data_are_those_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _scenario(tmp_path / "b_town", 1000)
    _scenario(tmp_path / "a_town", 2000)
    (tmp_path / "no_scenario").mkdir()
    monkeypatch.setenv("NEUMATC_DATA", str(tmp_path))
    found = info()
    assert found["versions"]["torch"] == version("torch")
    assert found["extras"]["dev"]["pytest"] == pytest.__version__
    # Beside Sionna 2.x, that of the extra tensorflow is not there.
    assert found["extras"]["tensorflow"] == {"sionna<2,>=1.2": None}
    assert [device["device"] for device in found["devices"]] == [
        "cpu",
        *(f"cuda:{index}" for index in range(torch.cuda.device_count())),
    ]
    assert found["devices"][0]["threads"] == torch.get_num_threads()
    assert found["data"] == {
        "folder": str(tmp_path),
        "scenarios": [{"name": "a_town", "bytes": 2000}, {"name": "b_town", "bytes": 1000}],
    }
    (munich,) = (entry for entry in found["scenarios"] if entry["name"] == "munich")
    assert Path(munich["folder"]).samefile(scenarios_folder() / "data/munich_3p5")
    assert munich["bytes"] > 10**6


def test_a_missing_llvm_is_told_and_does_not_disturb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRJIT_LIBLLVM_PATH", "/nonexistent")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    result = CliRunner().invoke(app, ["info"])
    assert result.exit_code == 0 and result.stderr == ""
    assert "not possible: no GPU, and no LLVM" in " ".join(result.stdout.split())


def test_json_and_text_tell_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _scenario(tmp_path / "town", 5_000_000)
    monkeypatch.setenv("NEUMATC_DATA", str(tmp_path))
    values = json.loads(CliRunner().invoke(app, ["info", "--json"]).stdout)
    text = " ".join(CliRunner().invoke(app, ["info"]).stdout.split())
    assert values["versions"].items() <= info()["versions"].items()
    assert "town: 5 MB" in text
    for name, number in values["versions"].items():
        assert f"{name} {number}" in text


def test_data_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEUMATC_DATA", raising=False)
    found = info()
    assert found["data"] == {"folder": None, "scenarios": []}
    lost = {entry["name"] for entry in found["scenarios"] if entry["folder"] is None}
    assert {"newyork", "losangeles"} <= lost
    text = CliRunner().invoke(app, ["info"]).stdout
    assert "newyork: its data were not found" in text and "not set; set it to the folder" in text


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert version_of("neumatc-mimo") == nm.__version__
    assert version_of("no-such-package-of-ours") is None
