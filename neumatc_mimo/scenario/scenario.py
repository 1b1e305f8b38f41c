"""A scenario: its configuration, its link sets, and where everything stands."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any

from neumatc_mimo.foundation.display import Displayed, Facts
from neumatc_mimo.progress import Callbacks, Event, reported
from neumatc_mimo.scenario.deepmimo_data import load_base_stations
from neumatc_mimo.scenario.given_channel import GivenChannel, fitted, read_channel, sampled
from neumatc_mimo.scenario.links import LinkKind, LinkSet
from neumatc_mimo.scenario.schema import ScenarioConfig, make_config, read_config
from neumatc_mimo.scenario.sionna_paths import TracedPaths, sionna_stations, traced
from neumatc_mimo.scenario.source import Opened, Positions, Source, Stations


class Scenario(Displayed):
    """The links of a scenario. Data are read and links are drawn when they are first needed.

    To make a scenario without a file, use :meth:`from_deepmimo`, :meth:`from_sionna_rt` or
    :meth:`from_channel`. The sections and keys are the same as in a file.

    :param config: Path of a scenario TOML or name of a bundled scenario, or the checked
        configuration of one
    :param dataset: A data set from ``deepmimo.load``, instead of the data that the configuration
        names. Use it for data sets that you have changed, for example by setting a velocity for
        each user
    :param progress: Show a progress bar, in a terminal or a notebook
    :param callback: Called with the progress while links are drawn
    :param source: Object that opens the data, instead of the data that the configuration names

    :raises FileNotFoundError: If there is no such file or bundled scenario
    :raises ValueError: If the file does not fit the schema
    """

    def __init__(
        self,
        config: ScenarioConfig | str | os.PathLike[str],
        dataset: Any = None,
        *,
        progress: bool = True,
        callback: Callbacks = None,
        source: Source | None = None,
    ) -> None:
        if not isinstance(config, ScenarioConfig):
            config = read_config(config)
        if source is None and config.channel is not None:
            samples = read_channel(config)
            config, source = fitted(config, samples.shape), partial(GivenChannel, samples=samples)
        self.config = config
        self._source = source or partial(_open_deepmimo, dataset=dataset)
        self._progress, self._callback = progress, callback

    @classmethod
    def from_deepmimo(
        cls,
        dataset: Any,
        *,
        name: str = "deepmimo",
        progress: bool = True,
        callback: Callbacks = None,
        **sections: Any,
    ) -> Scenario:
        """A scenario of a DeepMIMO data set that you have already loaded.

        :param dataset: The data set from ``deepmimo.load``
        :param name: Of the scenario
        :param progress: Show a progress bar while links are drawn
        :param callback: Called with the progress while links are drawn
        :param sections: Sections of a scenario file as dictionaries, ``grid={"fft_size": 3276,
            "subcarrier_spacing": 30e3}, multi_user={}``, and its ``seed``; ``deepmimo`` may name
            base stations and users

        :raises ValueError: If sections do not fit the schema
        """
        config = _config("from_deepmimo", "deepmimo", name, sections)
        return cls(config, dataset, progress=progress, callback=callback)

    @classmethod
    def from_sionna_rt(
        cls,
        paths: Any,
        *,
        name: str = "sionna_rt",
        carrier_frequency: float | None = None,
        progress: bool = True,
        callback: Callbacks = None,
        **sections: Any,
    ) -> Scenario:
        """A scenario of paths that Sionna RT traced. Transmitters are base stations, receivers are
        users.

        The antennas are those of the scene's arrays, in the order of ``Paths.cir``, with both
        polarisations if they are dual-polarised. ``array`` needs no keys.

        :param paths: The paths from ``sionna.rt.PathSolver``
        :param name: Of the scenario
        :param carrier_frequency: Hz; by default that of the scene
        :param progress: Show a progress bar while links are drawn
        :param callback: Called with the progress while links are drawn
        :param sections: Sections of a scenario file as dictionaries, and its ``seed``;
            ``sionna_rt`` may name transmitters and receivers

        :raises ValueError: If the argument is not such a set of paths, or sections do not fit the
            schema
        """
        found = traced(paths, carrier_frequency)
        sections = {key: _plain(value) for key, value in sections.items()}
        sections.setdefault("array", {}).setdefault("bs", (found.num_tx_ant, 1))
        for kind in ("multi_user", "single_user"):
            if isinstance(sections.get(kind), dict):
                sections[kind].setdefault("ue", (found.num_rx_ant, 1))
        config = _config("from_sionna_rt", "sionna_rt", name, sections)
        found.check(config)
        source = partial(_open_sionna, paths=found)
        return cls(config, progress=progress, callback=callback, source=source)

    @classmethod
    def from_channel(
        cls,
        channel: Any,
        *,
        name: str = "channel",
        progress: bool = True,
        callback: Callbacks = None,
        **sections: Any,
    ) -> Scenario:
        r"""A scenario of your own channels, one link for each.

        :param channel: :math:`H_l(f)` on the grid :math:`f_i = (i - \lfloor N/2 \rfloor) \Delta f`,
            complex [num_links, fft_size, K, M], or [fft_size, K, M] of one link: a tensor or an
            array, or a function from frequencies [fft_size] in Hz, float64, to one. Rows are
            users' antennas, columns base-station antennas
        :param name: Of the scenario
        :param progress: Show a progress bar
        :param callback: Called with the progress
        :param sections: Sections of a scenario file as dictionaries, ``grid={"subcarrier_spacing":
            30e3}, multi_user={}``, or ``single_user``, and its ``seed``. Numbers of links, users
            and antennas are by default those of the channel. For a function, ``grid`` must contain
            ``fft_size``

        :raises ValueError: If the channel has another shape, or sections do not fit the schema
        """
        sections = {key: _plain(value) for key, value in sections.items()}
        grid = sections.get("grid")
        grid = grid if isinstance(grid, dict) else {}
        samples = sampled(channel, grid.get("fft_size"), grid.get("subcarrier_spacing"))
        grid.setdefault("fft_size", samples.shape[1])
        config = fitted(_config("from_channel", "channel", name, sections), samples.shape)
        source = partial(GivenChannel, samples=samples)
        return cls(config, progress=progress, callback=callback, source=source)

    def with_config(self, config: ScenarioConfig) -> Scenario:
        """A scenario with other settings on the same data."""
        return Scenario(
            config, progress=self._progress, callback=self._callback, source=self._source
        )

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
        """Share of the tried groups that were skipped because they are ill-conditioned, for each
        kind of links.
        """
        drawn = {"multi_user": self._multi_user, "single_user": self._single_user}
        return {kind: links[1] for kind, links in drawn.items() if links is not None}

    @cached_property
    def positions(self) -> Positions | None:
        """All users, whether or not they are part of a link, and the base stations. None for your
        own channels.
        """
        return self._opened.positions

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 in hex of the fingerprints of the link sets."""
        digest = hashlib.sha256()
        for links in (self.multi_user, self.single_user):
            digest.update((links.fingerprint() if links is not None else "none").encode())
        return digest.hexdigest()

    def with_model(self, **changes: Any) -> Scenario:
        """The same scenario with other training settings. It shares the links that were already
        drawn.

        :param changes: Keys of [model] and their values

        :raises ValueError: If a key is unknown, or a value is invalid
        """
        other = copy.copy(self)
        other.config = self.config.with_model(**changes)
        return other

    def facts(self) -> Facts:
        config = self.config
        array, grid, many, one = config.array, config.grid, config.multi_user, config.single_user
        band = grid.fft_size * grid.subcarrier_spacing
        values = {"data": config.data}
        # Data are not read to be shown.
        if "_opened" in self.__dict__:
            values["carrier"] = f"{self._opened.carrier_frequency / 1e9:g} GHz"
        values["base stations"] = ", ".join(map(str, config.base_stations))
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
    def _opened(self) -> Opened:
        with reported(self._callback, self._progress) as tell:
            tell(Event(f"reading the data of {self.name}"))
            return self._source(self.config)

    @cached_property
    def _multi_user(self) -> tuple[LinkSet, float] | None:
        return None if self.config.multi_user is None else self._links("multi_user")

    @cached_property
    def _single_user(self) -> tuple[LinkSet, float] | None:
        return None if self.config.single_user is None else self._links("single_user")

    def _links(self, kind: LinkKind) -> tuple[LinkSet, float]:
        opened = self._opened
        with reported(self._callback, self._progress) as tell:
            return opened.links(kind, tell)


def load_scenario(
    source: str | os.PathLike[str],
    seed: int | None = None,
    *,
    progress: bool = True,
    callback: Callbacks = None,
) -> Scenario:
    """Load a scenario.

    The file is read and checked at once. Ray-traced data are read when links or positions are first
    needed.

    :param source: Name of a bundled scenario, or path of a scenario TOML
    :param seed: Seed of the user groups, instead of the seed in the file
    :param progress: Show a progress bar while data are read and links are drawn, in a terminal or a
        notebook
    :param callback: Called with the progress while links are drawn

    :return: The scenario
    :raises FileNotFoundError: If there is no such file or bundled scenario
    :raises ValueError: If the file does not fit the schema, or the seed is negative or beyond 2^63
    """
    config = read_config(source)
    if seed is not None:
        if not 0 <= seed < 2**63:
            raise ValueError(f"seed is {seed}, it must not be negative, and below 2^63.")
        config = config.model_copy(update={"seed": seed})
    return Scenario(config, progress=progress, callback=callback)


def _open_deepmimo(config: ScenarioConfig, dataset: Any) -> Opened:
    return Stations(config, load_base_stations(config, dataset))


def _open_sionna(config: ScenarioConfig, paths: TracedPaths) -> Opened:
    return Stations(config, sionna_stations(config, paths))


def _config(maker: str, section: str, name: str, sections: Mapping[str, Any]) -> ScenarioConfig:
    """The configuration of a scenario that has no file.

    :param maker: The method that makes it, for messages
    :param section: That of its data, which needs no keys
    """
    return make_config({"name": name, section: {}, **sections}, f"nm.Scenario.{maker}")


def _plain(value: Any) -> Any:
    """A section that keys can be added to, without changing the caller's."""
    return dict(value) if isinstance(value, Mapping) else value
