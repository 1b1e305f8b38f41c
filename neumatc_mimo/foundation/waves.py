"""Waves e^{-j2πfτ} with NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def wave(frequencies: ArrayLike, delays: ArrayLike) -> NDArray[Any]:
    r""":math:`e^{-j 2\pi f \tau}`; whole turns are dropped first, as they cost digits of the phase.

    :param frequencies: f in Hz
    :param delays: :math:`\tau` in seconds; the two broadcast

    :return: complex128
    """
    turns = np.multiply(frequencies, delays, dtype=np.float64)
    return np.exp(-2j * np.pi * (turns - turns.round()))
