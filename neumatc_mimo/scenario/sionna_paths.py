"""Base stations from paths that Sionna RT traced, without a folder between."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neumatc_mimo.foundation.waves import wave
from neumatc_mimo.scenario.base_station import BaseStation, Paths
from neumatc_mimo.scenario.data_config import SionnaRTConfig
from neumatc_mimo.scenario.schema import ScenarioConfig

# Sionna RT's code of a path without interactions, ``InteractionType.NONE``.
_NONE = 0


@dataclass(frozen=True, eq=False)
class TracedPaths:
    """What is read of Sionna RT's ``Paths``, of all receivers and transmitters.

    :param coefficients: Baseband coefficients with the carrier's phase,
        [num_rx, num_rx_ant, num_tx, num_tx_ant, P], complex128; 0 where there is no path
    :param delays: Seconds, [num_rx, num_rx_ant or 1, num_tx, num_tx_ant or 1, P], float64
    :param valid: Whether there is a path, shape of ``delays``
    :param doppler: Hz, shape of ``delays``
    :param arrivals: Unit vectors from receivers to where paths come from, [num_rx, num_tx, P, 3]
    :param direct: Whether a path meets nothing, [num_rx, num_tx, P]
    :param receivers: Metres, [num_rx, 3]
    :param transmitters: Metres, [num_tx, 3]
    :param carrier_frequency: Hz
    """

    coefficients: NDArray[np.complex128]
    delays: NDArray[np.float64]
    valid: NDArray[np.bool_]
    doppler: NDArray[np.float64]
    arrivals: NDArray[np.float64]
    direct: NDArray[np.bool_]
    receivers: NDArray[np.float64]
    transmitters: NDArray[np.float64]
    carrier_frequency: float

    @property
    def synthetic(self) -> bool:
        """Whether all antennas of an array share their delays."""
        return self.delays.shape[1] == self.delays.shape[3] == 1

    def check(self, config: ScenarioConfig) -> None:
        """Refuse arrays other than those that were traced.

        :raises ValueError: If a section has them
        """
        if math.prod(config.array.bs) != self.num_tx_ant:
            raise ValueError(
                f"{config.file}: bs = {list(config.array.bs)} in [array], but the traced "
                f"transmitters have {self.num_tx_ant} antennas."
            )
        unknown = config.array.model_fields_set - {"bs", "beam_squint"}
        if unknown:
            raise ValueError(
                f"{config.file}: {min(unknown)} in [array] comes from the traced scene, "
                "leave it out."
            )
        for kind, section in (
            ("multi_user", config.multi_user),
            ("single_user", config.single_user),
        ):
            if section is not None and math.prod(section.ue) != self.num_rx_ant:
                raise ValueError(
                    f"{config.file}: ue = {list(section.ue)} in [{kind}], but the traced "
                    f"receivers have {self.num_rx_ant} antennas."
                )
        if config.motion is not None and not self.synthetic:
            raise ValueError(
                f"{config.file}: [motion] needs paths that were traced with synthetic_array = True."
            )

    @property
    def num_rx_ant(self) -> int:
        """Antennas of a receiver, both polarisations of a dual-polarised one counted."""
        return self.coefficients.shape[1]

    @property
    def num_tx_ant(self) -> int:
        """Antennas of a transmitter, both polarisations of a dual-polarised one counted."""
        return self.coefficients.shape[3]


def traced(paths: Any, carrier_frequency: float | None = None) -> TracedPaths:
    r"""Read Sionna RT's ``Paths``.

    Its passband coefficients ``a`` become those of the baseband,
    :math:`a_i e^{-j 2\pi f_c \tau_i}` (``Paths.cir``), with absolute delays.

    :param paths: From ``sionna.rt.PathSolver``, with ``synthetic_array`` or without
    :param carrier_frequency: Hz; by default that of the scene

    :raises ValueError: If these are no such paths, or lead nowhere
    """
    try:
        real, imaginary = (_array(part) for part in paths.a)
        tau, valid = _array(paths.tau), _array(paths.valid).astype(np.bool_)
        doppler = _array(paths.doppler)
        angles = [_array(paths.theta_r), _array(paths.phi_r)]
        interactions = np.asarray(paths.interactions)
        # [3, number]; of single elements where arrays are not synthetic.
        receivers, transmitters = _array(paths.targets).T, _array(paths.sources).T
        frequency = carrier_frequency
        if frequency is None:
            frequency = float(np.asarray(paths._frequency).reshape(-1)[0])
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"paths are no Paths of Sionna RT ({type(error).__name__}: {error}); give what its "
            "PathSolver returns."
        ) from error
    if not (math.isfinite(frequency) and frequency > 0):
        raise ValueError(f"carrier_frequency is {frequency} Hz, it must be positive and finite.")
    num_rx, _, num_tx, _, num_paths = real.shape
    if not num_paths or not valid.any():
        raise ValueError("paths are empty: no path reaches any receiver.")
    if tau.ndim == 3:
        tau, doppler = tau[:, None, :, None], doppler[:, None, :, None]
        valid = valid[:, None, :, None]
        theta, phi = angles
    else:
        # Far from the antennas, all of an array see a path come from the same direction.
        theta, phi = (x[:, 0, :, 0] for x in angles)
        interactions = interactions[:, :, 0, :, 0]
        receivers = receivers.reshape(num_rx, -1, 3).mean(1)
        transmitters = transmitters.reshape(num_tx, -1, 3).mean(1)
    tau = np.where(valid, tau, 0.0)
    coefficients = np.where(valid, (real + 1j * imaginary) * wave(frequency, tau), 0.0)
    if not np.isfinite(coefficients).all():
        raise ValueError("paths have coefficients or delays that are not finite.")
    across = np.sin(theta)
    arrivals = np.stack([across * np.cos(phi), across * np.sin(phi), np.cos(theta)], axis=-1)
    return TracedPaths(
        coefficients,
        tau,
        valid,
        doppler,
        arrivals,
        (interactions == _NONE).all(0),
        receivers,
        transmitters,
        frequency,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class SionnaStation(BaseStation):
    """One transmitter of Sionna RT and all receivers.

    :param traced: Of all transmitters
    :param index: The transmitter
    :param selection: Which users are taken
    :param moving: Whether paths have the Doppler shifts of the scene's velocities
    """

    traced: TracedPaths
    index: int
    selection: SionnaRTConfig
    moving: bool

    @cached_property
    def has_path(self) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = np.any(self.traced.valid[:, :, self.index], axis=(1, 2, 3))
        return found

    @cached_property
    def chosen(self) -> NDArray[np.bool_]:
        return _chosen(self)

    @property
    def powers(self) -> NDArray[np.float64]:
        """Of all antennas, for one sent."""
        own = self.traced.coefficients[:, :, self.index]
        power: NDArray[np.float64] = (np.abs(own) ** 2).sum(axis=(1, 2, 3))
        return power

    def paths(self, users: NDArray[np.int64], ue: tuple[int, int]) -> Paths:
        """Arrays are those that were traced."""
        own, at = self.traced, self.index
        coefficients = own.coefficients[users, :, at]
        # The strongest first; those that are missing have no power at all.
        power = (np.abs(coefficients) ** 2).sum(axis=(1, 2))
        order = np.argsort(-power, axis=-1, kind="stable")
        most = max(int((power > 0).sum(axis=1).max()), 1)
        order = order[:, : min(most, self.selection.max_paths)]

        def sorted_(values: NDArray[Any]) -> NDArray[Any]:
            """Of [num_users, …, P]."""
            index = order.reshape(len(users), *(1,) * (values.ndim - 2), -1)
            return np.take_along_axis(values, index, axis=-1)

        coefficients = sorted_(coefficients)
        valid, tau, shifts = (
            sorted_(x[users, :, at]) for x in (own.valid, own.delays, own.doppler)
        )
        found: NDArray[np.bool_] = np.any(valid, axis=(1, 2))  # [num_users, P]
        first = np.where(valid, tau, np.inf).min(axis=(1, 2, 3), keepdims=True)
        tau = np.where(valid, tau, first)
        reference = tau[:, 0, 0]
        steering = None
        if not own.synthetic:
            # Delays of their own are phases that grow with the frequency, see `build_links`.
            turns = (reference[:, None, None] - tau) * own.carrier_frequency
            steering = np.broadcast_to(2 * np.pi * turns, coefficients.shape)
        arrivals = np.take_along_axis(own.arrivals[users, at], order[..., None], axis=1)
        arrivals = np.where(found[..., None], arrivals, 0.0)
        doppler = None
        if self.moving:
            doppler = np.where(found, shifts[:, 0, 0], 0.0)
        return Paths(coefficients, reference, steering, arrivals, doppler)

    def update_digest(self, digest: Any, users: NDArray[np.int64]) -> None:
        own = self.traced
        digest.update(np.float64(own.carrier_frequency).tobytes())
        digest.update(self.position.tobytes() + self.user_positions[users].tobytes())
        for values in (own.coefficients, own.delays, *([own.doppler] if self.moving else [])):
            part = np.ascontiguousarray(values[users, :, self.index])
            digest.update(f"{part.dtype} {part.shape}".encode() + part.tobytes())


def sionna_stations(config: ScenarioConfig, paths: TracedPaths) -> list[BaseStation]:
    """The base stations that a scenario names, in its order.

    :raises ValueError: If there is none, no path reaches its users, or nothing moves where the
        scenario asks for motion
    """
    source = config.sionna_rt
    if source is None:
        raise ValueError(f"{config.file} has no section [sionna_rt], add one.")
    paths.check(config)
    moving = config.motion is not None and config.motion.source == "sionna_rt"
    if moving and not paths.doppler.any():
        raise ValueError(
            f"{config.file}: nothing moves in the paths, give transmitters, receivers or objects "
            "of the scene a velocity before they are traced."
        )
    stations: list[BaseStation] = []
    for index in source.base_station:
        if index >= len(paths.transmitters):
            raise ValueError(
                f"{config.file}: base_station in [sionna_rt] is {index}, the paths have "
                f"transmitters 0 to {len(paths.transmitters) - 1}."
            )
        station = SionnaStation(
            position=paths.transmitters[index],
            user_positions=paths.receivers,
            carrier_frequency=paths.carrier_frequency,
            traced=paths,
            index=index,
            selection=source,
            moving=moving,
        )
        try:
            able = station.able
        except ValueError as error:
            raise ValueError(f"{config.file}: {error}") from None
        if not able.any():
            raise ValueError(
                f"{config.file}: no user that [sionna_rt] selects has a path from transmitter "
                f"{index}, select others."
            )
        stations.append(station)
    return stations


def _chosen(station: SionnaStation) -> NDArray[np.bool_]:
    """Users that pass all keys.

    :raises ValueError: If a key needs a grid, or names users that there are not
    """
    config, positions = station.selection, station.user_positions
    for key in ("rows", "columns", "every"):
        if getattr(config, key) is not None:
            raise ValueError(f"{key} in [sionna_rt] needs users on a grid, use box or users.")
    chosen = np.ones(len(positions), np.bool_)
    if config.users is not None:
        if max(config.users) >= len(positions):
            raise ValueError(
                f"users in [sionna_rt] names {max(config.users)}, there are users 0 to "
                f"{len(positions) - 1}."
            )
        chosen &= np.isin(np.arange(len(positions)), config.users)
    for axis, (low, high) in enumerate(config.box or ()):
        chosen &= (low <= positions[:, axis]) & (positions[:, axis] <= high)
    if config.line_of_sight is not None:
        own = station.traced
        valid = own.valid[:, :, station.index].any(axis=(1, 2))
        direct = (own.direct[:, station.index] & valid).any(axis=1)
        chosen &= direct if config.line_of_sight else ~direct
    return chosen


def _array(values: Any) -> NDArray[np.float64]:
    """A tensor of Dr.Jit, PyTorch or NumPy."""
    values = values.numpy() if hasattr(values, "numpy") else values
    return np.asarray(values, np.float64)


__all__ = ["SionnaStation", "TracedPaths", "sionna_stations", "traced"]
