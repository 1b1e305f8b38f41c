"""ZFPrecodedChannel against Sionna's, and in Sionna's post-equalization SINR."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LMMSEPostEqualizationSINR, RZFPrecodedChannel
from torch import Tensor

from neumatc_mimo.blocks import ZFPrecodedChannel
from neumatc_mimo.solvers.exact import Exact
from tests.blocks.common import (
    FFT_SIZE,
    PRECISIONS,
    SYMBOLS,
    TIMES,
    close,
    distinct,
    grid,
    in_time,
    noise,
)

DOWN = StreamManagement(np.ones([3, 1]), 3)


def uniform(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


# receivers x transmitters, streams per transmitter, antennas of a receiver
NETWORKS = {
    "users": (np.ones([3, 1]), 3, 1),
    "two antennas a user": (np.ones([2, 1]), 4, 2),
    "interleaved cells": (np.array([[1, 0], [0, 1], [1, 0], [0, 1]]), 2, 1),
}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("known", [None, *TIMES])
@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("association, num_streams, num_rx_ant", NETWORKS.values(), ids=NETWORKS)
def test_equals_sionna(
    association: Any, num_streams: int, num_rx_ant: int, time: str, known: str, precision: str
) -> None:
    dtype, tolerance = PRECISIONS[precision]
    num_rx, num_tx = association.shape
    rg, sm = grid(num_tx, num_streams), StreamManagement(association, num_streams)
    shape = (2, num_rx, num_rx_ant, num_tx, 8, 1, FFT_SIZE)
    h = in_time(noise(*shape, seed=2).to(dtype), time)
    h_hat = None if known is None else in_time(noise(*shape, seed=3).to(dtype), known)
    tx_power = uniform(2, num_tx, num_streams, SYMBOLS, FFT_SIZE).to(h.real.dtype)
    ours = ZFPrecodedChannel(rg, sm, Exact(), precision=precision)
    theirs = RZFPrecodedChannel(rg, sm, precision=precision)
    close(ours(h, tx_power, h_hat, 0.3), theirs(h, tx_power, h_hat, 0.3), tolerance)
    assert ours.stats.exact == 2 * num_tx * distinct(known or time) * FFT_SIZE


POWERS = {
    "scalar": torch.tensor(2.0),
    "items": uniform(2),
    "transmitters": uniform(2, 1),
    "streams": uniform(1, 1, 3),
    "symbols": uniform(2, 1, 3, SYMBOLS),
    "zero": torch.zeros(2, 1, 3),
}


@pytest.mark.parametrize("tx_power", POWERS.values(), ids=POWERS)
@pytest.mark.parametrize(
    "alpha", [0.0, uniform(2), uniform(2, 1), uniform(2, 1, SYMBOLS), uniform(1, 1, 1, FFT_SIZE)]
)
def test_powers_and_regularisations_as_in_sionna(tx_power: Tensor, alpha: Any) -> None:
    h = in_time(noise(2, 3, 1, 1, 4, 1, FFT_SIZE, seed=2), "constant")
    ours = ZFPrecodedChannel(grid(1, 3), DOWN, Exact(), precision="double")
    theirs = RZFPrecodedChannel(grid(1, 3), DOWN, precision="double")
    found, expected = ours(h, tx_power, None, alpha), theirs(h, tx_power, None, alpha)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_sinr_after_equalization_is_sionnas() -> None:
    """With an estimate, so that streams interfere."""
    rg = grid(1, 3)
    h = in_time(noise(2, 3, 1, 1, 8, 1, FFT_SIZE, seed=2), "view")
    h_hat = h + 0.1 * in_time(noise(2, 3, 1, 1, 8, 1, FFT_SIZE, seed=3), "view")
    sinr = LMMSEPostEqualizationSINR(rg, DOWN, precision="double")
    no = torch.tensor(0.1, dtype=torch.float64)
    found, expected = (
        sinr(channel(h, torch.ones(2, 1, 3, dtype=torch.float64), h_hat), no)
        for channel in (
            ZFPrecodedChannel(rg, DOWN, Exact(), precision="double"),
            RZFPrecodedChannel(rg, DOWN, precision="double"),
        )
    )
    close(found, expected, 1e-9)
    assert found.shape == (2, SYMBOLS, rg.num_effective_subcarriers, 3, 1)


def test_what_is_refused() -> None:
    h = noise(2, 3, 1, 1, 4, SYMBOLS, FFT_SIZE, seed=2)
    block = ZFPrecodedChannel(grid(1, 3), DOWN, Exact(), precision="double")
    for inputs, message in (
        ((h[..., 1:], torch.ones(2)), "h has the shape"),
        ((h, torch.ones(2), h[..., :2, :]), "h_hat has the shape"),
        ((h, torch.ones(3)), "tx_power has the shape"),
        ((h, -torch.ones(2)), "tx_power has negative"),
        ((h, torch.ones(2), None, torch.ones(5)), "alpha has the shape"),
        ((0.1, torch.ones(2)), "h has the shape"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            block(*inputs)
