"""Settings that the blocks refuse, those of PyTorch and of TensorFlow alike."""

from __future__ import annotations

from collections.abc import Sequence
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


def checked_ranks(ranks: Sequence[int] | None, num_rx: int, most: int) -> list[int]:
    """Streams of each receiver; as many as it may get for None.

    :raises ValueError: if there are not as many ranks as receivers, or a rank is beyond its limits
    """
    own = [most] * num_rx if ranks is None else [int(rank) for rank in ranks]
    if len(own) != num_rx or not all(1 <= rank <= most for rank in own):
        raise ValueError(
            f"ranks is {own}, one number from 1 to {most} for each of the {num_rx} receivers is "
            f"needed: stream_management has {most} streams for a receiver."
        )
    return own
