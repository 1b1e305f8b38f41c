"""DeepMIMO folders: missing, damaged, oddly named, downloaded; and nothing on standard output."""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import sys
import threading
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


class _RunsCode:
    """What a pickle can be: a call of anything."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self._file,))


@pytest.mark.parametrize(
    ("form", "way"),
    [
        ("array of objects", "folder"),
        ("array of objects", "link"),
        ("array of objects", "link with capitals"),
        ("array of objects", "file is a link"),
        ("bare pickle", "link"),
        ("npy", "link"),
        ("mesh", "link"),
    ],
)
def test_no_pickle_is_loaded_whatever_leads_to_it(
    write_scenario, copied: Path, tmp_path: Path, form: str, way: str
) -> None:
    witness = tmp_path / "code was run"
    hostile = np.array([[_RunsCode(witness)]], dtype=object)
    (file,) = copied.glob("phase_*")
    if form == "array of objects":
        np.savez(file, phase=hostile)
    elif form == "bare pickle":
        file.write_bytes(pickle.dumps(_RunsCode(witness)))
    elif form == "npy":
        file.unlink()
        np.save(file.with_suffix(".npy"), hostile)
    else:
        for name in ("faces", "materials"):
            np.savez(copied / f"{name}.npz", a=hostile)
    folder = copied
    if way == "file is a link":
        file.symlink_to(file.rename(tmp_path / "elsewhere"))
    elif way.startswith("link"):
        name = "Ünsafe Link" if way == "link with capitals" else "link"
        (folder := tmp_path / name).symlink_to(copied, target_is_directory=True)
    with pytest.raises(ValueError, match="is damaged") as caught:
        multi_user(write_scenario(deepmimo={"path": str(folder)}))
    assert "\n" not in str(caught.value) and not witness.exists()
    # The same file does run code where it is allowed to.
    if form == "array of objects":
        np.load(file, allow_pickle=True)["phase"]
        assert witness.exists()


def test_others_load_what_they_like_meanwhile(
    write_scenario, copied: Path, monkeypatch, tmp_path: Path
) -> None:
    file, loaded, before = tmp_path / "objects.npy", [], np.load
    np.save(file, np.array([{}, {}], dtype=object))
    real = deepmimo.load

    def load(*args: Any, **options: Any) -> Any:
        thread = threading.Thread(target=lambda: loaded.append(np.load(file, allow_pickle=True)))
        thread.start()
        thread.join()
        with pytest.raises(ValueError, match="allow_pickle"):
            np.load(file, allow_pickle=True)
        return real(*args, **options)

    monkeypatch.setattr(deepmimo, "load", load)
    assert multi_user(write_scenario(deepmimo={"path": str(copied)})).num_links == 4
    assert len(loaded) == 1 and np.load is before


def _with_holes(values: np.ndarray) -> np.ndarray:
    return np.where(np.arange(values.size).reshape(values.shape) % 50 == 0, np.nan, values)


@pytest.mark.parametrize(
    ("pattern", "change", "message"),
    [
        ("delay_*", _with_holes, "lacks its phase, delay or"),
        ("power_*", _with_holes, "lacks its power"),
        ("power_*", lambda x: np.where(np.isnan(x), x, np.inf), "infinite power"),
        ("power_*", lambda x: np.where(np.isnan(x), x, -np.inf), "infinite power"),
        ("delay_*", lambda x: np.where(np.isnan(x), x, np.inf), "lacks its phase, delay or"),
        ("aod_az_*", lambda x: np.where(np.isnan(x), x, np.inf), "lacks its phase, delay or"),
        ("rx_pos_*", _with_holes, "rx_pos has"),
        ("tx_pos_*", lambda x: np.full_like(x, np.inf), "tx_pos has positions that are not finite"),
        ("power_*", lambda x: x.astype(str), "TypeError"),
    ],
)
def test_numbers_that_are_none_are_refused(
    write_scenario, copied: Path, pattern: str, change: Any, message: str
) -> None:
    resave(next(copied.glob(pattern)), change)
    with pytest.raises(ValueError, match=f"is damaged .*{message}") as caught:
        multi_user(write_scenario(deepmimo={"path": str(copied)}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("frequency", [0, -3.5e9, float("nan"), float("inf"), "3.5 GHz", None])
def test_a_carrier_that_is_none_is_refused(write_scenario, copied: Path, frequency: Any) -> None:
    parameters = json.loads((copied / "params.json").read_text())
    parameters["rt_params"]["frequency"] = frequency
    (copied / "params.json").write_text(json.dumps(parameters))
    with pytest.raises(ValueError, match="is damaged or not in DeepMIMO v4 format") as caught:
        multi_user(write_scenario(deepmimo={"path": str(copied)}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["[" * 10**5, "[]", "{}", '{"txrx_sets": {"a": {"num_points": 1e12}}}']
)
def test_parameters_that_are_none_are_refused(write_scenario, copied: Path, text: str) -> None:
    (copied / "params.json").write_text(text)
    with pytest.raises(ValueError, match="is damaged or not in DeepMIMO v4 format"):
        multi_user(write_scenario(deepmimo={"path": str(copied)}))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("name", ["params.json", "objects.json", "delay_t000_tx000_r001.npz"])
def test_what_is_no_file_is_refused_at_once(write_scenario, copied: Path, name: str) -> None:
    (copied / name).unlink()
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        make(copied / name)
        with pytest.raises(ValueError, match=f"{name} is no file"):
            multi_user(write_scenario(deepmimo={"path": str(copied)}))
        (copied / name).unlink()


@pytest.mark.parametrize("max_paths", [1, 3])
def test_the_strongest_paths_are_kept_wherever_they_stand(
    write_scenario, copied: Path, max_paths: int
) -> None:
    changes: dict[str, Any] = {"multi_user": {"row_scaling": "none"}, "single_user": None}
    changes["deepmimo"] = {"max_paths": max_paths}
    expected = multi_user(write_scenario(**changes))
    rng = np.random.default_rng(0)
    order = rng.permuted(np.tile(np.arange(25), (750, 1)), axis=1)
    for file in copied.glob("*_t000_*.npz"):
        if not file.name.startswith(("rx_pos", "tx_pos")):
            resave(
                file,
                lambda x: np.take_along_axis(
                    x, order.reshape(750, 25, *(1,) * (x.ndim - 2)), axis=1
                ),
            )
    changes["deepmimo"]["path"] = str(copied)
    links = multi_user(write_scenario(**changes))
    assert links.num_paths == max_paths
    frequencies = links.grid_frequencies()
    # Which groups keep the limit on their condition depends on the channels alone.
    assert torch.equal(links.users, expected.users)
    torch.testing.assert_close(links.channel(frequencies), expected.channel(frequencies))
