"""Single users with as many streams as they have directions: clustered delay lines of TR 38.901.

The traced cities have few paths a user, and no user with sixteen streams: the sixteenth singular
value is 60 dB below the first, and more. The clusters of CDL-B come from all around a user.
"""

from __future__ import annotations

from typing import Any

from sionna.phy import config as sionna_config
from sionna.phy.channel import cir_to_ofdm_channel, subcarrier_frequencies
from sionna.phy.channel.tr38901 import CDL, PanelArray

from neumatc_mimo import Scenario
from neumatc_mimo.bench.blocks import Point

_CARRIER = 3.5e9
_SPACING = 30e3


def clustered_users(point: Point, num_links: int, delay_spread: float, seed: int = 0) -> Scenario:
    """Links of one user each, drawn by Sionna's CDL-B.

    :param point: arrays, subcarriers and streams
    :param num_links: users
    :param delay_spread: RMS, in seconds: some 40 ns in an office, 300 ns in a street
    :param seed: of the channels
    """
    assert point.bs is not None
    arrays = _array(point.user), _array(point.bs)
    before = sionna_config.seed
    sionna_config.seed = seed
    try:
        gains, delays = CDL("B", delay_spread, _CARRIER, *arrays, "downlink")(num_links, 1, 1.0)
    finally:
        sionna_config.seed = before
    frequencies = subcarrier_frequencies(point.fft_size, _SPACING)
    # Sionna: [link, user, antenna, base station, antenna, OFDM symbol, subcarrier].
    h = cir_to_ofdm_channel(frequencies, gains, delays)[:, 0, :, 0, :, 0].movedim(-1, 1)
    return Scenario.from_channel(
        h,
        name=f"CDL-B, {1e9 * delay_spread:g} ns",
        progress=False,
        array={"bs": point.bs},
        grid={"subcarrier_spacing": _SPACING},
        single_user={"ue": point.user, "num_streams": point.streams},
    )


def _array(size: tuple[int, int]) -> Any:
    rows, columns = size
    return PanelArray(
        num_rows_per_panel=rows,
        num_cols_per_panel=columns,
        polarization="single",
        polarization_type="V",
        antenna_pattern="omni",
        carrier_frequency=_CARRIER,
    )
