"""Ray tracing: a Sionna RT scene becomes a DeepMIMO v4 scenario folder."""

from __future__ import annotations

import io
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np
from numpy.typing import NDArray

from neumatc_mimo.foundation.ray_tracing import LLVM_HINT, computes
from neumatc_mimo.foundation.waves import wave
from neumatc_mimo.progress import Callbacks, Event, reported
from neumatc_mimo.storage.names import is_plain

# DeepMIMO's converter keeps 25 paths of a user, and writes the interactions of a path as the
# decimal digits of one float32, which is exact up to 8 digits.
_MAX_PATHS = 25
_MAX_DEPTH = 8

# The solver drops a path when its hash is taken in a table of this size. With its default of 10^6
# entries and ten users at once, one path in a hundred went missing in Munich, a different one for
# each way to batch the users; with these limits none does, at 3 GB of memory.
_MAX_CANDIDATES = 10**7
_RAYS_PER_BATCH = 5 * 10**6  # rays times users
_MAX_USERS_PER_BATCH = 50

# Beyond, a number is a slip of the pen, or single precision has no digits left for it.
_MOST_HERTZ = 1e15
_MOST_RAYS = 10**10
_MOST_METRES = 1e7
_MOST_USERS = 10**7


def trace(
    scene: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    frequency: float = 3.5e9,
    base_station: Sequence[float] = (8.5, 21.0, 27.0),
    x: Sequence[float] = (-60.0, 120.0),
    y: Sequence[float] = (20.0, 160.0),
    users: Sequence[int] = (30, 25),
    user_height: float = 1.5,
    max_depth: int = 5,
    num_samples: int = 10**6,
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = True,
    callback: Callbacks = None,
) -> Path:
    r"""Trace the paths from one base station to a grid of users into a DeepMIMO folder.

    Line of sight and specular reflections are traced between single, isotropic, vertically
    polarised antennas; antenna arrays are applied by whoever loads the folder. Path :math:`i` is
    stored with its absolute delay :math:`\tau_i` and the coefficient

    .. math:: a_i e^{-j 2\pi f_c \tau_i},

    where :math:`a_i` is Sionna's ``Paths.a``: DeepMIMO expects the phase that the carrier gains
    on the way to be part of the path's phase, ``Paths.a`` leaves it out. The 25 strongest paths
    of a user are kept. Users whom no path reaches, as those inside buildings, stay in the grid.

    :param scene: Name of a built-in scene of Sionna RT, such as "munich", or path of a scene XML
    :param folder: Scenario folder to write; its name must be lower case, as DeepMIMO's names are
    :param frequency: Carrier frequency :math:`f_c` [Hz]
    :param base_station: Position of the base station [m]
    :param x: First and last x coordinate of the users [m]
    :param y: First and last y coordinate of the users [m]
    :param users: Number of users along x and along y; x runs fastest in the folder
    :param user_height: Height of the users [m]
    :param max_depth: Largest number of reflections of a path, 1 to 8
    :param num_samples: Number of rays that leave the base station
    :param seed: Seed of the ray tracer; the same seed gives the same paths
    :param overwrite: Replace the folder if it is a DeepMIMO scenario already
    :param progress: Show a progress bar, in a terminal or a notebook
    :param callback: Told of the users done, after every batch

    :return: Path of the folder
    :raises ValueError: If an argument is out of range, or the scene is unknown
    :raises FileExistsError: If the folder exists and may not be replaced
    :raises OSError: If the folder cannot be written
    :raises ImportError: If Sionna RT or DeepMIMO is missing, or neither a GPU nor LLVM is found
    :raises RuntimeError: If no path reaches any user
    """
    _check_numbers(frequency, max_depth, num_samples, seed)
    _check_point("base_station", base_station, 3)
    positions = _user_grid(x, y, users, user_height)
    target = _check_target(folder, overwrite)
    options = {
        "max_depth": max_depth,
        "samples_per_src": num_samples,
        "max_num_paths_per_src": _MAX_CANDIDATES,
        "synthetic_array": False,
        "los": True,
        "specular_reflection": True,
        "diffuse_reflection": False,
        "refraction": False,
        "seed": seed,
    }
    with reported(callback, progress) as tell, _workspace(target) as workspace:
        rt, exporter, convert = _import_tracers()
        loaded = _load_scene(rt, os.fspath(scene), frequency, base_station)
        solver = rt.PathSolver(deterministic=True)
        size = min(max(_RAYS_PER_BATCH // num_samples, 1), _MAX_USERS_PER_BATCH)
        batches = []
        for start in range(0, len(positions), size):
            batch = positions[start : start + size]
            with _receivers(rt, loaded, batch):
                paths = exporter.export_paths(solver(loaded, **options))[0]
            batches.append(_strongest_first(paths, frequency))
            tell(Event("tracing", start + len(batch), len(positions), "users"))
        if not any(np.any(paths["a"]) for paths in batches):
            raise RuntimeError("No path reaches any user, move the base station or the users.")

        # The pickles between exporter and converter are read right here and go with the workspace.
        pickles = str(workspace / "sionna")
        with _silence():
            exporter.sionna_exporter(loaded, batches, options, pickles)
            convert(
                pickles,
                parent_folder=str(workspace),
                scenario_name="converted",
                overwrite=True,  # else it may ask on standard input
                vis_scene=False,
            )
        _put(workspace / "converted", target, workspace / "replaced")
    return target


def _put(folder: Path, target: Path, aside: Path) -> None:
    """Put a folder in the place of another one, which comes back if that fails."""
    replaced = target.exists()
    if replaced:
        target.rename(aside)
    try:
        folder.rename(target)
    except BaseException:
        if replaced:
            aside.rename(target)
        raise


def _check_numbers(frequency: float, max_depth: int, num_samples: int, seed: int) -> None:
    if not (math.isfinite(frequency) and frequency > 0):
        raise ValueError(f"frequency is {frequency} Hz, it must be positive and finite.")
    if frequency > _MOST_HERTZ:
        raise ValueError(f"frequency is {frequency} Hz, it must be at most {_MOST_HERTZ:g} Hz.")
    if not 1 <= max_depth <= _MAX_DEPTH:
        raise ValueError(f"max_depth is {max_depth}, it must be from 1 to {_MAX_DEPTH}.")
    if num_samples < 1:
        raise ValueError(f"num_samples is {num_samples}, at least one ray is needed.")
    if num_samples > _MOST_RAYS:
        raise ValueError(f"num_samples is {num_samples}, it must be at most {_MOST_RAYS}.")
    if seed < 0:
        raise ValueError(f"seed is {seed}, it must not be negative.")
    if seed >= 2**32:
        raise ValueError(f"seed is {seed}, it must be below 2^32.")


def _check_point(name: str, point: Sequence[float], size: int) -> None:
    if len(point) != size or not all(map(math.isfinite, point)):
        raise ValueError(f"{name} is {point}, {size} finite coordinates in metres are needed.")
    if max(map(abs, point)) > _MOST_METRES:
        raise ValueError(
            f"{name} is {point}, coordinates reach to {_MOST_METRES:g} metres at most."
        )


def _user_grid(
    x: Sequence[float], y: Sequence[float], users: Sequence[int], height: float
) -> NDArray[np.float32]:
    """Positions of the users [num_users, 3]."""
    if len(users) != 2 or min(users) < 1:
        raise ValueError(f"users is {users}, two positive numbers are needed, along x and y.")
    if math.prod(users) > _MOST_USERS:
        raise ValueError(f"users is {users}, at most {_MOST_USERS} can be traced.")
    _check_point("user_height", [height], 1)
    grid = np.meshgrid(_axis("x", x, users[0]), _axis("y", y, users[1]), np.float32(height))
    return np.stack(grid, axis=-1).reshape(-1, 3)


def _axis(name: str, limits: Sequence[float], count: int) -> NDArray[np.float32]:
    _check_point(name, limits, 2)
    # In float32, as the solver has it: DeepMIMO's converter merges users at the same position.
    coordinates = np.linspace(limits[0], limits[1], count).astype(np.float32)
    if np.any(np.diff(coordinates) <= 0):
        raise ValueError(f"{name} is {limits}, the first coordinate must be below the last.")
    return coordinates


def _check_target(folder: str | os.PathLike[str], overwrite: bool) -> Path:
    target = Path(os.path.abspath(folder))
    if (
        not is_plain(target.name)
        or target.name != target.name.lower()
        or set(target.name) & set("\\:*?\"'<>|\n")
    ):
        raise ValueError(
            f"DeepMIMO cannot load a folder named {target.name!r}, "
            "use lower-case letters, digits, - and _."
        )
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists, choose another folder or overwrite it.")
    if target.exists() and not (target / "params.json").is_file():
        raise FileExistsError(f"{target} is not a DeepMIMO scenario, it is not overwritten.")
    return target


def _import_tracers() -> tuple[Any, Any, Callable[..., Any]]:
    """Sionna RT, DeepMIMO's exporter for it and DeepMIMO's converter: slow to import, optional."""
    if find_spec("mitsuba") is not None and not (computes("llvm") or computes("cuda")):
        raise ImportError(f"Ray tracing needs a GPU, or an LLVM that Dr.Jit can use: {LLVM_HINT}.")
    try:
        import sionna.rt
    except ImportError as error:
        missing = getattr(error, "name", None) or error
        raise ImportError(
            f"Ray tracing needs Sionna RT, but {missing} is missing: pip install sionna-rt."
        ) from error
    try:
        with _silence():
            from deepmimo import convert
            from deepmimo.exporters import sionna_exporter
    except ImportError as error:
        raise ImportError("Ray tracing needs the package deepmimo, version 4.") from error
    return sionna.rt, sionna_exporter, convert


@contextmanager
def _silence() -> Iterator[None]:
    """Swallow what DeepMIMO prints, draws and warns of: our standard output stays clean."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _load_scene(rt: Any, scene: str, frequency: float, base_station: Sequence[float]) -> Any:
    built_in = {name: path for name, path in vars(rt.scene).items() if str(path).endswith(".xml")}
    path = built_in.get(scene, scene)
    if not (path.endswith(".xml") and Path(path).is_file()):
        raise ValueError(
            f"Scene {scene!r} is neither an XML file nor one of {', '.join(sorted(built_in))}."
        )
    try:
        loaded = rt.load_scene(path)
    except (ParseError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{path} is not a scene that Sionna RT can load: {reason}.") from error
    loaded.frequency = frequency
    loaded.tx_array = loaded.rx_array = rt.PlanarArray(
        num_rows=1, num_cols=1, pattern="iso", polarization="V"
    )
    loaded.add(rt.Transmitter("base_station", list(base_station)))
    return loaded


@contextmanager
def _workspace(target: Path) -> Iterator[Path]:
    """Temporary folder beside the target, so that the finished scenario need only be renamed."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        workspace = tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-")
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}"
        raise OSError(f"{target} cannot be written, {reason}.") from error
    with workspace as name:
        yield Path(name)


@contextmanager
def _receivers(rt: Any, scene: Any, positions: NDArray[np.float32]) -> Iterator[None]:
    """Put receivers at these positions [num_users, 3] for a while."""
    names = [f"user_{i}" for i in range(len(positions))]
    for name, position in zip(names, positions.tolist(), strict=True):
        scene.add(rt.Receiver(name, position))
    yield
    for name in names:
        scene.remove(name)


def _strongest_first(paths: dict[str, Any], frequency: float) -> dict[str, Any]:
    """Sort and cut the exported paths of each user, and turn them by the carrier's phase.

    DeepMIMO's converter keeps the paths that come first, not the strongest ones.
    """
    # All but the positions end in a path axis; vertices have their coordinates behind it.
    a, tau = paths["a"], paths["tau"].astype(np.float64)
    order = np.argsort(-np.abs(a), axis=-1, kind="stable")[..., :_MAX_PATHS]
    a = a * wave(frequency, tau)
    ordered = {"a": np.take_along_axis(a, order, -1).astype(np.complex64)}
    for name in ("tau", "phi_r", "phi_t", "theta_r", "theta_t"):
        ordered[name] = np.take_along_axis(paths[name], order, -1)
    ordered["interactions"] = np.take_along_axis(paths["interactions"], order[None], -1)
    ordered["vertices"] = np.take_along_axis(paths["vertices"], order[None, ..., None], -2)
    return {**paths, **ordered}
