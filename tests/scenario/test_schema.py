"""The scenario TOML: what is accepted, and the sentence for what is not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import neumatc_mimo as nm
from neumatc_mimo.mapping.axes import NoiseAxis, NoiseRange
from neumatc_mimo.operations import OPERATIONS
from neumatc_mimo.scenario import ScenarioConfig, bundled_scenarios, load_scenario
from neumatc_mimo.scenario.schema import read_config
from neumatc_mimo.training.jobs import jobs

SLNR = {"name": "slnr", "noise_db": -20.0}


def asked(*operations: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """Changes of a scenario file that ask for operations on links of several users."""
    return {"multi_user": {"operation": list(operations), **keys}}


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
        ({"grid": {"fft_size": None, "fftsize": 1}}, r'unknown key "fftsize" in \[grid\]'),
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
        ({"deepmimo": {"scenario": "asu_campus_3p5"}}, "both path and scenario"),
        ({"deepmimo": {"path": None}}, "neither path nor scenario"),
        ({"deepmimo": {"base_station": []}}, r"base_station in \[deepmimo\] is \[\]"),
        ({"deepmimo": {"base_station": "0"}}, r"base_station in \[deepmimo\] is '0'"),
        ({"deepmimo": {"base_station": [0, 0]}}, "names a base_station twice"),
        ({"multi_user": None, "single_user": None}, "give at least one"),
        (
            asked({"name": "slnr"}),
            r'"noise_db" in \[\[multi_user.operation\]\] \(entry 0\) is missing',
        ),
        (
            asked(SLNR, {"name": "dirty_paper"}),
            r'\(entry 1\) is refused: There is no operation "dirty_paper", known are .*slnr.*; '
            "another package names its own as an entry point of neumatc_mimo.operations",
        ),
        (
            asked({"noise_db": -20.0}),
            r'"name" in \[\[multi_user.operation\]\] \(entry 0\) is missing',
        ),
        (asked(SLNR | {"noise_db": 300.0}), "is 300.0, it must be less than or equal to 100"),
        (
            asked(SLNR | {"rounds": 3}),
            'has the unknown key "rounds", known for "slnr" are name, noise',
        ),
        (
            asked({"name": "wmmse", "noise_db": -20.0, "num_iterations": 0}),
            r"num_iterations in \[\[multi_user.operation\]\] \(entry 0\) is 0, it must be greater",
        ),
        (
            asked({"name": "block_diagonalization", "noise_db": -20.0}),
            'has noise_db, but "block_diagonalization" does not depend on the noise: leave it out',
        ),
        (
            {"multi_user": {"operation": "slnr"}},
            r"operation in \[multi_user\] is 'slnr', it must be",
        ),
        (
            {"multi_user": {"operation": ["slnr"]}},
            r"operation \(entry 0\) in \[multi_user\] is 'slnr', it must be a table \[\[multi_us",
        ),
        (asked({"name": "pseudo_inverse"}), 'has an operation "pseudo_inverse", which is always'),
        (asked(SLNR, SLNR), r'\[multi_user\] has the operation "slnr" twice'),
        (asked(SLNR, slnr_db=-20.0), 'has slnr_db and an operation "slnr", which mean the same'),
        (asked(SLNR, slnr_db=0.0), 'has slnr_db and an operation "slnr", which mean the same'),
        (
            asked({"name": "svd", "num_streams": 2}),
            r"\[multi_user\] and in \[single_user\], a model",
        ),
        (asked({"name": "inverse"}), "not possible for links of 3 x 8: Only square matrices"),
        (asked({"name": "linear_solve"}), "not possible for links of 3 x 8: .* argument: 'b'"),
        (
            {"multi_user": None, "single_user": {"operation": [{"name": "pseudo_inverse"}]}},
            "not possible for links of 4 x 8: the key noise_db is missing",
        ),
    ],
)
def test_refuses_in_one_sentence(write_scenario, changes, message: str) -> None:
    file = write_scenario(**changes)
    with pytest.raises(ValueError, match=message) as caught:
        load_scenario(file)
    sentence = str(caught.value)
    assert sentence.startswith(str(file)) and sentence.endswith(".")
    assert "\n" not in sentence and "pydantic" not in sentence


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 2**64}, "seed is 18446744073709551616, it must be less than 9223372036854775808"),
        ({"grid": {"fft_size": 10**9}}, r"fft_size in \[grid\] is 1000000000, it must be less"),
        ({"grid": {"subcarrier_spacing": 1e300}}, r"subcarrier_spacing in \[grid\] is 1e\+300"),
        ({"array": {"bs": [10**9, 1]}}, r"bs \(entry 0\) in \[array\] is 1000000000"),
        ({"array": {"bs": [4096, 4096]}}, "at most 65536 antennas are possible"),
        ({"single_user": {"ue": [4096, 4096]}}, "at most 65536 antennas are possible"),
        ({"multi_user": {"num_links": 10**9}}, r"num_links in \[multi_user\] is 1000000000"),
        ({"multi_user": {"noise_db": [-4000.0, 0.0]}}, r"noise_db \(entry 0\) .* is -4000.0"),
        ({"multi_user": {"wmmse_db": -4000.0}}, r"wmmse_db in \[multi_user\] is -4000.0"),
        ({"model": {"width": 10**9}}, r"width in \[model\] is 1000000000, it must be less"),
        ({"model": {"rank": 10**9}}, r"rank in \[model\] is 1000000000"),
        ({"model": {"samples": 10**9}}, r"samples in \[model\] is 1000000000"),
        ({"model": {"rounds": 10**9}}, r"rounds in \[model\] is 1000000000"),
        ({"model": {"noise_nodes": 10**9}}, r"noise_nodes in \[model\] is 1000000000"),
        ({"model": {"tolerance_db": 1e9}}, r"tolerance_db in \[model\] is 1000000000.0"),
        ({"motion": {"speed": 1e300}}, r"speed in \[motion\] is 1e\+300"),
        ({"motion": {"speed": 1.0, "num_nodes": 10**9}}, r"num_nodes in \[motion\] is 1000000000"),
        ({"motion": {"speed": 1.0, "num_slots": 10**9}}, r"num_slots in \[motion\] is 1000000000"),
    ],
)
def test_absurd_numbers_are_refused_at_once(write_scenario, changes, message: str) -> None:
    file = write_scenario(**{k: v for k, v in changes.items() if k != "motion"})
    if "motion" in changes:
        keys = "\n".join(f"{key} = {value!r}" for key, value in changes["motion"].items())
        file.write_text(f"{file.read_text()}\n[motion]\n{keys}")
    with pytest.raises(ValueError, match=message) as caught:
        load_scenario(file)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../evil", "/evil", "a/b", "a\\\\b", "a\\u0000b", "a\\nb", "a" * 300]
)
def test_names_that_lead_elsewhere_are_refused(write_scenario, name: str) -> None:
    file = write_scenario()
    text = file.read_text().replace('name = "small"', f'name = "{name}"')
    file.write_text(text)
    with pytest.raises(
        ValueError, match=r"small\.toml: name is .*, a name of at most 200"
    ) as caught:
        load_scenario(file)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    with pytest.raises(ValueError, match=r"\[deepmimo\] has (scenario = |an empty)"):
        load_scenario(write_scenario(deepmimo={"path": None, "scenario": "../evil"}))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    for place in (tmp_path / "pipe.toml", tmp_path, "/dev/zero"):
        with pytest.raises(ValueError, match="is no file, give the path of a TOML file"):
            load_scenario(place)
    (tmp_path / "huge.toml").touch()
    os.truncate(tmp_path / "huge.toml", 2**40)
    with pytest.raises(ValueError, match=r"is not a TOML file: it has more than \d+ bytes"):
        load_scenario(tmp_path / "huge.toml")
    with pytest.raises(FileNotFoundError, match="There is no scenario file"):
        load_scenario("a\0b")


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 10**5,
        "seed = " + "9" * 5000,
        '"a\\nb" = 1',
        "name = " + '"' + "a" * 10**6 + '"',
        "[[deepmimo]]",
    ],
)
def test_whatever_a_file_says_it_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "some.toml").write_text(text)
    with pytest.raises(ValueError, match=r"some\.toml") as caught:
        load_scenario(tmp_path / "some.toml")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


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
    message = "environment variable NEUMATC_DATA is not set: .* holds city_0_newyork_3p5"
    with pytest.raises(ValueError, match=message) as caught:
        _ = scenario.multi_user
    assert str(caught.value).startswith('The scenario "newyork"')


def test_path_is_relative_to_the_file_and_expanded(write_scenario, monkeypatch) -> None:
    monkeypatch.setenv("SOMEWHERE", "deep")
    config = read_config(write_scenario(deepmimo={"path": "${SOMEWHERE}/down"}))
    assert config.data_folder() == config.file.parent / "deep/down"


def test_seed_argument(write_scenario) -> None:
    assert load_scenario(write_scenario(), seed=7).config.seed == 7
    for seed in (-1, 2**64):
        with pytest.raises(ValueError, match=f"seed is {seed}"):
            load_scenario(write_scenario(), seed=seed)


def operations(config: ScenarioConfig) -> list[tuple[dict[str, Any], float | None]]:
    """Settings and noise powers of what is trained, of both kinds of links."""
    sections = [s for s in (config.multi_user, config.single_user) if s is not None]
    trained = [entry for section in sections for entry in section.trained(8)]
    return [(operation.settings(), keys.no) for keys, operation in trained]


def test_what_is_trained_in_any_case(write_scenario: Any) -> None:
    assert operations(read_config(write_scenario())) == [
        ({"name": "pseudo_inverse"}, None),
        ({"name": "svd", "num_streams": 2, "unused": []}, None),
    ]


def test_older_keys_mean_the_same(write_scenario: Any) -> None:
    older = {
        "wmmse_db": -20.0,
        "max_min_db": 0.0,
        "slnr_db": -10.0,
        "block_diagonalization": True,
    }
    tables = [
        {"name": "wmmse", "noise_db": -20.0},
        {"name": "max_min", "noise_db": 0.0},
        {"name": "slnr", "noise_db": -10.0},
        {"name": "block_diagonalization"},
    ]
    users = {"users_per_link": 2, "ue": [2, 1]}
    files = [
        write_scenario(multi_user=users | older, single_user=None),
        write_scenario(**asked(*tables, **users), single_user=None),
        write_scenario(**asked(*tables[2:], **users, **dict(list(older.items())[:2]))),
    ]
    before, now, mixed = map(load_scenario, files)
    assert operations(before.config) == operations(now.config)
    assert [settings["antennas_per_user"] for settings, _ in operations(now.config)[3:]] == [2, 2]
    assert operations(mixed.config)[:5] == operations(now.config)
    assert before.fingerprint == now.fingerprint
    assert [job.key for job in jobs(before)] == [job.key for job in jobs(now)]


def test_operations_of_a_single_user(write_scenario: Any) -> None:
    table = {"name": "wmmse", "noise_db": -20.0, "num_iterations": 7}
    config = read_config(write_scenario(single_user={"operation": [table]}, multi_user=None))
    assert operations(config)[1:] == [({"name": "wmmse", "no": 0.01, "num_iterations": 7}, 0.01)]


def test_configurations_survive_json(write_scenario: Any) -> None:
    table = {"name": "wmmse", "noise_db": -20.0, "num_iterations": 7}
    config = read_config(write_scenario(**asked(SLNR, table)))
    again = ScenarioConfig.model_validate_json(config.model_dump_json())
    assert operations(again) == operations(config)


def test_an_operation_in_noise_is_trained_for_all_of_it_unless_one_power_is_given(
    write_scenario: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Regularised(nm.PseudoInverse):
        name = "regularised"

    class AtNodes(nm.PseudoInverse):
        """Whose models store what depends on the noise."""

        name = "at_nodes"

        @property
        def stored(self) -> nm.operations.Operation:
            return self

    monkeypatch.setattr(OPERATIONS, "_kinds", dict(OPERATIONS))
    OPERATIONS.register(Regularised)
    OPERATIONS.register(AtNodes)
    for keys, axis in (
        ({"name": "regularised"}, NoiseRange(1e-4, 1.0)),
        ({"name": "at_nodes"}, NoiseAxis(1e-4, 1.0, 14)),
        ({"name": "regularised", "noise_db": -10.0}, NoiseAxis.at(0.1)),
    ):
        scenario = load_scenario(write_scenario(**asked(keys), single_user=None))
        plain, own = jobs(scenario)
        assert (plain.operation.name, own.operation.name) == ("pseudo_inverse", keys["name"])
        assert own.axis == axis and own.links is not None
