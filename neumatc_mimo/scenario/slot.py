"""The slots of 5G NR."""

from __future__ import annotations


def slot_duration(subcarrier_spacing: float, num_slots: int = 1) -> float:
    """Seconds of slots of 14 OFDM symbols, cyclic prefixes included.

    One lasts a millisecond at 15 kHz (3GPP TS 38.211, 4.3.2).

    :param subcarrier_spacing: Hz
    """
    return num_slots * 1e-3 * 15e3 / subcarrier_spacing
