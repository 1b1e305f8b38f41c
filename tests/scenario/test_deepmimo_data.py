"""DeepMIMO folders: missing, damaged, oddly named, downloaded; and nothing on standard output."""

from __future__ import annotations

import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import deepmimo
import numpy as np
import pytest
import requests
import torch

from neumatc_mimo.scenario import load_scenario


@pytest.fixture(autouse=True)
def no_questions(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)


@pytest.fixture
def copied(munich: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(munich, tmp_path / "copied"))


def multi_user(file: Path) -> Any:
    return load_scenario(file).multi_user


def test_missing_folder(write_scenario) -> None:
    file = write_scenario(deepmimo={"path": "nowhere"})
    with pytest.raises(
        FileNotFoundError, match=f"there is no scenario folder {file.parent}/nowhere"
    ):
        multi_user(file)


def test_missing_base_station(write_scenario) -> None:
    with pytest.raises(ValueError, match=r"base_station in \[deepmimo\] is 1, .* stations 0 to 0"):
        multi_user(write_scenario(deepmimo={"base_station": [0, 1]}))


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])


def resave(file: Path, change: Any) -> None:
    name = file.name.split("_t0")[0]
    np.savez_compressed(file, **{name: change(np.load(file)[name])})


def lose_phases(phases: np.ndarray) -> np.ndarray:
    return np.full_like(phases, np.nan)


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        ("params.json", Path.unlink),
        ("params.json", truncate),
        ("objects.json", truncate),
        ("power_*", Path.unlink),
        ("power_*", truncate),
        ("rx_pos_*", truncate),
        ("delay_*", lambda file: resave(file, lambda x: x[:10])),
        ("delay_*", lambda file: resave(file, lambda x: x[:, :1])),
        ("phase_*", lambda file: resave(file, lose_phases)),
        # An array of objects is a pickle, which runs code when it is loaded.
        ("phase_*", lambda file: resave(file, lambda x: x.astype(object))),
    ],
)
def test_damaged_folder(write_scenario, copied: Path, pattern: str, damage: Any) -> None:
    damage(next(copied.glob(pattern)))
    with pytest.raises(ValueError, match=f"scenario folder {copied} is damaged") as caught:
        multi_user(write_scenario(deepmimo={"path": str(copied)}))
    assert "\n" not in str(caught.value)


def test_nobody_has_a_path(write_scenario, copied: Path) -> None:
    resave(next(copied.glob("power_*")), lose_phases)
    with pytest.raises(ValueError, match="has a path from base station 0"):
        multi_user(write_scenario(deepmimo={"path": str(copied)}))


def test_paths_in_any_column(write_scenario, copied: Path) -> None:
    expected = multi_user(write_scenario())
    for file in copied.glob("*_t000_*.npz"):
        if not file.name.startswith(("rx_pos", "tx_pos")):
            resave(file, lambda x: x[:, ::-1])
    links = multi_user(write_scenario(deepmimo={"path": str(copied)}))
    f = links.grid_frequencies()
    assert torch.equal(links.users, expected.users)
    torch.testing.assert_close(links.channel(f), expected.channel(f))


def test_names_with_capitals(write_scenario, copied: Path) -> None:
    folder = copied.rename(copied.parent / "My Scenario: 3.5 GHz")
    links = multi_user(write_scenario(deepmimo={"path": str(folder)}))
    assert links.fingerprint() == multi_user(write_scenario()).fingerprint()


def test_quiet_and_leaves_deepmimo_as_it_was(write_scenario, capfd, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = deepmimo.config.get_all()
    scenario = load_scenario(write_scenario())
    assert scenario.positions.users.shape == (750, 3)
    assert scenario.skipped
    assert capfd.readouterr() == ("", "")
    assert deepmimo.config.get_all() == before


@pytest.fixture
def database(write_scenario, tmp_path: Path, monkeypatch) -> Path:
    """A scenario of the database, with DeepMIMO's folder in the temporary one."""
    monkeypatch.chdir(tmp_path)
    return write_scenario(deepmimo={"path": None, "scenario": "Some_Campus"})


def test_no_network(database: Path, monkeypatch, capfd, caplog) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise requests.exceptions.ConnectionError("no network")

    monkeypatch.setattr(requests, "get", fail)
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(ConnectionError, match='"some_campus" is not in .* check its name and the'),
    ):
        multi_user(database)
    assert "Downloading the DeepMIMO scenario" in caplog.text
    assert capfd.readouterr().out == ""


def test_download_is_announced_and_happens_once(
    munich: Path, database: Path, monkeypatch, caplog
) -> None:
    def download(name: str) -> None:
        shutil.copytree(munich, Path.cwd() / deepmimo.config.get("scenarios_folder") / name)

    monkeypatch.setattr(deepmimo, "download", download)
    links = multi_user(database)
    assert "Downloading the DeepMIMO scenario" in caplog.text
    caplog.clear()
    assert multi_user(database).fingerprint() == links.fingerprint()
    assert not caplog.text
