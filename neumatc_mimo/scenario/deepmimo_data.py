"""Ray-traced paths out of DeepMIMO's data sets, checked."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neumatc_mimo.scenario.deepmimo_folder import load_folder, quiet
from neumatc_mimo.scenario.deepmimo_motion import (
    copied,
    directions,
    path_doppler,
    scenes_of,
    set_velocities,
    update_digest,
)
from neumatc_mimo.scenario.schema import ArrayConfig, DeepMIMOConfig, ScenarioConfig

_LOGGER = logging.getLogger(__name__)

# What channels need; the interactions, the bulk of a large folder, stay on disk unless Doppler
# shifts of moving objects need them.
_PATH_ARRAYS = ("power", "phase", "delay", "aoa_az", "aoa_el", "aod_az", "aod_el")
_POSITIONS = ("rx_pos", "tx_pos")
_INTERACTIONS = ("inter", "inter_pos")


class Paths(NamedTuple):
    """The paths of some users; users with fewer than P paths are filled up at the end.

    :param coefficients: With array responses and phases, [num_users, ue antennas, bs antennas, P],
        complex128; 0 where a path is missing
    :param delays: Seconds, [num_users, P], float64; the first arrival where a path is missing
    :param steering: Phase of the array response in radians, not wrapped,
        [num_users, ue antennas, bs antennas, P], float64; None without beam squint
    :param arrivals: Unit vectors from a user to where paths come from, [num_users, P, 3], float64;
        zero where a path is missing
    :param doppler: Doppler shifts of DeepMIMO's velocities in Hz, [num_users, P], float64; zero
        where a path is missing, None unless the scenario asks for them
    """

    coefficients: NDArray[np.complex128]
    delays: NDArray[np.float64]
    steering: NDArray[np.float64] | None
    arrivals: NDArray[np.float64]
    doppler: NDArray[np.float64] | None


@dataclass(frozen=True, eq=False)
class BaseStation:
    """One base station and the users around it.

    :param dataset: DeepMIMO's data set of this transmitter and its receivers
    :param array: The base station's antenna array
    :param position: Metres, [3]
    :param user_positions: Metres, [num_users, 3]
    :param has_path: Whether any path reaches a user, [num_users]
    :param carrier_frequency: Hz
    :param moving: Whether paths have the Doppler shifts of the data set's velocities
    """

    dataset: Any
    array: ArrayConfig
    position: NDArray[np.float64]
    user_positions: NDArray[np.float64]
    has_path: NDArray[np.bool_]
    carrier_frequency: float
    moving: bool

    @property
    def powers(self) -> NDArray[np.float64]:
        """Power of all paths of each user together, in milliwatts for one sent, [num_users]."""
        power: NDArray[np.float64] = np.asarray(self.dataset.power, np.float64)
        return np.nansum(10 ** (power / 10), axis=1)

    def paths(self, users: NDArray[np.int64], ue: tuple[int, int]) -> Paths:
        """Return the paths of some users.

        :param users: Indices of distinct users, [num_users]
        :param ue: Shape of the users' antenna array; its spacing is the base station's
        """
        subset = self.dataset.trim(idxs=users)
        with quiet():
            # They mean nothing at time zero, and deepmimo would compute those of moving objects.
            subset.set_doppler(0.0)
            coefficients = subset.compute_channels(
                bs_antenna={
                    "shape": list(self.array.bs),
                    "spacing": self.array.spacing,
                    "rotation": list(self.array.rotation),
                },
                ue_antenna={"shape": list(ue), "spacing": self.array.spacing},
                freq_domain=0,  # one coefficient a path: deepmimo drops no late path here
                num_paths=subset.delay.shape[1],
            )
        # compute_channels moves missing paths to the end; everything else must follow.
        found = np.isfinite(np.asarray(subset.power))
        order = np.argsort(~found, axis=1, kind="stable")
        found = np.take_along_axis(found, order, axis=1)
        num_paths = int(found.sum(axis=1).max())
        order, found = order[:, :num_paths], found[:, :num_paths]
        delays = np.take_along_axis(np.asarray(subset.delay, np.float64), order, axis=1)
        first = np.where(found, delays, np.inf).min(axis=1, keepdims=True)
        steering = None
        if self.array.beam_squint:
            phase = self._steering(subset, ue)
            phase = np.take_along_axis(phase, order[:, None, None, :], axis=3)
            steering = np.where(found[:, None, None, :], phase, 0.0)
        coefficients = np.where(found[:, None, None, :], coefficients[..., :num_paths], 0.0).astype(
            np.complex128
        )
        arrivals = np.take_along_axis(directions(subset, "aoa"), order[..., None], axis=1)
        arrivals = np.where(found[..., None], arrivals, 0.0)
        doppler = None
        if self.moving:
            with quiet():
                shifts = path_doppler(self.dataset, users)
            doppler = np.where(found, np.take_along_axis(shifts, order, axis=1), 0.0)
        return Paths(coefficients, np.where(found, delays, first), steering, arrivals, doppler)

    def update_digest(self, digest: Any, users: NDArray[np.int64]) -> None:
        """Add the files' own numbers on some users to a hash; they are the same everywhere."""
        digest.update(np.float64(self.carrier_frequency).tobytes())
        digest.update(self.position.tobytes() + self.user_positions[users].tobytes())
        for name in _PATH_ARRAYS:
            values = np.ascontiguousarray(np.asarray(self.dataset[name])[users])
            digest.update(f"{name} {values.dtype} {values.shape}".encode() + values.tobytes())
        if self.moving:
            update_digest(digest, self.dataset, users)

    def _steering(self, subset: Any, ue: tuple[int, int]) -> NDArray[np.float64]:
        """Phases of the array responses; deepmimo only has them wrapped, as exponentials."""
        from deepmimo import consts

        ends = []
        for elevation, azimuth, (width, height) in (
            (consts.AOA_EL_ROT_PARAM_NAME, consts.AOA_AZ_ROT_PARAM_NAME, ue),
            (consts.AOD_EL_ROT_PARAM_NAME, consts.AOD_AZ_ROT_PARAM_NAME, self.array.bs),
        ):
            theta = np.asarray(subset[elevation], np.float64)[:, None, :]
            phi = np.asarray(subset[azimuth], np.float64)[:, None, :]
            # Panels stand in the y-z plane and are counted along y first.
            y = np.tile(np.arange(width), height)[None, :, None]
            z = np.repeat(np.arange(height), width)[None, :, None]
            direction = y * np.sin(theta) * np.sin(phi) + z * np.cos(theta)
            ends.append(2 * np.pi * self.array.spacing * direction)
        return ends[0][:, :, None, :] + ends[1][:, None, :, :]


def load_base_stations(config: ScenarioConfig, dataset: Any = None) -> list[BaseStation]:
    """Load the base stations that a scenario names, in its order.

    A scenario of the database that is not on disk is downloaded, after a log message; it lies in
    DeepMIMO's own folder, ``deepmimo.config.get("scenarios_folder")``, from then on.

    :param dataset: DeepMIMO's data set, in the place of the one that the scenario names

    :raises FileNotFoundError: If the scenario folder does not exist
    :raises ConnectionError: If a scenario cannot be downloaded
    :raises ValueError: If the folder is damaged, or lacks a scene, a base station, users with a
        path, or anything that moves where the scenario asks for its motion
    """
    folder = None
    moving = config.motion is not None and config.motion.source == "deepmimo"
    if dataset is None:
        folder = config.data_folder() or _database_folder(config.deepmimo)
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{config.file}: there is no scenario folder {folder}, correct path in [deepmimo]."
            )
    try:
        if folder is not None:
            matrices = [*_PATH_ARRAYS, *_POSITIONS, *(_INTERACTIONS if moving else ())]
            dataset = load_folder(folder, config.deepmimo.max_paths, matrices)
        scenes = scenes_of(dataset)
        if folder is None and moving:
            # Velocities are set on it: the caller's own may serve other scenarios.
            scenes = [[copied(pair) for pair in scene] for scene in scenes]
        # The others are known by their positions alone.
        scene = scenes[min(config.deepmimo.scene, len(scenes) - 1)]
        stations = [_base_station(pair, config.array, moving) for pair in scene]
    except Exception as error:  # deepmimo fails in as many ways as files can be damaged
        what = "data set" if folder is None else f"scenario folder {folder}"
        raise ValueError(
            f"The {what} is damaged or not in DeepMIMO v4 format "
            f"({type(error).__name__}: {_one_line(error)}), convert or copy it again."
        ) from error
    source = folder or "the data set"
    if config.deepmimo.scene >= len(scenes):
        raise ValueError(
            f"{config.file}: scene in [deepmimo] is {config.deepmimo.scene}, {source} has scenes 0 "
            f"to {len(scenes) - 1}."
        )
    if moving and config.motion is not None:
        with quiet():
            set_velocities(scenes, config.deepmimo.scene, config.motion, str(config.file))
    chosen = []
    for index in config.deepmimo.base_station:
        if index >= len(stations):
            raise ValueError(
                f"{config.file}: base_station in [deepmimo] is {index}, {source} has base "
                f"stations 0 to {len(stations) - 1}."
            )
        if not stations[index].has_path.any():
            raise ValueError(
                f"{config.file}: no user of {source} has a path from base station {index}, "
                "choose another."
            )
        chosen.append(stations[index])
    return chosen


def _base_station(dataset: Any, array: ArrayConfig, moving: bool) -> BaseStation:
    values = {name: np.asarray(dataset[name]) for name in (*_PATH_ARRAYS, *_POSITIONS)}
    num_users = len(values["rx_pos"])
    for name in _PATH_ARRAYS:
        if values[name].ndim != 2 or values[name].shape != (num_users, values["power"].shape[1]):
            raise ValueError(f"{name} has the shape {values[name].shape} for {num_users} users")
    found = ~np.isnan(values["power"])
    if not np.isfinite(values["power"][found]).all():
        raise ValueError("a path has infinite power")
    if any(not np.isfinite(values[name][found]).all() for name in _PATH_ARRAYS):
        raise ValueError("a path with power lacks its phase, delay or angles")
    for name in _POSITIONS:
        if not np.isfinite(values[name]).all():
            raise ValueError(f"{name} has positions that are not finite")
    frequency = float(dataset.rt_params["frequency"])
    if not (math.isfinite(frequency) and frequency > 0):
        raise ValueError(f"the carrier frequency is {frequency} Hz")
    return BaseStation(
        dataset=dataset,
        array=array,
        position=values["tx_pos"].astype(np.float64).reshape(3),
        user_positions=values["rx_pos"].astype(np.float64).reshape(num_users, 3),
        has_path=found.any(axis=1),
        carrier_frequency=frequency,
        moving=moving,
    )


def _database_folder(config: DeepMIMOConfig) -> Path:
    """Return the folder of a scenario in the DeepMIMO database; download it if need be."""
    name = str(config.scenario).lower()
    with quiet():
        import deepmimo
    folder = Path.cwd() / deepmimo.config.get("scenarios_folder") / name
    if folder.is_dir():
        return folder
    _LOGGER.warning('Downloading the DeepMIMO scenario "%s" to %s.', name, folder)
    cause: Exception | None = None
    with quiet() as printed:
        try:
            deepmimo.download(name)
        except Exception as error:  # whatever it is, there is no scenario
            cause = error
    _LOGGER.info("deepmimo.download: %s", printed.getvalue())
    if not folder.is_dir():
        raise ConnectionError(
            f'The DeepMIMO scenario "{name}" is not in {folder.parent} and could not be '
            "downloaded, check its name and the network, or set path in [deepmimo]."
        ) from cause
    return folder


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
