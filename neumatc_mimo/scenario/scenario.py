"""A scenario: its configuration, its link sets, and where everything stands."""

from __future__ import annotations

import copy
import hashlib
import os
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neumatc_mimo.foundation.display import Displayed, Facts
from neumatc_mimo.progress import Callbacks, Event, reported
from neumatc_mimo.scenario.deepmimo_data import BaseStation, load_base_stations
from neumatc_mimo.scenario.groups import draw_multi_user, draw_single_user
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.scenario.schema import ScenarioConfig, read_config


class Positions(NamedTuple):
    """A map of the scenario, in metres.

    :param users: [num_users, 3]
    :param has_path: Whether a path from any base station reaches the user, [num_users]
    :param base_stations: [num_base_stations, 3]
    """

    users: NDArray[np.float64]
    has_path: NDArray[np.bool_]
    base_stations: NDArray[np.float64]


class Scenario(Displayed):
    """The links of a scenario; data are read and links drawn when they are first asked for.

    :param config: The checked configuration, from :func:`load_scenario`
    :param dataset: What ``deepmimo.load`` returned, in the place of the data that the configuration
        names; for data sets that were changed, such as by velocities of each user
    :param progress: Show a progress bar meanwhile, in a terminal or a notebook
    :param callback: Told of links that are drawn meanwhile
    """

    def __init__(
        self,
        config: ScenarioConfig,
        dataset: Any = None,
        *,
        progress: bool = True,
        callback: Callbacks = None,
    ) -> None:
        self.config = config
        self._dataset = dataset
        self._progress, self._callback = progress, callback

    def with_config(self, config: ScenarioConfig) -> Scenario:
        """A scenario of other settings on the same data."""
        return Scenario(config, self._dataset, progress=self._progress, callback=self._callback)

    @property
    def name(self) -> str:
        """Name of the scenario."""
        return self.config.name

    @property
    def multi_user(self) -> LinkSet | None:
        """Links of several users; None if the scenario has no section ``multi_user``."""
        return None if self._multi_user is None else self._multi_user[0]

    @property
    def single_user(self) -> LinkSet | None:
        """Links of a single user; None if the scenario has no section ``single_user``."""
        return None if self._single_user is None else self._single_user[0]

    @property
    def skipped(self) -> dict[str, float]:
        """Share of the groups tried that was too badly conditioned, for each kind of links."""
        drawn = {"multi_user": self._multi_user, "single_user": self._single_user}
        return {kind: links[1] for kind, links in drawn.items() if links is not None}

    @cached_property
    def positions(self) -> Positions:
        """All users, whether or not they are part of a link, and the base stations."""
        stations = self._stations
        users = np.concatenate([station.user_positions for station in stations])
        found = np.concatenate([station.has_path for station in stations])
        # Base stations mostly share one grid of users.
        users, index = np.unique(users, axis=0, return_inverse=True)
        has_path = np.zeros(len(users), np.bool_)
        np.logical_or.at(has_path, index.reshape(-1), found)
        return Positions(users, has_path, np.array([station.position for station in stations]))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 in hex of the fingerprints of the link sets."""
        digest = hashlib.sha256()
        for links in (self.multi_user, self.single_user):
            digest.update((links.fingerprint() if links is not None else "none").encode())
        return digest.hexdigest()

    def with_model(self, **changes: Any) -> Scenario:
        """The same scenario with other training settings; links that were drawn are shared.

        :param changes: Keys of [model] and their values

        :raises ValueError: If a key is unknown, or a value not accepted
        """
        other = copy.copy(self)
        other.config = self.config.with_model(**changes)
        return other

    def facts(self) -> Facts:
        config = self.config
        array, grid, many, one = config.array, config.grid, config.multi_user, config.single_user
        band = grid.fft_size * grid.subcarrier_spacing
        values = {"data": config.deepmimo.path or str(config.deepmimo.scenario)}
        # Data are not read to be shown.
        if "_stations" in self.__dict__:
            values["carrier"] = f"{self._stations[0].carrier_frequency / 1e9:g} GHz"
        values["base stations"] = ", ".join(map(str, config.deepmimo.base_station))
        values["array"] = f"{array.bs[0]} x {array.bs[1]}"
        values["grid"] = (
            f"{grid.fft_size} subcarriers of {grid.subcarrier_spacing / 1e3:g} kHz, "
            f"{band / 1e6:.4g} MHz"
        )
        if many is not None:
            antennas = "" if many.ue == (1, 1) else f" with {many.ue[0]} x {many.ue[1]} antennas"
            values["multi user"] = (
                f"{many.num_links} links of {many.users_per_link} users{antennas}"
            )
        if one is not None:
            values["single user"] = (
                f"{one.num_links} links of one user with {one.ue[0]} x {one.ue[1]} antennas, "
                f"{one.num_streams} streams"
            )
        if config.motion is not None:
            values["motion"] = f"bursts of {config.motion.num_slots} slots"
        return Facts(self.name, values | {"seed": str(config.seed)})

    @cached_property
    def _stations(self) -> list[BaseStation]:
        with reported(self._callback, self._progress) as tell:
            tell(Event(f"reading the data of {self.name}"))
            return load_base_stations(self.config, self._dataset)

    @cached_property
    def _multi_user(self) -> tuple[LinkSet, float] | None:
        if self.config.multi_user is None:
            return None
        stations = self._stations
        with reported(self._callback, self._progress) as tell:
            return draw_multi_user(self.config, stations, tell)

    @cached_property
    def _single_user(self) -> tuple[LinkSet, float] | None:
        if self.config.single_user is None:
            return None
        stations = self._stations
        with reported(self._callback, self._progress) as tell:
            return draw_single_user(self.config, stations, tell)


def load_scenario(
    source: str | os.PathLike[str],
    seed: int | None = None,
    *,
    progress: bool = True,
    callback: Callbacks = None,
) -> Scenario:
    """Load a scenario.

    The file is read and checked now; ray-traced data are read when links or positions are first
    asked for.

    :param source: Name of a bundled scenario, or path of a scenario TOML
    :param seed: Draws other user groups than the file's own seed
    :param progress: Show a progress bar while data are read and links drawn, in a terminal or a
        notebook
    :param callback: Told of links that are drawn

    :return: The scenario
    :raises FileNotFoundError: If there is no such file or bundled scenario
    :raises ValueError: If the file breaks the schema, or the seed is negative or beyond 2^63
    """
    config = read_config(source)
    if seed is not None:
        if not 0 <= seed < 2**63:
            raise ValueError(f"seed is {seed}, it must not be negative, and below 2^63.")
        config = config.model_copy(update={"seed": seed})
    return Scenario(config, progress=progress, callback=callback)
