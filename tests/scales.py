"""Channels of any gain, any noise and users far apart, for tests of PyTorch and TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

USERS, ANTENNAS, SYMBOLS, SUBCARRIERS = 4, 8, 2, 12
# Of the error of Sionna's block in single precision, and what is allowed in any case.
TIMES, FLOOR = 10, 1e-5


@dataclass(frozen=True)
class Case:
    """A channel and what is sent over it; random numbers come from ``seed``.

    :param scale: gain of the channel
    :param levels: dB of each user below the strongest
    :param silent: a user whose channel is zero, or None
    :param no: noise power over that of the channel
    """

    seed: int
    scale: float
    levels: tuple[float, ...]
    silent: int | None
    no: float

    @property
    def gains(self) -> Array:
        """[USERS]"""
        gains = self.scale * 10 ** (-np.array(self.levels) / 20)
        if self.silent is not None:
            gains[self.silent] = 0
        return gains

    @property
    def noise(self) -> float:
        return self.no * self.scale**2

    def channel(self) -> Array:
        """[1, USERS, 1, 1, ANTENNAS, SYMBOLS, SUBCARRIERS]"""
        h = _samples(1, USERS, 1, 1, ANTENNAS, 1, SUBCARRIERS, seed=self.seed)
        h *= self.gains[:, None, None, None, None, None]
        return np.repeat(h, SYMBOLS, axis=-2).astype(np.complex64)

    def symbols(self) -> Array:
        x = _samples(1, 1, USERS, SYMBOLS, SUBCARRIERS, seed=self.seed + 1)
        return x.astype(np.complex64)

    def received(self) -> Array:
        """As strong as what arrives."""
        level = max(float(self.gains.max()), self.noise**0.5)
        y = _samples(1, 1, ANTENNAS, SYMBOLS, SUBCARRIERS, seed=self.seed + 2)
        return (level * y).astype(np.complex64)

    def heard(self) -> list[int]:
        return [user for user in range(USERS) if user != self.silent]


def _samples(*shape: int, seed: int) -> Array:
    """Complex Gaussian samples of unit power."""
    pair: Array = np.random.default_rng(seed).normal(size=(2, *shape)) / np.sqrt(2)
    return pair[0] + 1j * pair[1]
