"""The grids of the tests, for the ResourceGrid of either Sionna."""

from __future__ import annotations

from typing import Any

SYMBOLS, FFT_SIZE = 4, 192


def grid_settings(num_streams: int, num_tx: int = 1) -> dict[str, Any]:
    """A grid of four symbols with guard and DC carriers and pilots."""
    return {
        "num_ofdm_symbols": SYMBOLS,
        "fft_size": FFT_SIZE,
        "subcarrier_spacing": 120e3,
        "num_tx": num_tx,
        "num_streams_per_tx": num_streams,
        "num_guard_carriers": (6, 5),
        "dc_null": True,
        "pilot_pattern": "kronecker",
        "pilot_ofdm_symbol_indices": [1],
    }
