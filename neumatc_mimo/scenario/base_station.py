"""A base station and the users around it, wherever their paths come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Paths(NamedTuple):
    """The paths of some users; users with fewer than P paths are filled up at the end.

    :param coefficients: With array responses and phases, [num_users, ue antennas, bs antennas, P],
        complex128; 0 where a path is missing
    :param delays: Seconds, [num_users, P], float64; the first arrival where a path is missing
    :param steering: Phase of the array response in radians, not wrapped,
        [num_users, ue antennas, bs antennas, P], float64; None without beam squint
    :param arrivals: Unit vectors from a user to where paths come from, [num_users, P, 3], float64;
        zero where a path is missing
    :param doppler: Doppler shifts of the data's velocities in Hz, [num_users, P], float64; zero
        where a path is missing, None unless the scenario asks for them
    """

    coefficients: NDArray[np.complex128]
    delays: NDArray[np.float64]
    steering: NDArray[np.float64] | None
    arrivals: NDArray[np.float64]
    doppler: NDArray[np.float64] | None


@dataclass(frozen=True, eq=False, kw_only=True)
class BaseStation(ABC):
    """One base station and the users around it.

    :param position: Metres, [3]
    :param user_positions: Metres, [num_users, 3]
    :param carrier_frequency: Hz
    """

    position: NDArray[np.float64]
    user_positions: NDArray[np.float64]
    carrier_frequency: float

    @property
    @abstractmethod
    def has_path(self) -> NDArray[np.bool_]:
        """Whether any path reaches a user, [num_users]."""

    @property
    @abstractmethod
    def powers(self) -> NDArray[np.float64]:
        """Power of all paths of each user together, [num_users]."""

    @abstractmethod
    def paths(self, users: NDArray[np.int64], ue: tuple[int, int]) -> Paths:
        """Return the paths of some users.

        :param users: Indices of distinct users, [num_users]
        :param ue: Shape of the users' antenna array
        """

    @abstractmethod
    def update_digest(self, digest: Any, users: NDArray[np.int64]) -> None:
        """Add the data's own numbers on some users to a hash; they are the same everywhere."""

    @cached_property
    def chosen(self) -> NDArray[np.bool_]:
        """Which users the scenario takes, [num_users]; all of them unless it says otherwise."""
        return np.ones(len(self.user_positions), np.bool_)

    @property
    def able(self) -> NDArray[np.bool_]:
        """Which users links can have, [num_users]."""
        return self.has_path & self.chosen
