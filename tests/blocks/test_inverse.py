"""ZFPrecoder, MMSEEqualizer and MMSEDetector against Sionna's blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LinearDetector, LMMSEEqualizer, RZFPrecoder
from torch import Tensor

from neumatc_mimo.blocks import MMSEDetector, MMSEEqualizer, ZFPrecoder
from neumatc_mimo.solvers.exact import Exact
from tests.blocks.common import (
    FFT_SIZE,
    NUM_EFFECTIVE,
    PRECISIONS,
    SYMBOLS,
    TIMES,
    close,
    distinct,
    grid,
    in_time,
    noise,
)

# receivers x transmitters, streams per transmitter, antennas of a receiver
DOWNLINKS = {
    "users": (np.ones([3, 1]), 3, 1),
    "two antennas a user": (np.ones([2, 1]), 4, 2),
    "two cells": (np.kron(np.eye(2), np.ones([2, 1])), 2, 1),
    "interleaved cells": (np.array([[1, 0], [0, 1], [1, 0], [0, 1]]), 2, 1),
}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("association, num_streams, num_rx_ant", DOWNLINKS.values(), ids=DOWNLINKS)
def test_zf_precoder_equals_sionna(
    association: Any, num_streams: int, num_rx_ant: int, time: str, precision: str
) -> None:
    dtype, tolerance = PRECISIONS[precision]
    num_rx, num_tx = association.shape
    rg, sm = grid(num_tx, num_streams), StreamManagement(association, num_streams)
    x = noise(2, num_tx, num_streams, SYMBOLS, FFT_SIZE, seed=1).to(dtype)
    h = noise(2, num_rx, num_rx_ant, num_tx, 8, 1, FFT_SIZE, seed=2).to(dtype)
    h = in_time(h, time)
    ours = ZFPrecoder(rg, sm, Exact(), return_effective_channel=True, precision=precision)
    theirs = RZFPrecoder(rg, sm, return_effective_channel=True, precision=precision)
    for one, other in zip(ours(x, h), theirs(x, h), strict=True):
        close(one, other, tolerance)
    assert ours.stats.exact == 2 * num_tx * distinct(time) * FFT_SIZE
    assert f"exact {ours.stats.exact:,}" in repr(ours)


ALPHAS = {
    "float": 0.3,
    "tensor": torch.tensor(0.3),
    "zero": torch.zeros(1),
    "batch": torch.tensor([0.1, 0.5])[:, None, None, None],
    "symbols": torch.linspace(0.1, 1, SYMBOLS)[:, None],
    "subcarriers": torch.linspace(0.1, 1, FFT_SIZE),
    "all": torch.rand(2, 1, SYMBOLS, FFT_SIZE, generator=torch.Generator().manual_seed(3)),
}


@pytest.mark.parametrize("alpha", ALPHAS.values(), ids=ALPHAS)
def test_regularised_precoder_equals_sionna(alpha: Any) -> None:
    rg, sm = grid(1, 3), StreamManagement(np.ones([3, 1]), 3)
    x = noise(2, 1, 3, SYMBOLS, FFT_SIZE, seed=1)
    h = in_time(noise(2, 3, 1, 1, 4, 1, FFT_SIZE, seed=2), "constant")
    ours = ZFPrecoder(rg, sm, Exact(), True, precision="double")
    theirs = RZFPrecoder(rg, sm, True, precision="double")
    for one, other in zip(ours(x, h, alpha), theirs(x, h, alpha), strict=True):
        close(one, other, 1e-9)


def test_alpha_of_each_batch_item() -> None:
    rg, sm = grid(1, 3), StreamManagement(np.ones([3, 1]), 3)
    x, h = noise(2, 1, 3, SYMBOLS, FFT_SIZE, seed=1), noise(2, 3, 1, 1, 4, 4, FFT_SIZE, seed=2)
    block = ZFPrecoder(rg, sm, Exact(), precision="double")
    alpha = torch.tensor([0.1, 0.5], dtype=torch.float64)
    close(block(x, h, alpha), block(x, h, alpha[:, None, None, None]), 1e-12)


# receivers x transmitters, streams per transmitter
UPLINKS = {
    "users": (np.ones([1, 3]), 1),
    "two streams a user": (np.ones([1, 2]), 2),
    "two cells": (np.kron(np.eye(2), np.ones([1, 2])), 1),
    "interleaved cells": (np.array([[1, 0, 1, 0], [0, 1, 0, 1]]), 1),
}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("association, num_streams", UPLINKS.values(), ids=UPLINKS)
def test_mmse_equalizer_equals_sionna(
    association: Any, num_streams: int, time: str, precision: str
) -> None:
    dtype, tolerance = PRECISIONS[precision]
    num_rx, num_tx = association.shape
    rg, sm = grid(num_tx, num_streams), StreamManagement(association, num_streams)
    y = noise(2, num_rx, 6, SYMBOLS, FFT_SIZE, seed=1).to(dtype)
    subcarriers = rg.num_effective_subcarriers
    h = noise(2, num_rx, 6, num_tx, num_streams, 1, subcarriers, seed=2).to(dtype)
    h = in_time(h, time)
    ours = MMSEEqualizer(rg, sm, Exact(), precision=precision)
    theirs = LMMSEEqualizer(rg, sm, precision=precision)
    for one, other in zip(ours(y, h, 0.0, 0.2), theirs(y, h, 0.0, torch.tensor(0.2)), strict=True):
        close(one, other, tolerance)
    assert ours.stats.exact == 2 * num_rx * distinct(time) * subcarriers


def uniform(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


VARIANCES = {
    "no error": (0.0, 0.2),
    "scalar": (torch.tensor(0.1), torch.tensor(0.2)),
    "streams": (uniform(3, 1, 1, 1), 0.2),
    "antennas": (uniform(6, 1, 1, 1, 1), 0.2),
    "symbols": (uniform(SYMBOLS, 1), 0.2),
    "subcarriers": (uniform(NUM_EFFECTIVE), 0.2),
    "equal everywhere": (torch.full((2, 1, 6, 3, 1, SYMBOLS, NUM_EFFECTIVE), 0.1), 0.2),
    "different everywhere": (uniform(2, 1, 6, 3, 1, SYMBOLS, NUM_EFFECTIVE), 0.2),
    "no of each item": (0.0, uniform(2)),
    "no of each receiver": (0.0, uniform(2, 1)),
    "no of each antenna": (0.01, uniform(2, 1, 6)),
    "no of each antenna, equal": (0.01, torch.full((2, 1, 6), 0.3)),
}


@pytest.mark.parametrize("err_var, no", VARIANCES.values(), ids=VARIANCES)
def test_variances_as_in_sionna(err_var: Any, no: Any) -> None:
    rg, sm = grid(3, 1), StreamManagement(np.ones([1, 3]), 1)
    assert rg.num_effective_subcarriers == NUM_EFFECTIVE
    y = noise(2, 1, 6, SYMBOLS, FFT_SIZE, seed=1)
    h = in_time(noise(2, 1, 6, 3, 1, 1, NUM_EFFECTIVE, seed=2), "constant")
    ours = MMSEEqualizer(rg, sm, Exact(), precision="double")
    theirs = LMMSEEqualizer(rg, sm, precision="double")
    expected = theirs(y, h, torch.as_tensor(err_var), torch.as_tensor(no))
    for one, other in zip(ours(y, h, err_var, no), expected, strict=True):
        close(one, other, 1e-9)


@pytest.mark.parametrize("pilots", ["empty", "kronecker"])
@pytest.mark.parametrize(
    "output, hard_out", [("bit", False), ("bit", True), ("symbol", False), ("symbol", True)]
)
def test_mmse_detector_equals_sionna(output: Any, hard_out: bool, pilots: str) -> None:
    association = np.kron(np.eye(2), np.ones([1, 2]))
    rg = grid(4, 1, pilot_pattern=pilots)
    sm = StreamManagement(association, 1)
    y = noise(2, 2, 6, SYMBOLS, FFT_SIZE, seed=1)
    h = noise(2, 2, 6, 4, 1, SYMBOLS, rg.num_effective_subcarriers, seed=2)
    settings: dict[str, Any] = {
        "constellation_type": "qam",
        "num_bits_per_symbol": 4,
        "hard_out": hard_out,
        "precision": "double",
    }
    ours = MMSEDetector(output, "app", rg, sm, Exact(), **settings)
    theirs = LinearDetector("lmmse", output, "app", rg, sm, **settings)
    close(ours(y, h, 0.0, 0.2), theirs(y, h, 0.0, torch.tensor(0.2)), 1e-9)
    assert ours.stats.exact > 0
    assert f"exact {ours.stats.exact:,}" in repr(ours)
