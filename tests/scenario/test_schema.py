"""The scenario TOML: what is accepted, and the sentence for what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from neumatc_mimo.scenario import bundled_scenarios, load_scenario
from neumatc_mimo.scenario.schema import read_config


def test_bundled_scenarios() -> None:
    assert {"losangeles", "munich", "newyork"} <= set(bundled_scenarios())
    for name in bundled_scenarios():
        assert read_config(name).name == name
    munich = read_config("munich")
    assert munich.grid.fft_size == 3276
    assert munich.deepmimo.base_station == (0,)
    folder = munich.data_folder()
    assert folder is not None and folder.is_dir()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": 1}, 'unknown key "colour", known are name, seed, deepmimo'),
        ({"grid": {"fftsize": 1}}, r'unknown key "fftsize" in \[grid\], known are fft_size'),
        ({"grid": {"fft_size": None}}, r'the key "fft_size" in \[grid\] is missing'),
        ({"grid": {"fft_size": "128"}}, r"fft_size in \[grid\] is '128', it must be a valid int"),
        ({"grid": {"fft_size": 0}}, r"fft_size in \[grid\] is 0, it must be greater than 0"),
        ({"grid": {"fft_size": True}}, r"fft_size in \[grid\] is True, it must be a valid int"),
        ({"grid": None}, 'the key "grid" is missing'),
        ({"model": 3}, r'"model" is 3, it must be a section \[model\]'),
        ({"model": {"rank": 2.5}}, r"rank in \[model\] is 2.5"),
        ({"seed": -1}, "seed is -1, it must be greater than or equal to 0"),
        ({"array": {"bs": [8]}}, r"bs in \[array\] is \[8\], it must be longer"),
        ({"array": {"bs": [8, 8, 8]}}, r"bs in \[array\] is \[8, 8, 8\]"),
        ({"array": {"bs": [8, -1]}}, r"bs \(entry 1\) in \[array\] is -1"),
        ({"array": {"bs": 8}}, r"bs in \[array\] is 8, it must be a valid list"),
        ({"multi_user": {"users_per_link": 9}}, r"users_per_link = 9 .* serves at most 8"),
        (
            {"multi_user": {"users_per_link": 5, "ue": [2, 1]}},
            r"users_per_link = 5 and ue = \[2, 1\] .* serves at most 8 of their antennas",
        ),
        ({"multi_user": {"noise_db": [0.0, -40.0]}}, "first must be the lower one"),
        ({"multi_user": {"row_scaling": "half"}}, r"row_scaling in \[multi_user\] is 'half'"),
        ({"single_user": {"num_streams": 5}}, r"num_streams = 5, ue = \[2, 2\] carries at most 4"),
        ({"single_user": {"ue": [3, 3], "num_streams": 9}}, r"num_streams = 9 .* sends at most 8"),
        ({"deepmimo": {"scenario": "asu_campus_3p5"}}, "both of path and scenario"),
        ({"deepmimo": {"path": None}}, "neither of path and scenario"),
        ({"deepmimo": {"base_station": []}}, r"base_station in \[deepmimo\] is \[\]"),
        ({"deepmimo": {"base_station": "0"}}, r"base_station in \[deepmimo\] is '0'"),
        ({"deepmimo": {"base_station": [0, 0]}}, "names a base_station twice"),
        ({"multi_user": None, "single_user": None}, "give at least one"),
    ],
)
def test_refuses_in_one_sentence(write_scenario, changes, message: str) -> None:
    file = write_scenario(**changes)
    with pytest.raises(ValueError, match=message) as caught:
        load_scenario(file)
    sentence = str(caught.value)
    assert sentence.startswith(str(file)) and sentence.endswith(".")
    assert "\n" not in sentence and "pydantic" not in sentence


def test_refuses_what_is_not_toml(tmp_path: Path) -> None:
    file = tmp_path / "broken.toml"
    file.write_text("name = ")
    with pytest.raises(ValueError, match="is not a TOML file"):
        load_scenario(file)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(FileNotFoundError, match='"atlantis", give the path .*munich'):
        load_scenario("atlantis")


def test_unset_variable(monkeypatch) -> None:
    monkeypatch.delenv("NEUMATC_DATA", raising=False)
    scenario = load_scenario("newyork")
    with pytest.raises(ValueError, match="environment variable NEUMATC_DATA is not set"):
        _ = scenario.multi_user


def test_path_is_relative_to_the_file_and_expanded(write_scenario, monkeypatch) -> None:
    monkeypatch.setenv("SOMEWHERE", "deep")
    config = read_config(write_scenario(deepmimo={"path": "${SOMEWHERE}/down"}))
    assert config.data_folder() == config.file.parent / "deep/down"


def test_seed_argument(write_scenario) -> None:
    assert load_scenario(write_scenario(), seed=7).config.seed == 7
    with pytest.raises(ValueError, match="seed is -1"):
        load_scenario(write_scenario(), seed=-1)
