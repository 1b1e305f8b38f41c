"""From drawn users to a link set: gather their paths, steer them, scale the rows."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from neumatc_mimo.foundation.waves import wave
from neumatc_mimo.scenario.base_station import BaseStation, Paths
from neumatc_mimo.scenario.deepmimo_motion import SPEED_OF_LIGHT
from neumatc_mimo.scenario.links import LinkKind
from neumatc_mimo.scenario.path_links import PathLinks
from neumatc_mimo.scenario.schema import MultiUserConfig, ScenarioConfig, SingleUserConfig
from neumatc_mimo.scenario.trained import TrainedConfig

# A group: index of its base station in the scenario's list, and its users.
Group = tuple[int, NDArray[np.int64]]


def build_links(
    config: ScenarioConfig,
    section: MultiUserConfig | SingleUserConfig,
    stations: Sequence[BaseStation],
    groups: Sequence[Group],
) -> PathLinks:
    """Build the link set of some groups, one link a group, in their order.

    For joint links the groups are those of all base stations in turn, each with all of the users.
    """
    users = np.array([members for _, members in groups])  # [num_links, num_users]
    served = np.array([index for index, _ in groups])  # [num_links]
    carrier = stations[0].carrier_frequency
    paths = _gather(stations, users, served, section.ue)

    # K rows: the antennas of one user after those of another.
    num_antennas = math.prod(section.ue)
    num_rows = users.shape[1] * num_antennas
    antennas = (len(groups), num_rows, math.prod(config.array.bs), -1)
    coefficients = paths.coefficients.reshape(antennas)
    delays = paths.delays[:, :, None, :]
    if users.shape[1] > 1:
        delays = np.repeat(delays, num_antennas, axis=1)
    if paths.steering is not None:
        # A phase psi at the carrier that grows as (f_c + f)/f_c is a delay of -psi/(2 pi f_c).
        delays = delays - paths.steering.reshape(antennas) / (2 * np.pi * carrier)
    if config.grid.offset:
        # H(f_c + offset + f) are the channels of paths turned so far.
        coefficients = coefficients * wave(config.grid.offset, delays)
    gains: NDArray[np.float64] = np.ones((len(groups), num_rows))
    if section.row_scaling == "unit":
        power = grid_power(
            coefficients, delays, config.grid.fft_size, config.grid.subcarrier_spacing
        )
        # One gain for all rows of a user, any other would change the singular vectors.
        power = power.reshape(*users.shape, num_antennas).mean(axis=2)
        if isinstance(section, MultiUserConfig) and section.joint:
            power = _power_at_home(power, len(stations))
        gains = 1 / np.sqrt(np.repeat(power, num_antennas, axis=1))

    doppler = _doppler(config, users, paths, carrier)
    row_doppler = None
    if doppler is not None:
        power = np.abs(coefficients).sum(axis=2) ** 2  # [num_links, num_rows, P]
        power = power.reshape(*users.shape, num_antennas, -1).sum(axis=2)
        mean = (power * doppler).sum(axis=-1) / power.sum(axis=-1)  # [num_links, num_users]
        row_doppler = np.repeat(mean, num_antennas, axis=1)
        doppler = doppler[:, :, None, :]
        if users.shape[1] > 1:
            doppler = np.repeat(doppler, num_antennas, axis=1)
    first = paths.delays.min(axis=-1)  # [num_links, num_users]
    positions = [stations[index].user_positions[members] for index, members in groups]
    return PathLinks(
        kind=link_kind(section),
        coefficients=torch.from_numpy(coefficients * gains[:, :, None, None]),
        delays=torch.from_numpy(delays),
        row_delays=torch.from_numpy(np.repeat(first, num_antennas, axis=1)),
        row_gains=torch.from_numpy(gains),
        users=torch.from_numpy(users),
        user_positions=torch.from_numpy(np.array(positions)),
        base_station=torch.from_numpy(served),
        base_station_positions=torch.from_numpy(np.array([s.position for s in stations])),
        carrier_frequency=carrier,
        fft_size=config.grid.fft_size,
        subcarrier_spacing=config.grid.subcarrier_spacing,
        noise_db=section.noise_db if isinstance(section, MultiUserConfig) else None,
        num_streams=section.num_streams if isinstance(section, SingleUserConfig) else None,
        source=_source(config, section, stations, groups),
        doppler=None if doppler is None else torch.from_numpy(doppler),
        row_doppler=None if row_doppler is None else torch.from_numpy(row_doppler),
        duration=config.burst_duration,
        delays_drift=config.motion is None or config.motion.source == "drawn",
    )


def _power_at_home(power: NDArray[np.float64], num_cells: int) -> NDArray[np.float64]:
    """Power of each user at the base station that serves it, in the links of all base stations.

    A user sends with one power, wherever it is heard: that which its own base station receives as
    one, as with 5G NR's power control. Joint links of the same users follow each other, one of
    each base station, and so do the users that these serve.

    :param power: Of a user at the base station of the link, [num_links, num_users]

    :return: [num_links, num_users]
    """
    # [num_sets, base station of the link, serving base station, users of it]
    power = power.reshape(-1, num_cells, num_cells, power.shape[1] // num_cells)
    own = np.einsum("sccu->scu", power)
    return np.repeat(own.reshape(len(own), -1), num_cells, axis=0)


def _doppler(
    config: ScenarioConfig, users: NDArray[np.int64], paths: Paths, carrier: float
) -> NDArray[np.float64] | None:
    r"""Doppler shift of each path in Hz, [num_links, num_users, P]; None if users do not move.

    A user with velocity v sees a path that arrives from the direction r shifted by
    :math:`\nu = v^{\mathsf{T}} r \, f_c / c`. A user's heading depends on the scenario's seed and
    its index alone, so that it is the same in every link. Shifts of DeepMIMO's velocities come with
    the paths.
    """
    if config.motion is None or config.motion.speed is None:
        return paths.doppler
    known = {
        user: np.random.default_rng([config.seed, 2, user]).uniform(0, 2 * np.pi)
        for user in np.unique(users).tolist()
    }
    heading = np.vectorize(known.__getitem__, otypes=[np.float64])(users)
    velocity = config.motion.speed * np.stack(
        [np.cos(heading), np.sin(heading), np.zeros_like(heading)], axis=-1
    )
    shifts: NDArray[np.float64] = np.einsum("lui,lupi->lup", velocity, paths.arrivals)
    return shifts * carrier / SPEED_OF_LIGHT


def link_kind(section: MultiUserConfig | SingleUserConfig) -> LinkKind:
    """Kind of the links of a section of the scenario."""
    return "multi_user" if isinstance(section, MultiUserConfig) else "single_user"


def _gather(
    stations: Sequence[BaseStation],
    users: NDArray[np.int64],
    served: NDArray[np.int64],
    ue: tuple[int, int],
) -> Paths:
    """Gather the paths of all links, [num_links, num_users, ...] as :class:`Paths`.

    :param users: [num_links, num_users]
    :param served: Index of the base station of each link, [num_links]
    """
    indices = np.unique(served).tolist()
    distinct = {index: np.unique(users[served == index]) for index in indices}
    parts = {index: stations[index].paths(distinct[index], ue) for index in indices}
    num_paths = max(part.delays.shape[-1] for part in parts.values())
    antennas = parts[indices[0]].coefficients.shape[1:3]
    coefficients = np.zeros((*users.shape, *antennas, num_paths), np.complex128)
    delays = np.zeros((*users.shape, num_paths))
    steering = None if parts[indices[0]].steering is None else np.zeros(coefficients.shape)
    arrivals = np.zeros((*users.shape, num_paths, 3))
    doppler = None if parts[indices[0]].doppler is None else np.zeros(delays.shape)
    for index, part in parts.items():
        links = served == index
        which = np.searchsorted(distinct[index], users[links])
        filled = part.delays.shape[-1]
        coefficients[links, ..., :filled] = part.coefficients[which]
        # What stays empty gets the first arrival, as in Paths.
        delays[links] = part.delays[which].min(axis=-1, keepdims=True)
        delays[links, :, :filled] = part.delays[which]
        arrivals[links, :, :filled] = part.arrivals[which]
        if steering is not None and part.steering is not None:
            steering[links, ..., :filled] = part.steering[which]
        if doppler is not None and part.doppler is not None:
            doppler[links, :, :filled] = part.doppler[which]
    return Paths(coefficients, delays, steering, arrivals, doppler)


def _source(
    config: ScenarioConfig,
    section: MultiUserConfig | SingleUserConfig,
    stations: Sequence[BaseStation],
    groups: Sequence[Group],
) -> str:
    """SHA-256 of the settings and of the files' data on the groups."""
    parts = (config.array, config.grid, section, config.motion)
    settings = [
        part.drawn() if isinstance(part, TrainedConfig) else part.told()
        for part in parts
        if part is not None
    ]
    digest = hashlib.sha256(" ".join(settings).encode())
    for index, members in groups:
        stations[index].update_digest(digest, members)
    return digest.hexdigest()


def grid_power(
    coefficients: NDArray[np.complex128],
    delays: NDArray[np.float64],
    fft_size: int,
    subcarrier_spacing: float,
) -> NDArray[np.float64]:
    r"""Mean power of each row over antennas and grid, in closed form.

    .. math::
        \frac{1}{M} \sum_m \sum_{p,q} a_{mp} a_{mq}^* D(\tau_{mp} - \tau_{mq}), \quad
        D(\tau) = \frac{1}{N} \sum_i e^{-j 2\pi f_i \tau},

    where the sum D over the subcarriers is a Dirichlet kernel.

    :param coefficients: [num_links, K, M, P]
    :param delays: Seconds, [num_links, K or 1, M or 1, P]

    :return: [num_links, K], float64
    """
    turns = (delays[..., :, None] - delays[..., None, :]) * subcarrier_spacing
    turns = turns - np.round(turns)  # D has period one
    with np.errstate(invalid="ignore"):
        kernel = np.sin(np.pi * fft_size * turns) / (fft_size * np.sin(np.pi * turns))
    kernel = np.where(turns == 0, 1.0, kernel)
    centre = (fft_size - 1) / 2 - fft_size // 2  # the grid of an even size is not symmetric
    dirichlet = kernel * wave(centre, turns)
    power = np.einsum("lkmp,lkmq,lkmpq->lk", coefficients, coefficients.conj(), dirichlet).real
    return power / coefficients.shape[2]
