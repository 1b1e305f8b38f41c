"""Single users with as many streams as they have directions: urban microcells of TR 38.901.

The traced cities have few paths a user, and no user with sixteen streams: the sixteenth singular
value is 80 dB below the first. Without a line of sight, the clusters of an urban microcell come
from all around a user.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from sionna.phy import config as sionna_config
from sionna.phy.channel import cir_to_ofdm_channel, subcarrier_frequencies
from sionna.phy.channel.tr38901 import PanelArray, UMi

from neumatc_mimo import Scenario
from neumatc_mimo.bench.blocks import Point

_CARRIER = 3.5e9
_SPACING = 30e3
# Metres: the heights of TR 38.901, Table 7.2-1, and distances inside of a cell of that table.
_BASE_STATION_HEIGHT, _USER_HEIGHT = 10.0, 1.5
_NEAREST, _FARTHEST = 30.0, 100.0


def urban_users(point: Point, num_links: int, seed: int = 0) -> Scenario:
    """Links of one user each, drawn by Sionna's ``UMi`` without a line of sight.

    :param point: arrays, subcarriers and streams
    :param num_links: users
    :param seed: of the places and the channels
    """
    assert point.bs is not None
    before = sionna_config.seed
    sionna_config.seed = seed
    try:
        model = UMi(
            carrier_frequency=_CARRIER,
            o2i_model="low",
            ut_array=_array(point.user),
            bs_array=_array(point.bs),
            direction="downlink",
            enable_pathloss=False,
            enable_shadow_fading=False,
        )
        _place(model, num_links, seed)
        gains, delays = model(1, 1.0)
    finally:
        sionna_config.seed = before
    frequencies = subcarrier_frequencies(point.fft_size, _SPACING)
    # Sionna: [link, user, antenna, base station, antenna, OFDM symbol, subcarrier].
    h = cir_to_ofdm_channel(frequencies, gains, delays)[:, 0, :, 0, :, 0].movedim(-1, 1)
    return Scenario.from_channel(
        h,
        name="urban microcell",
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


def _place(model: Any, num_links: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    share, turn = torch.rand(2, num_links, generator=draw)
    distance = _NEAREST + (_FARTHEST - _NEAREST) * share
    angle = 2 * math.pi * turn
    height = torch.full_like(distance, _USER_HEIGHT)
    users = torch.stack([distance * angle.cos(), distance * angle.sin(), height], -1)
    still = torch.zeros(num_links, 1, 3)
    stations = still + torch.tensor([0.0, 0.0, _BASE_STATION_HEIGHT])
    outdoors = torch.zeros(num_links, 1, dtype=torch.bool)
    model.set_topology(users[:, None], stations, still, still, still, outdoors, los=False)
