"""Ray tracing: what is refused, and the physics that a traced folder must obey."""

from __future__ import annotations

import builtins
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neumatc_mimo.progress import Event
from neumatc_mimo.scenario import tracing
from neumatc_mimo.scenario.tracing import trace

SPEED_OF_LIGHT = 299792458.0
FREQUENCY = 3.5e9
BUNDLED = Path(__file__).parents[2] / "scenarios" / "data" / "munich_3p5"
SMALL = {
    "base_station": (-30.0, 0.0, 20.0),
    "x": (-40.0, 60.0),
    "y": (-15.0, 15.0),
    "users": (6, 5),
    "max_depth": 3,
    "num_samples": 10**5,
}
PATH_ARRAYS = ("aoa_az", "aoa_el", "aod_az", "aod_el", "delay", "inter", "phase", "power")


def arrays(folder: Path) -> dict[str, Any]:
    """Read a folder with one base station as float64 arrays, without DeepMIMO."""
    names = (*PATH_ARRAYS, "inter_pos", "rx_pos", "tx_pos")
    files = {name: np.load(folder / f"{name}_t000_tx000_r001.npz")[name] for name in names}
    return {name: values.astype(np.float64) for name, values in files.items()}


def run_small(folder: Path, **options: Any) -> Path:
    return trace("simple_street_canyon", folder, **{**SMALL, **options})


@pytest.fixture(scope="session")
def ray_tracer() -> None:
    # In a process of its own: an LLVM that is too old does not raise, it crashes.
    pytest.importorskip("deepmimo")
    probe = (
        "import sionna.rt as rt; s = rt.load_scene(rt.scene.simple_reflector); "
        "s.tx_array = s.rx_array = rt.PlanarArray("
        "num_rows=1, num_cols=1, pattern='iso', polarization='V'); "
        "s.add(rt.Transmitter('t', [0, 0, 3])); s.add(rt.Receiver('r', [1, 1, 3])); "
        "rt.PathSolver(deterministic=True)(s).a[0].numpy()"
    )
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        pytest.skip(f"Sionna RT cannot trace here (exit status {result.returncode}): {last}")


@pytest.fixture(scope="session")
def traced(ray_tracer: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("traced") / "canyon")


@pytest.fixture(params=["bundled", pytest.param("traced", marks=pytest.mark.slow)])
def folder(request: pytest.FixtureRequest) -> Path:
    return BUNDLED if request.param == "bundled" else request.getfixturevalue("traced")


# Refusals


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"frequency": 0.0}, "frequency is 0.0 Hz"),
        ({"frequency": float("nan")}, "frequency is nan Hz"),
        ({"base_station": (1.0, 2.0)}, "base_station is .* 3 finite coordinates"),
        ({"base_station": (1.0, 2.0, float("inf"))}, "base_station is .* 3 finite coordinates"),
        ({"x": (1.0,)}, "x is .* 2 finite coordinates"),
        ({"x": (3.0, 3.0)}, "x is .* must be below the last"),
        ({"y": (4.0, -4.0)}, "y is .* must be below the last"),
        ({"x": (0.0, 1e-44)}, "x is .* must be below the last"),
        ({"users": (0, 5)}, "users is .* two positive numbers"),
        ({"users": (3,)}, "users is .* two positive numbers"),
        ({"user_height": float("nan")}, "user_height is .* finite"),
        ({"max_depth": 0}, "max_depth is 0, it must be from 1 to 8"),
        ({"max_depth": 9}, "max_depth is 9, it must be from 1 to 8"),
        ({"num_samples": 0}, "num_samples is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**64}, "seed is 18446744073709551616, it must be below"),
        ({"num_samples": 10**18}, "num_samples is 1000000000000000000, it must be at most"),
        ({"users": (10**5, 10**5)}, "users is .* at most 10000000 can be traced"),
        ({"x": (0.0, 1e300)}, "x is .* coordinates reach to"),
        ({"base_station": (0.0, 0.0, 1e300)}, "base_station is .* coordinates reach to"),
        ({"frequency": 1e300}, "frequency is 1e.300 Hz, it must be at most"),
    ],
)
def test_bad_argument_is_refused_in_one_sentence_before_anything_is_written(
    tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence) as refusal:
        trace("munich", tmp_path / "new" / "folder", **options)
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).endswith(".")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["Munich", "a:b", "what?", "a\0b", "a" * 300])
def test_name_that_deepmimo_cannot_load_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="DeepMIMO cannot load a folder named"):
        trace("munich", tmp_path / name)


def test_existing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="choose another folder or overwrite it"):
        trace("munich", tmp_path)


def test_folder_that_is_no_scenario_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(FileExistsError, match="is not a DeepMIMO scenario"):
        trace("munich", tmp_path, overwrite=True)
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"folder cannot be written, .*/file: File exists\.$"):
        trace("munich", tmp_path / "file" / "folder")


@pytest.mark.slow
def test_unknown_scene_is_refused_with_the_known_ones(ray_tracer: None, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'atlantis' is neither an XML file nor one of .*munich"):
        trace("atlantis", tmp_path / "folder")
    (tmp_path / "broken.xml").write_text("<scene>")
    with pytest.raises(ValueError, match="is not a scene that Sionna RT can load"):
        trace(tmp_path / "broken.xml", tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


@pytest.mark.slow
def test_users_out_of_reach_leave_nothing_behind(ray_tracer: None, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="No path reaches any user"):
        trace(
            "simple_reflector",
            tmp_path / "folder",
            base_station=(0.0, 0.0, -3.0),
            x=(-0.1, 0.1),
            y=(-0.1, 0.1),
            users=(2, 2),
            user_height=3.0,
            num_samples=1000,
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_missing_llvm_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("sionna.rt")
    script = (
        "import mitsuba as mi, sys\n"
        "from neumatc_mimo.scenario.tracing import trace\n"
        "try: trace('munich', sys.argv[1])\n"
        "except ImportError as error: print(error)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "folder")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={"DRJIT_LIBLLVM_PATH": "/nonexistent", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert result.stdout.startswith("Ray tracing needs a GPU, or an LLVM that Dr.Jit can use")
    assert result.stdout.count("\n") == 1


# Numerics without a ray tracer


@pytest.mark.parametrize("num_paths", [0, 3, 40])
def test_the_strongest_paths_keep_their_channel(num_paths: int) -> None:
    rng = np.random.default_rng(num_paths)
    shape = (4, 1, 1, 1, num_paths)
    # An identity per path, carried by every array, shows that all are sorted alike.
    identity = np.broadcast_to(np.arange(num_paths, dtype=float), shape)
    a = rng.standard_normal((2, *shape))
    paths = {
        "a": a[0] + 1j * a[1],
        "tau": rng.uniform(0, 1e-6, shape),
        **{name: identity for name in ("phi_r", "phi_t", "theta_r", "theta_t")},
        "interactions": np.broadcast_to(identity, (5, *shape)),
        "vertices": np.broadcast_to(identity[..., None], (5, *shape, 3)),
        "sources": np.zeros((1, 3)),
    }
    kept = tracing._strongest_first(paths, FREQUENCY)

    strength = np.abs(kept["a"])
    assert strength.shape[-1] == min(num_paths, 25)
    assert np.all(np.diff(strength) <= 0)
    order = kept["phi_r"].astype(int)
    carried = (paths["a"] * np.exp(-2j * np.pi * FREQUENCY * paths["tau"]))[0, 0, 0, 0]
    assert np.allclose(kept["a"][0, 0, 0, 0], carried[order[0, 0, 0, 0]], atol=1e-5)
    for name in ("phi_t", "theta_r", "theta_t", "interactions"):
        assert np.all(kept[name] == order)
    assert np.all(kept["vertices"] == order[..., None])
    assert kept["sources"] is paths["sources"]


# Physics of a traced folder: of the bundled one always, of a fresh one in slow runs


def test_line_of_sight_is_free_space(folder: Path) -> None:
    data = arrays(folder)
    user, path = np.nonzero(data["inter"] == 0)
    assert user.size > 0
    assert np.unique(user).size == user.size
    offset = data["rx_pos"][user] - data["tx_pos"]
    distance = np.linalg.norm(offset, axis=1)
    delay = data["delay"][user, path]
    assert np.allclose(delay, distance / SPEED_OF_LIGHT, rtol=0, atol=1e-12)
    assert np.all(delay == np.nanmin(data["delay"][user], axis=1))

    gain = 20 * np.log10(SPEED_OF_LIGHT / FREQUENCY / (4 * np.pi * distance))
    assert np.allclose(data["power"][user, path], gain, atol=1e-3)
    assert np.all(np.diff(data["power"][user, path][np.argsort(distance)]) < 1e-3)

    turn = np.exp(1j * np.deg2rad(data["phase"][user, path]))
    assert np.allclose(turn, np.exp(-2j * np.pi * FREQUENCY * delay), atol=1e-2)

    azimuth = np.arctan2(offset[:, 1], offset[:, 0])
    zenith = np.arccos(offset[:, 2] / distance)
    departure = np.deg2rad(data["aod_az"][user, path])
    assert np.allclose(np.exp(1j * departure), np.exp(1j * azimuth), atol=1e-5)
    assert np.allclose(np.deg2rad(data["aod_el"][user, path]), zenith, atol=1e-5)


def test_delay_is_the_length_of_the_path(folder: Path) -> None:
    data = arrays(folder)
    for user, path in zip(*np.nonzero(~np.isnan(data["power"])), strict=True):
        bounces = data["inter_pos"][user, path]
        bounces = bounces[~np.isnan(bounces[:, 0])]
        code = int(data["inter"][user, path])
        assert code == int("1" * len(bounces) or "0")
        points = np.vstack([data["tx_pos"].reshape(1, 3), bounces, data["rx_pos"][user]])
        length = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
        assert abs(length / SPEED_OF_LIGHT - data["delay"][user, path]) < 1e-11


def test_no_path_beats_free_space_over_its_length(folder: Path) -> None:
    data = arrays(folder)
    bound = -20 * np.log10(4 * np.pi * FREQUENCY * data["delay"])
    active = ~np.isnan(data["power"])
    assert np.all(data["power"][active] < bound[active] + 1e-3)


def test_paths_lie_strongest_first_without_gaps(folder: Path) -> None:
    data = arrays(folder)
    active = ~np.isnan(data["power"])
    assert active.shape[1] <= 25
    assert np.all(np.diff(active.astype(int), axis=1) <= 0)
    assert np.all(np.diff(np.where(active, data["power"], -1e3), axis=1) <= 0)
    for name in PATH_ARRAYS:
        assert np.array_equal(np.isnan(data[name]), ~active)


def test_deepmimo_loads_the_folder(folder: Path) -> None:
    deepmimo = pytest.importorskip("deepmimo")
    before = deepmimo.config.get("scenarios_folder")
    deepmimo.config.set("scenarios_folder", str(folder.parent))
    try:
        dataset = deepmimo.load(folder.name)
    finally:
        deepmimo.config.set("scenarios_folder", before)
    data = arrays(folder)
    assert np.array_equal(dataset.num_paths, (~np.isnan(data["power"])).sum(axis=1))
    assert np.array_equal(dataset.delay, data["delay"], equal_nan=True)
    assert dataset.has_valid_grid()
    assert dataset.rt_params["frequency"] == FREQUENCY
    assert len(dataset.scene.objects) > 0


def test_bundled_folder_is_small_and_has_the_default_grid() -> None:
    files = list(BUNDLED.iterdir())
    assert {file.suffix for file in files} == {".json", ".npz"}
    assert sum(file.stat().st_size for file in files) < 4e6
    positions = arrays(BUNDLED)["rx_pos"].reshape(25, 30, 3)
    assert np.allclose(positions[:, :, 0], np.linspace(-60, 120, 30), atol=1e-5)
    assert np.allclose(positions[:, :, 1], np.linspace(20, 160, 25)[:, None], atol=1e-5)
    assert np.all(positions[:, :, 2] == 1.5)


# The run itself


@pytest.mark.slow
def test_run_is_quiet_and_leaves_only_the_folder(
    ray_tracer: None,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ask(*_: object) -> str:
        raise AssertionError("standard input was asked")

    monkeypatch.setattr(builtins, "input", ask)
    monkeypatch.chdir(tmp_path)
    events: list[Event] = []
    written = run_small(Path("canyon"), callback=events.append)
    assert capfd.readouterr().out == ""
    assert written == tmp_path / "canyon"
    assert list(tmp_path.iterdir()) == [written]
    assert {file.suffix for file in written.iterdir()} == {".json", ".npz"}
    done = [event.done for event in events]
    assert done == sorted(set(done))
    assert done[-1] == 30
    assert {(event.total, event.unit) for event in events} == {(30, "users")}


@pytest.mark.slow
def test_paths_do_not_depend_on_batches_nor_on_what_was_there(
    traced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "_MAX_USERS_PER_BATCH", 7)
    again = run_small(tmp_path / "canyon", users=(3, 3))
    run_small(again, overwrite=True)
    assert list(tmp_path.iterdir()) == [again]
    first, second = arrays(traced), arrays(again)
    for name, values in first.items():
        assert np.allclose(values, second[name], rtol=1e-6, atol=1e-6, equal_nan=True), name
