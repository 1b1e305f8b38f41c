"""Single-antenna users of a sector who send to its base station, as 3GPP TR 38.901 models them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from sionna.phy import config
from sionna.phy.channel import GenerateOFDMChannel, gen_single_sector_topology
from sionna.phy.channel.tr38901 import AntennaArray, RMa, UMa, UMi
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LMMSEChannelEstimator, LSChannelEstimator
from torch import Tensor

from tests.tutorials.links import DOUBLE, resource_grid

CARRIER, USERS, SYMBOLS = 3.5e9, 4, 14
_KINDS: dict[str, Any] = {"umi": UMi, "uma": UMa, "rma": RMa}
GRID = resource_grid(
    num_ofdm_symbols=SYMBOLS,
    fft_size=72,
    subcarrier_spacing=30e3,
    num_tx=USERS,
    cyclic_prefix_length=20,
    pilot_pattern="kronecker",
    pilot_ofdm_symbol_indices=[2, 11],
)
STREAMS = StreamManagement(np.ones([1, USERS]), 1)


def array(num_antennas: int, pattern: str) -> AntennaArray:
    """One vertical antenna, or two columns of cross-polarised ones."""
    one = num_antennas == 1
    return AntennaArray(
        num_rows=1 if one else 2,
        num_cols=1 if one else num_antennas // 4,
        polarization="single" if one else "dual",
        polarization_type="V" if one else "cross",
        antenna_pattern=pattern,
        carrier_frequency=CARRIER,
        **DOUBLE,
    )


def cell(
    kind: str,
    items: int,
    num_users: int,
    user: Any,
    station: Any,
    speed: float,
    lossy: bool = False,
) -> Any:
    """A channel model with new places of its users.

    It is made anew each time: the first places of one draw more random numbers than later ones.

    :param speed: of the users, in m/s
    :param lossy: whether users further away are weaker, and those in a shadow
    """
    model = _KINDS[kind](
        CARRIER,
        **({} if kind == "rma" else {"o2i_model": "low"}),
        ut_array=user,
        bs_array=station,
        direction="uplink",
        enable_pathloss=lossy,
        enable_shadow_fading=lossy,
        **DOUBLE,
    )
    speeds = {"min_ut_velocity": speed, "max_ut_velocity": speed}
    model.set_topology(*gen_single_sector_topology(items, num_users, kind, **speeds, **DOUBLE))
    return model


def channel(kind: str, items: int, speed: float = 3.0, lossy: bool = False) -> Tensor:
    """[items, 1, 8, USERS, 1, SYMBOLS, fft_size], of each user with unit power on average, or as
    weak as it is.
    """
    user, station = array(1, "omni"), array(8, "38.901")
    model = cell(kind, items, USERS, user, station, speed, lossy)
    h: Tensor = GenerateOFDMChannel(model, GRID, normalize_channel=not lossy, **DOUBLE)(items)
    return h


@cache
def estimator(kind: str, interpolation: str) -> Any:
    """Of least squares with an interpolation, "nn" or "lin", or "lmmse" for the MMSE estimator with
    covariances over many users of a cell.
    """
    if interpolation != "lmmse":
        return LSChannelEstimator(GRID, interpolation_type=interpolation, **DOUBLE)
    config.seed = 1
    h = channel(kind, 16)[:, 0, :, :, 0]  # [items, antennas, users, symbols, subcarriers]
    found = [
        torch.einsum(formula, h, h.conj())
        for formula in ("buksf,bukzf->sz", "buksf,buksg->fg", "baust,bcust->ac")
    ]
    normed = (one / one.diagonal().real.mean() for one in found)
    return LMMSEChannelEstimator(GRID, *normed, order="t-f-s", **DOUBLE)
