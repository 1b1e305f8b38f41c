"""Where the links of a scenario come from: data that are opened, and give links."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neumatc_mimo.progress import Callback
from neumatc_mimo.scenario.base_station import BaseStation
from neumatc_mimo.scenario.groups import draw_multi_user, draw_single_user
from neumatc_mimo.scenario.links import LinkKind, LinkSet
from neumatc_mimo.scenario.schema import ScenarioConfig


class Positions(NamedTuple):
    """A map of the scenario, in metres.

    :param users: [num_users, 3]
    :param has_path: Whether a path from any base station reaches the user, [num_users]
    :param base_stations: [num_base_stations, 3]
    """

    users: NDArray[np.float64]
    has_path: NDArray[np.bool_]
    base_stations: NDArray[np.float64]


class Opened(ABC):
    """The data of a scenario."""

    @property
    @abstractmethod
    def carrier_frequency(self) -> float:
        """Hz."""

    @property
    @abstractmethod
    def positions(self) -> Positions | None:
        """All users and the base stations; None where nobody knows where they are."""

    @abstractmethod
    def links(self, kind: LinkKind, tell: Callback) -> tuple[LinkSet, float]:
        """The links of a kind that the scenario has a section for, and the share of the groups
        tried that was skipped.
        """


# Data of one's own are opened with each configuration that is made of a scenario.
Source = Callable[[ScenarioConfig], Opened]


@dataclass(frozen=True, eq=False)
class Stations(Opened):
    """Base stations with ray-traced paths to users, of which groups are drawn."""

    config: ScenarioConfig
    stations: Sequence[BaseStation]

    @property
    def carrier_frequency(self) -> float:
        return self.stations[0].carrier_frequency

    @property
    def positions(self) -> Positions:
        users = np.concatenate([station.user_positions for station in self.stations])
        found = np.concatenate([station.has_path for station in self.stations])
        # Base stations mostly share one grid of users.
        users, index = np.unique(users, axis=0, return_inverse=True)
        has_path = np.zeros(len(users), np.bool_)
        np.logical_or.at(has_path, index.reshape(-1), found)
        return Positions(users, has_path, np.array([station.position for station in self.stations]))

    def links(self, kind: LinkKind, tell: Callback) -> tuple[LinkSet, float]:
        draw = {"multi_user": draw_multi_user, "single_user": draw_single_user}[kind]
        return draw(self.config, self.stations, tell)
