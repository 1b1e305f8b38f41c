"""Ray-traced paths out of DeepMIMO's data sets, checked."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neumatc_mimo.scenario.array_config import StationArray
from neumatc_mimo.scenario.base_station import BaseStation, Paths
from neumatc_mimo.scenario.data_config import DeepMIMOConfig
from neumatc_mimo.scenario.deepmimo_folder import load_folder, quiet
from neumatc_mimo.scenario.deepmimo_motion import (
    copied,
    directions,
    path_doppler,
    scenes_of,
    set_velocities,
    update_digest,
)
from neumatc_mimo.scenario.deepmimo_users import (
    NotInDataError,
    chosen_users,
    in_view,
    joined,
    received_by,
)
from neumatc_mimo.scenario.schema import ScenarioConfig

_LOGGER = logging.getLogger(__name__)

# What channels need; the interactions, the bulk of a large folder, stay on disk unless Doppler
# shifts of moving objects need them.
_PATH_ARRAYS = ("power", "phase", "delay", "aoa_az", "aoa_el", "aod_az", "aod_el")
_POSITIONS = ("rx_pos", "tx_pos")
_INTERACTIONS = ("inter", "inter_pos")


@dataclass(frozen=True, eq=False, kw_only=True)
class DeepMIMOStation(BaseStation):
    """A base station of a DeepMIMO data set.

    :param dataset: DeepMIMO's data set of this transmitter and its receivers
    :param array: The base station's antenna array
    :param seed: Of rotations that are drawn
    :param selection: Which users are taken
    :param moving: Whether paths have the Doppler shifts of the data set's velocities
    """

    dataset: Any
    array: StationArray
    seed: int
    selection: DeepMIMOConfig
    moving: bool

    @cached_property
    def has_path(self) -> NDArray[np.bool_]:
        """Within the fields of view."""
        found: NDArray[np.bool_] = np.any(~np.isnan(self._seen_power), axis=1)
        return found

    @cached_property
    def chosen(self) -> NDArray[np.bool_]:
        return chosen_users(self.dataset, self.selection)

    @property
    def powers(self) -> NDArray[np.float64]:
        """In milliwatts for one sent, with the patterns of single antennas."""
        return np.nansum(self._seen_power, axis=1)

    def paths(self, users: NDArray[np.int64], ue: tuple[int, int]) -> Paths:
        """The spacing of the users' arrays is the base station's."""
        subset = self.dataset.trim(idxs=users)
        with quiet():
            # They mean nothing at time zero, and deepmimo would compute those of moving objects.
            subset.set_doppler(0.0)
            coefficients = subset.compute_channels(
                **self._antennas(users, ue),
                freq_domain=0,  # one coefficient a path: deepmimo drops no late path here
                num_paths=subset.delay.shape[1],
            )
        # compute_channels moves missing paths to the end; everything else must follow.
        found = np.isfinite(np.asarray(subset.power))
        order = np.argsort(~found, axis=1, kind="stable")
        found = np.take_along_axis(found, order, axis=1)
        num_paths = int(found.sum(axis=1).max())
        order, found = order[:, :num_paths], found[:, :num_paths]
        found = found & np.take_along_axis(self._in_view(subset), order, axis=1)
        delays = np.take_along_axis(np.asarray(subset.delay, np.float64), order, axis=1)
        first = np.where(found, delays, np.inf).min(axis=1, keepdims=True)
        steering = None
        if self.array.common.beam_squint:
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
        if self.array.common.ue_rotation_range is not None:
            digest.update(self._ue_rotation(users).tobytes())
        if self.moving:
            update_digest(digest, self.dataset, users)

    def _antennas(self, users: NDArray[np.int64], ue: tuple[int, int]) -> dict[str, Any]:
        """Parameters of DeepMIMO's ``compute_channels`` for the arrays of both ends."""
        common = self.array.common
        return {
            "bs_antenna": {
                "shape": list(self.array.bs),
                "spacing": common.spacing,
                "rotation": list(self.array.rotation),
                "radiation_pattern": common.pattern,
            },
            "ue_antenna": {
                "shape": list(ue),
                "spacing": common.spacing,
                "rotation": self._ue_rotation(users),
                "radiation_pattern": common.ue_pattern,
            },
        }

    def _ue_rotation(self, users: NDArray[np.int64]) -> NDArray[np.float64]:
        """Degrees about x, y and z, [3], or where they are drawn [num_users, 3]: a user's depends
        on the seed and its index alone, so that it is the same in every link.
        """
        common = self.array.common
        if common.ue_rotation_range is None:
            return np.array(common.ue_rotation)
        low, high = np.array(common.ue_rotation_range).T
        draws = [np.random.default_rng([self.seed, 4, user]).random(3) for user in users.tolist()]
        return low + np.array(draws).reshape(-1, 3) * (high - low)

    @cached_property
    def _seen_power(self) -> NDArray[np.float64]:
        """Power of the paths within the fields of view, in milliwatts for one sent, between single
        antennas, [num_users, P]; NaN for the others.
        """
        common = self.array.common
        plain = common.field_of_view is None and common.ue_field_of_view is None
        if plain and (common.pattern, common.ue_pattern) == ("isotropic", "isotropic"):
            power: NDArray[np.float64] = 10 ** (np.asarray(self.dataset.power, np.float64) / 10)
            return power
        import deepmimo

        every = np.arange(len(self.user_positions))
        own = self.dataset.trim(idxs=every)
        with quiet():
            own.set_channel_params(deepmimo.ChannelParameters(**self._antennas(every, (1, 1))))
        # DeepMIMO has watts for one that is sent.
        seen = np.asarray(own[deepmimo.consts.PWR_LINEAR_ANT_GAIN_PARAM_NAME], np.float64)
        return np.where(self._in_view(own), seen, np.nan)

    def _in_view(self, dataset: Any) -> NDArray[np.bool_]:
        """Whether paths lie within both fields of view, [num_users, P], of a data set that has been
        given the arrays.
        """
        from deepmimo import consts

        common = self.array.common
        seen = np.ones(np.asarray(dataset.power).shape, np.bool_)
        for view, elevation, azimuth in (
            (common.field_of_view, consts.AOD_EL_ROT_PARAM_NAME, consts.AOD_AZ_ROT_PARAM_NAME),
            (common.ue_field_of_view, consts.AOA_EL_ROT_PARAM_NAME, consts.AOA_AZ_ROT_PARAM_NAME),
        ):
            if view is not None:
                seen &= in_view(view, np.asarray(dataset[elevation]), np.asarray(dataset[azimuth]))
        return seen

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
            ends.append(2 * np.pi * self.array.common.spacing * direction)
        return ends[0][:, :, None, :] + ends[1][:, None, :, :]


def load_base_stations(config: ScenarioConfig, dataset: Any = None) -> list[BaseStation]:
    """Load the base stations that a scenario names, in its order.

    A scenario of the database that is not on disk is downloaded, after a log message; it lies in
    DeepMIMO's own folder, ``deepmimo.config.get("scenarios_folder")``, from then on.

    :param dataset: DeepMIMO's data set, instead of the one that the scenario names

    :raises FileNotFoundError: If the scenario folder does not exist
    :raises ConnectionError: If a scenario cannot be downloaded
    :raises ValueError: If the folder is damaged, or lacks a scene, a base station, users with a
        path, or anything that moves where the scenario asks for its motion
    """
    source = config.deepmimo
    if source is None:
        raise ValueError(f"{config.file} has no section [deepmimo], add one.")
    folder = None
    moving = config.motion is not None and config.motion.source == "deepmimo"
    if dataset is None:
        folder = config.data_folder() or _database_folder(config)
        if not folder.is_dir():
            raise FileNotFoundError(config.no_folder(folder))
    try:
        if folder is not None:
            sees = source.line_of_sight is not None
            matrices = [*_PATH_ARRAYS, *_POSITIONS]
            matrices += _INTERACTIONS if moving else _INTERACTIONS[:1] if sees else ()
            dataset = load_folder(folder, source.max_paths, matrices, source.rx_sets)
        scenes = scenes_of(dataset)
        if source.rx_sets is not None:
            scenes = [received_by(scene, source.rx_sets) for scene in scenes]
        if source.join_grids:
            scenes = [joined(scene) for scene in scenes]
        if folder is None and moving:
            # Velocities are set on it: the caller's own may serve other scenarios.
            scenes = [[copied(pair) for pair in scene] for scene in scenes]
        # The others are known by their positions alone.
        scene = scenes[min(source.scene, len(scenes) - 1)]
        pairs = [_Pair.of(pair) for pair in scene]
    except NotInDataError as error:
        raise ValueError(f"{config.file}: {error}") from None
    except Exception as error:  # deepmimo fails in as many ways as files can be damaged
        what = "data set" if folder is None else f"scenario folder {folder}"
        raise ValueError(
            f"The {what} is damaged or not in DeepMIMO v4 format "
            f"({type(error).__name__}: {_one_line(error)}), convert or copy it again."
        ) from error
    place = folder or "the data set"
    if source.scene >= len(scenes):
        raise ValueError(
            f"{config.file}: scene in [deepmimo] is {source.scene}, {place} has scenes 0 "
            f"to {len(scenes) - 1}."
        )
    if moving and config.motion is not None:
        with quiet():
            set_velocities(scenes, source.scene, config.motion, str(config.file))
    chosen: list[BaseStation] = []
    for number, index in enumerate(source.base_station):
        if index >= len(pairs):
            raise ValueError(
                f"{config.file}: base_station in [deepmimo] is {index}, {place} has base "
                f"stations 0 to {len(pairs) - 1}."
            )
        station = pairs[index].station(config, source, number, moving)
        try:
            able = station.able
        except NotInDataError as error:
            raise ValueError(f"{config.file}: {error}") from None
        if not station.has_path.any():
            raise ValueError(
                f"{config.file}: no user of {place} has a path from base station {index}, "
                "choose another."
            )
        if not able.any():
            raise ValueError(
                f"{config.file}: no user that [deepmimo] selects has a path from base station "
                f"{index}, select others."
            )
        chosen.append(station)
    return chosen


@dataclass(frozen=True)
class _Pair:
    """What is read of a transmitter and its receivers, checked."""

    dataset: Any
    position: NDArray[np.float64]
    user_positions: NDArray[np.float64]
    carrier_frequency: float

    @classmethod
    def of(cls, dataset: Any) -> _Pair:
        """:raises ValueError: If its numbers are not those of paths"""
        values = {name: np.asarray(dataset[name]) for name in (*_PATH_ARRAYS, *_POSITIONS)}
        num_users = len(values["rx_pos"])
        for name in _PATH_ARRAYS:
            if values[name].ndim != 2 or values[name].shape != (
                num_users,
                values["power"].shape[1],
            ):
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
        return cls(
            dataset,
            values["tx_pos"].astype(np.float64).reshape(3),
            values["rx_pos"].astype(np.float64).reshape(num_users, 3),
            frequency,
        )

    def station(
        self, config: ScenarioConfig, source: DeepMIMOConfig, number: int, moving: bool
    ) -> DeepMIMOStation:
        """The base station in some place of the scenario's list."""
        return DeepMIMOStation(
            **vars(self),
            array=config.array.of(number),
            seed=config.seed,
            selection=source,
            moving=moving,
        )


def _database_folder(config: ScenarioConfig) -> Path:
    """Return the folder of a scenario in the DeepMIMO database; download it if need be."""
    if config.deepmimo is None or config.deepmimo.scenario is None:
        raise ValueError(
            f"{config.file}: [deepmimo] has neither path nor scenario, give one of them, or the "
            "data set to nm.Scenario.from_deepmimo."
        )
    name = config.deepmimo.scenario.lower()
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
