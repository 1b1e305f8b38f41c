"""Dynamic scenes and velocities of DeepMIMO: snapshots, Doppler shifts, channels over a burst."""

from __future__ import annotations

import contextlib
import io
import json
import math
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import deepmimo
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import neumatc_mimo as nm
from neumatc_mimo import metrics
from neumatc_mimo.scenario import LinkSet, Scenario, load_scenario
from neumatc_mimo.scenario.deepmimo_motion import path_doppler

LIGHT = 299_792_458.0
# DeepMIMO drops the paths that take longer than a symbol: 8 microseconds are enough for Munich.
GRID = {"fft_size": 128, "subcarrier_spacing": 120e3}
# Whole fractions of a metre, which survive single precision.
STEP, INTERVAL, SCENES = np.array([0.25, -0.5, 0.0]), 0.05, 4
# An object that many paths meet; it drives, whatever it is.
CAR = 5
TIMES = (0.0, 0.7e-3, 4.9e-3, 10e-3)

Writer = Callable[..., Path]


@pytest.fixture(scope="module")
def dynamic(munich: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Munich in four scenes: every user moves by a step, a car drives along x, and every
    path turns by a degree.
    """
    root = tmp_path_factory.mktemp("dynamic") / "town_drive"
    for scene in range(SCENES):
        folder = root / f"town_drive_{scene:03}"
        shutil.copytree(munich, folder, ignore=shutil.ignore_patterns("params.json"))
        _resave(folder, "rx_pos", lambda x, i=scene: x + (i * STEP).astype(np.float32))
        _resave(folder, "phase", lambda x, i=scene: x + np.float32(i))
        _resave(folder, "vertices", lambda x, i=scene: _driven(munich, x, i))
    params = json.loads((munich / "params.json").read_text())
    params["scene"]["num_scenes"] = SCENES
    (root / "params.json").write_text(json.dumps(params))
    return root


def _resave(folder: Path, name: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    file = next(folder.glob(f"{name}*.npz"))
    np.savez_compressed(file, **{name: change(np.load(file)[name])})


def _driven(folder: Path, vertices: NDArray[Any], scene: int) -> NDArray[Any]:
    """Vertices with the car further along x by half a metre a scene."""
    faces = json.loads((folder / "objects.json").read_text())[CAR]["face_vertex_idxs"]
    moved = vertices.copy()
    moved[np.unique(np.concatenate(faces)), 0] += 0.5 * scene
    return moved


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def loaded(folder: Path) -> Any:
    """What DeepMIMO makes of a folder, with all matrices."""
    before = deepmimo.config.get("scenarios_folder")
    with _quiet():
        deepmimo.config.set("scenarios_folder", str(folder.parent))
        data = deepmimo.load(folder.name, max_paths=25)
        deepmimo.config.set("scenarios_folder", before)
    return data


@pytest.fixture
def data(munich: Path) -> Any:
    return loaded(munich)


def link_sets(scenario: Scenario) -> list[LinkSet]:
    assert scenario.multi_user is not None and scenario.single_user is not None
    return [scenario.multi_user, scenario.single_user]


def deepmimo_channel(data: Any, links: LinkSet, times: tuple[float, ...]) -> torch.Tensor:
    """DeepMIMO's channels of the links' users with its Doppler on, [N_t, num_links, F, K, M]."""
    size = links.fft_size
    users = links.users.reshape(-1).numpy()
    with _quiet():
        # What is known of all users goes along with some of them, velocities do not.
        assert data["doppler"].any()
        h = data.trim(idxs=users).compute_channels(
            bs_antenna={"shape": [4, 2], "spacing": 0.5},
            ue_antenna={"shape": [1, 1] if links.kind == "multi_user" else [2, 2], "spacing": 0.5},
            num_paths=25,
            doppler=True,
            times=np.array(times),
            ofdm={
                "subcarriers": size,
                "bandwidth": size * links.subcarrier_spacing,
                "selected_subcarriers": np.arange(size),
            },
        )
    # [users, ue antennas, bs antennas, fft_size, N_t] with the factor 1/sqrt(N)
    found = torch.from_numpy(h).permute(4, 0, 3, 1, 2).to(torch.complex128) * math.sqrt(size)
    found = found.unflatten(1, (links.num_links, -1))
    return found.movedim(2, 3).flatten(3, 4) * links.row_gains[:, None, :, None]


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


def check_over_the_burst(scenario: Scenario, data: Any) -> None:
    """Channels of the scenario are DeepMIMO's own, at all times of a burst."""
    for links in link_sets(scenario):
        # DeepMIMO's subcarriers run from 0 to N - 1.
        f = torch.arange(links.fft_size, dtype=torch.float64) * links.subcarrier_spacing
        expected = deepmimo_channel(data, links, TIMES)
        for time, h in zip(TIMES, expected, strict=True):
            assert relative(links.channel(f, time=time), h) < 1e-5
            factors = links.row_factors(f, time=time)[..., None]
            aligned = links.channel(f, aligned=True, dtype=torch.complex128, time=time)
            assert relative(aligned * factors, h) < 1e-5
        assert relative(expected[-1], expected[0]) > 0.1


@pytest.mark.parametrize("scene", range(SCENES))
def test_a_scenario_names_its_scene(
    write_scenario: Writer, munich: Path, dynamic: Path, scene: int
) -> None:
    links, static = (
        link_sets(load_scenario(write_scenario(deepmimo=config, grid=GRID)))[0]
        for config in ({"path": str(dynamic), "scene": scene}, {"path": str(munich)})
    )
    f = links.grid_frequencies()
    # Each scene turned all paths by a degree more.
    turned = static.channel(f) * np.exp(1j * np.deg2rad(scene))
    assert torch.equal(links.users, static.users) and relative(links.channel(f), turned) < 1e-6
    moved = links.user_positions - static.user_positions
    torch.testing.assert_close(moved, torch.from_numpy(scene * STEP).expand_as(moved))
    assert (links.fingerprint() == static.fingerprint()) == (scene == 0)


class _RunsCode:
    """What a pickle can be: a call of anything."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self._file,))


@pytest.mark.parametrize("bare", [False, True])
def test_no_pickle_is_loaded_from_a_scene_that_is_a_link(
    write_scenario: Writer, dynamic: Path, tmp_path: Path, bare: bool
) -> None:
    witness, elsewhere = tmp_path / "code was run", tmp_path / "elsewhere"
    folder = Path(shutil.copytree(dynamic, tmp_path / dynamic.name))
    scene = folder / f"{dynamic.name}_001"
    scene.symlink_to(scene.rename(elsewhere), target_is_directory=True)
    file = write_scenario(deepmimo={"path": str(folder), "scene": 1})
    assert load_scenario(file).multi_user is not None
    (phase,) = elsewhere.glob("phase_*")
    if bare:
        phase.write_bytes(pickle.dumps(_RunsCode(witness)))
    else:
        np.savez(phase, phase=np.array([[_RunsCode(witness)]], dtype=object))
    for number in (0, 1):
        file = write_scenario(deepmimo={"path": str(folder), "scene": number})
        with pytest.raises(ValueError, match="is damaged") as caught:
            load_scenario(file).multi_user  # noqa: B018
        assert "\n" not in str(caught.value) and not witness.exists()
    pickle.loads(pickle.dumps(_RunsCode(witness)))
    assert witness.exists()


def test_there_is_no_scene_beyond_the_last(
    write_scenario: Writer, munich: Path, dynamic: Path
) -> None:
    for path, last in ((dynamic, SCENES - 1), (munich, 0)):
        file = write_scenario(deepmimo={"path": str(path), "scene": last + 1})
        with pytest.raises(ValueError, match=rf"scene in \[deepmimo\] is .* scenes 0 to {last}"):
            link_sets(load_scenario(file))


@pytest.mark.parametrize("velocity", [(0.0, 9.0, 0.0), (0.0, -3.0, 4.0)])
def test_channels_are_deepmimos_own(
    write_scenario: Writer, munich: Path, data: Any, velocity: tuple[float, ...]
) -> None:
    motion = {"source": "deepmimo", "rx_vel": list(velocity), "tx_vel": [2.0, 1.0, 0.0]}
    scenario = load_scenario(
        write_scenario(deepmimo={"path": str(munich)}, grid=GRID, motion=motion)
    )
    data.rx_vel, data.tx_vel = np.array(velocity), np.array(motion["tx_vel"])
    check_over_the_burst(scenario, data)


@pytest.mark.parametrize("scene", [0, 2])
def test_channels_of_a_dynamic_scene_are_deepmimos_own(
    write_scenario: Writer, dynamic: Path, scene: int
) -> None:
    file = write_scenario(
        deepmimo={"path": str(dynamic), "scene": scene},
        grid=GRID,
        motion={"source": "deepmimo", "timestamps": INTERVAL},
    )
    scenes = loaded(dynamic)
    with _quiet():
        scenes.set_timestamps([INTERVAL * i for i in range(SCENES)])
    data = scenes[scene]
    np.testing.assert_allclose(data.rx_vel, np.tile(STEP / INTERVAL, (750, 1)), atol=1e-3)
    assert data.scene.objects[CAR].vel[0] == pytest.approx(10.0, abs=1e-3)
    # DeepMIMO 4.0.5 takes the users' velocity along x with the wrong sign.
    data.rx_vel = np.asarray(data.rx_vel) * [-1, 1, 1]
    check_over_the_burst(load_scenario(file), data)


def test_an_object_shifts_only_the_paths_that_it_meets(data: Any) -> None:
    data.scene.objects[CAR].vel = np.array([10.0, 0.0, 0.0])
    users = np.flatnonzero(np.isfinite(np.asarray(data.power)).any(1))
    with _quiet():
        shifts = path_doppler(data, users)
        met = (data._compute_inter_objects() == CAR).any(-1)[users]
    found = np.isfinite(np.asarray(data.power))[users]
    assert met.any() and (np.abs(shifts[met & found]) > 0).any()
    assert not shifts[~met & found].any()


@pytest.mark.parametrize("axis", range(3))
def test_users_who_walk_to_the_base_station_hear_a_higher_frequency(data: Any, axis: int) -> None:
    """Against the formula, where DeepMIMO 4.0.5 is wrong along x."""
    direct = np.argwhere(np.asarray(data.inter) == 0)
    users, paths = direct[np.unique(direct[:, 0], return_index=True)[1]].T
    away = np.asarray(data.tx_pos, np.float64).reshape(3) - np.asarray(data.rx_pos)[users]
    expected = 8 * (away / np.linalg.norm(away, axis=1, keepdims=True))[:, axis] * 3.5e9 / LIGHT
    data.rx_vel = 8 * np.eye(3)[axis]
    found = path_doppler(data, users)[np.arange(len(users)), paths]
    np.testing.assert_allclose(found, expected, atol=0.05)
    with _quiet():
        theirs = np.asarray(data.doppler)[users, paths]
    sign = -1 if axis == 0 else 1
    if axis == 0 and np.allclose(theirs, expected, atol=0.05):
        pytest.skip("this version of DeepMIMO has the sign right")
    np.testing.assert_allclose(theirs, sign * expected, atol=0.05)


def test_shifts_that_a_data_set_was_given(write_scenario: Writer, data: Any) -> None:
    rng = np.random.default_rng(0)
    data.set_doppler(rng.uniform(-90, 90, (750, data.max_paths)))
    file = write_scenario(grid=GRID, motion={"source": "deepmimo"})
    scenario = Scenario(load_scenario(file).config, data)
    check_over_the_burst(scenario, data)
    data.set_doppler(rng.uniform(-90, 90, 750))
    again = Scenario(scenario.config, data)
    check_over_the_burst(again, data)
    assert again.fingerprint != scenario.fingerprint


def test_velocities_of_each_user(write_scenario: Writer, data: Any) -> None:
    rng = np.random.default_rng(0)
    data.rx_vel = rng.uniform(-9, 9, (750, 3)) * [0, 1, 1]
    file = write_scenario(grid=GRID, motion={"source": "deepmimo"})
    check_over_the_burst(Scenario(load_scenario(file).config, data), data)


def test_a_data_set_serves_scenarios_of_other_velocities(write_scenario: Writer, data: Any) -> None:
    def walking(speed: float) -> Scenario:
        motion = {"source": "deepmimo", "rx_vel": [0.0, speed, 0.0]}
        return Scenario(load_scenario(write_scenario(grid=GRID, motion=motion)).config, data)

    slow, fast = walking(1.0), walking(30.0)
    for scenario in (slow, fast):
        assert scenario.multi_user is not None
    alone = walking(1.0).single_user
    assert alone is not None and slow.single_user is not None
    assert alone.doppler is not None and slow.single_user.doppler is not None
    assert torch.equal(slow.single_user.doppler, alone.doppler)
    still = write_scenario(grid=GRID, motion={"source": "deepmimo"})
    with pytest.raises(ValueError, match="nothing moves"):
        _ = Scenario(load_scenario(still).config, data).multi_user


def test_several_base_stations_in_dynamic_scenes(write_scenario: Writer, dynamic: Path) -> None:
    """Which DeepMIMO 4.0.5 itself cannot give timestamps."""
    every = np.arange(750)
    pairs = [deepmimo.MacroDataset([scene, scene.trim(idxs=every)]) for scene in loaded(dynamic)]
    file = write_scenario(
        deepmimo={"base_station": [0, 1], "scene": 2},
        grid=GRID,
        motion={"source": "deepmimo", "timestamps": INTERVAL},
    )
    scenario = Scenario(load_scenario(file).config, deepmimo.DynamicDataset(pairs, "twice"))
    for links in link_sets(scenario):
        assert links.doppler is not None and set(links.base_station.tolist()) == {0, 1}
        assert (links.doppler.abs().flatten(1).amax(1) > 1).all()


def test_a_model_of_a_dynamic_scene_keeps_what_it_proves(
    write_scenario: Writer, dynamic: Path, tmp_path: Path
) -> None:
    file = write_scenario(
        deepmimo={"path": str(dynamic), "scene": 1},
        grid=GRID,
        multi_user={"num_links": 2},
        single_user=None,
        motion={"source": "deepmimo", "timestamps": [0.0, 0.05, 0.1, 0.15]},
        model={"width": 64, "samples": 80, "collocation": 100},
    )
    scenario = load_scenario(file)
    model = nm.ScenarioModel.load(nm.train(scenario, progress=False).save(tmp_path / "model"))
    model.check(scenario.fingerprint)
    links = model.models["pseudo_inverse"].links
    assert not links.delays_drift
    f = links.grid_frequencies()
    for time in np.linspace(0, links.duration, 5).tolist():
        h = links.channel(f, dtype=torch.complex128, time=time)
        (w,) = model.query("pseudo_inverse", f, time=time)
        assert metrics.sir_db(h, w.to(h)).amin() > 38


@pytest.mark.parametrize(
    ("motion", "message"),
    [
        ({}, "lacks a speed"),
        ({"speed": 1.0, "tx_vel": [1.0, 0.0, 0.0]}, 'tx_vel, which needs source = "deepmimo"'),
        ({"source": "deepmimo", "speed": 1.0}, "does not use"),
        ({"source": "deepmimo", "timestamps": 1.0, "rx_vel": [1.0, 0.0, 0.0]}, "one or the other"),
        ({"source": "deepmimo", "timestamps": [0.0, 0.0]}, "must increase"),
        ({"source": "deepmimo", "timestamps": -0.1}, "must increase"),
        ({"source": "deepmimo"}, "nothing moves"),
        ({"source": "deepmimo", "rx_vel": [0.0, 0.0, 0.0]}, "nothing moves"),
        ({"source": "deepmimo", "timestamps": 0.1}, "the data set has one"),
    ],
)
def test_motion_that_makes_no_sense(
    write_scenario: Writer, munich: Path, motion: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        link_sets(load_scenario(write_scenario(deepmimo={"path": str(munich)}, motion=motion)))


def test_timestamps_are_as_many_as_scenes(write_scenario: Writer, dynamic: Path) -> None:
    motion = {"source": "deepmimo", "timestamps": [0.0, 0.1]}
    file = write_scenario(deepmimo={"path": str(dynamic)}, motion=motion)
    with pytest.raises(ValueError, match=r"timestamps in \[motion\] has 2 entries.* has 4 scenes"):
        link_sets(load_scenario(file))
