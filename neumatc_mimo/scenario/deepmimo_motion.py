"""Motion as DeepMIMO v4 has it: scenes in time, velocities, and the Doppler shifts of paths."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from neumatc_mimo.scenario.schema import MotionConfig

# m/s
SPEED_OF_LIGHT = 299_792_458.0


def scenes_of(dataset: Any) -> list[list[Any]]:
    """DeepMIMO's data sets by scene, and by pair of transmitter and receivers within each."""
    import deepmimo

    scenes = dataset.datasets if isinstance(dataset, deepmimo.DynamicDataset) else [dataset]
    return [
        list(scene.datasets) if isinstance(scene, deepmimo.MacroDataset) else [scene]
        for scene in scenes
    ]


def copied(dataset: Any) -> Any:
    """A data set of one's own; DeepMIMO's ``deepcopy`` leaves the objects of its scene shared."""
    own = dataset.deepcopy()
    own.scene = copy.deepcopy(dataset.scene)
    return own


def set_velocities(
    scenes: Sequence[Sequence[Any]], scene: int, motion: MotionConfig, file: str
) -> None:
    """Give data sets the velocities that a scenario names, with DeepMIMO's own setters.

    Those of a dynamic data set follow from the positions of users, base stations and objects at its
    timestamps: DeepMIMO takes the difference to the scene before, in the first that of the second.

    :param scenes: From :func:`scenes_of`
    :param scene: The scene that is used
    :param motion: With the source "deepmimo"
    :param file: Of the scenario, for messages

    :raises ValueError: If timestamps do not fit the scenes, or nothing moves
    """
    if motion.timestamps is not None:
        _set_timestamps(scenes, motion.timestamps, file)
    for dataset in scenes[scene]:
        if motion.rx_vel is not None:
            dataset.rx_vel = np.array(motion.rx_vel)
        if motion.tx_vel is not None:
            dataset.tx_vel = np.array(motion.tx_vel)
    if not any(_has_velocities(d) or d.hasattr("doppler") for d in scenes[scene]):
        raise ValueError(
            f'{file}: source = "deepmimo" in [motion] needs velocities, but nothing moves in the '
            "data: give timestamps of a dynamic data set, or rx_vel or tx_vel."
        )


def path_doppler(dataset: Any, users: NDArray[np.int64]) -> NDArray[np.float64]:
    r"""Doppler shifts of the paths of some users.

    .. math:: \nu = \frac{f_c}{c} \Bigl( k_0^{\mathsf{T}} v_\mathrm{tx}
              + \sum_{i=1}^{n} (k_i - k_{i-1})^{\mathsf{T}} v_i
              - k_n^{\mathsf{T}} v_\mathrm{rx} \Bigr)

    with the directions :math:`k_i` of a path after its i-th interaction, with an object of velocity
    :math:`v_i` (Sionna RT's ``Paths.doppler``, which DeepMIMO follows). Objects' share is
    DeepMIMO's own. The others are computed here: DeepMIMO 4.0.5 mirrors :math:`k_n` along x, so
    that a user who walks away along x hears a higher frequency.

    A data set without velocities may hold an array ``doppler``, see ``Dataset.set_doppler``.

    :param dataset: DeepMIMO's data set of one transmitter and its receivers
    :param users: Indices of distinct users, [num_users]

    :return: Hz, [num_users, number of paths of the data set], float64; arbitrary where a path is
        missing
    :raises ValueError: If DeepMIMO cannot tell what moving objects do to paths
    """
    subset = dataset.trim(idxs=users)
    shape = (len(users), subset.delay.shape[1])
    if not _has_velocities(dataset):
        return _padded(_given(dataset)[users], shape)
    along_tx = directions(subset, "aod") @ np.asarray(dataset.tx_vel, np.float64)
    velocities = np.asarray(dataset.rx_vel, np.float64)[users]
    along_rx = np.einsum("upi,ui->up", directions(subset, "aoa"), velocities)
    per_wavelength = float(dataset.rt_params["frequency"]) / SPEED_OF_LIGHT
    shifts: NDArray[np.float64] = (along_tx + along_rx) * per_wavelength
    if _objects_move(dataset):
        # Objects alone; setting a velocity also makes DeepMIMO forget shifts of before.
        subset.rx_vel = subset.tx_vel = np.zeros(3)
        try:
            shifts = shifts + _padded(np.asarray(subset["doppler"], np.float64), shape)
        except Exception as error:  # it counts on interactions, a terrain and numbered objects
            raise ValueError(
                "DeepMIMO cannot compute the Doppler shifts of moving objects "
                f"({type(error).__name__}: {error}), load the data set with all its matrices and "
                "its scene."
            ) from error
    return shifts


def directions(dataset: Any, end: Literal["aoa", "aod"]) -> NDArray[np.float64]:
    """Unit vectors to where paths come from at users, or go to at base stations.

    :return: [num_users, num_paths, 3], float64
    """
    inclination, azimuth = (
        np.deg2rad(np.asarray(dataset[f"{end}_{angle}"], np.float64)) for angle in ("el", "az")
    )
    across = np.sin(inclination)
    return np.stack(
        [across * np.cos(azimuth), across * np.sin(azimuth), np.cos(inclination)], axis=-1
    )


def update_digest(digest: Any, dataset: Any, users: NDArray[np.int64]) -> None:
    """Add all that Doppler shifts of some users are made of, beside their paths, to a hash."""
    if not _has_velocities(dataset):
        digest.update(_given(dataset)[users].tobytes())
        return
    velocities = [obj.vel for obj in dataset.scene.objects]
    for values in (np.asarray(dataset.rx_vel)[users], dataset.tx_vel, velocities):
        digest.update(np.asarray(values, np.float64).tobytes())


def _set_timestamps(
    scenes: Sequence[Sequence[Any]], timestamps: tuple[float, ...], file: str
) -> None:
    import deepmimo

    if len(scenes) == 1:
        raise ValueError(
            f"{file}: timestamps in [motion] need several scenes, the data set has one, "
            "give rx_vel or tx_vel instead."
        )
    if len(timestamps) == 1:
        timestamps = tuple(timestamps[0] * i for i in range(len(scenes)))
    if len(timestamps) != len(scenes):
        raise ValueError(
            f"{file}: timestamps in [motion] has {len(timestamps)} entries, the data set has "
            f"{len(scenes)} scenes."
        )
    if len({len(scene) for scene in scenes}) > 1:
        raise ValueError(
            f"{file}: timestamps in [motion] need scenes of the same base stations, they have "
            f"{[len(scene) for scene in scenes]} of them."
        )
    # DeepMIMO's rule subtracts positions of one transmitter and its receivers.
    for pairs in zip(*scenes, strict=True):
        try:
            deepmimo.DynamicDataset(list(pairs), "scenes").set_timestamps(list(timestamps))
        except ValueError as error:
            raise ValueError(
                f"{file}: DeepMIMO cannot compute velocities from the scenes ({error}), each must "
                "have the same users and objects."
            ) from error


def _has_velocities(dataset: Any) -> bool:
    ends = np.any(dataset.rx_vel) or np.any(dataset.tx_vel)
    return bool(ends) or _objects_move(dataset)


def _objects_move(dataset: Any) -> bool:
    return any(np.any(obj.vel) for obj in dataset.scene.objects)


def _given(dataset: Any) -> NDArray[np.float64]:
    """The array ``doppler`` that a data set was given, zeros if it was given none."""
    if not dataset.hasattr("doppler"):
        return np.zeros((dataset.n_ue, 0))
    return np.asarray(dataset["doppler"], np.float64)


def _padded(shifts: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """DeepMIMO's shifts end with the largest number of paths that any user has."""
    full = np.zeros(shape)
    width = min(shifts.shape[1], shape[1])
    full[:, :width] = shifts[:, :width]
    return full
