"""Where channels are looked at to recognise a link, and how close they have to be to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# A row that deviates by more is another channel. A filter that enhances noise by 40 dB, as ill
# conditioned as links may be, still reaches the certificate's 40 dB with it. Single-precision
# channels agree to 3e-5; a user who moved by a few centimetres at 3.5 GHz deviates by 1e-1.
DEVIATION = 1e-4
# At a single subcarrier, over the row's mean power: rounding is larger there than on average.
PEAK = 3e-4
# Below it a row deviates by more than 1e-2, whatever its phase, delay and gain.
ALIKE = 1 - 5e-5
_NUM_PROBES = 16
# Antennas that are looked at on each subcarrier, and subcarriers of a line of the cache.
_NUM_SPOTS, STRETCH = 4, 8
# Likenesses that rounding may tell apart.
TIE = 1e-5


def probe_indices(num_frequencies: int) -> NDArray[np.int64]:
    """Indices of the probes: spread over the grid, plus neighbours that make delays unique."""
    spread = np.linspace(0, num_frequencies - 1, _NUM_PROBES // 2).round().astype(np.int64)
    close = num_frequencies // 2 + np.array([1, 2, 5, 11, 23, 47, 97, 197])
    return np.unique(np.concatenate([spread, close.clip(max=num_frequencies - 1)]))


def looks(num_frequencies: int, num_columns: int) -> NDArray[np.int64]:
    """Antennas that are looked at on each subcarrier, [num_frequencies, antennas].

    They change from one line of the cache to the next, and are evenly spread: within some 32
    subcarriers for every 16 antennas all have had their turn.
    """
    turns = max(num_columns // _NUM_SPOTS, 1)
    each = -(-num_columns // turns)
    stretch = np.arange(num_frequencies) // STRETCH
    return (stretch[:, None] % turns + turns * np.arange(each)) % num_columns
