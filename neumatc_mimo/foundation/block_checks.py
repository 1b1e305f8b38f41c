"""Settings that the blocks refuse, those of PyTorch and of TensorFlow alike."""

from __future__ import annotations

from typing import Any


def check_type(name: str, value: Any, kind: type) -> None:
    """Refuse a value of another type."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} is a {type(value).__name__}, it must be a {kind.__name__}.")


def check_streams(num_streams: int, num_rx_ant: int, num_tx_ant: int) -> None:
    """Refuse more streams than singular values."""
    if num_streams > min(num_rx_ant, num_tx_ant):
        raise ValueError(
            f"{num_streams} streams are more than the antennas of a link of {num_rx_ant} x "
            f"{num_tx_ant}."
        )
