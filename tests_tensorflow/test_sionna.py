"""Exact blocks give what Sionna 1.2's own blocks give, whatever varies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from sionna.phy import ofdm
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LinearDetector, LMMSEEqualizer, RZFPrecoder

from neumatc_mimo.tensorflow import (
    Exact,
    MFEqualizer,
    MMSEDetector,
    MMSEEqualizer,
    ZFEqualizer,
    ZFPrecoder,
)
from neumatc_mimo.tensorflow import LinearDetector as TheDetector
from neumatc_mimo.tensorflow.in_precision import InPrecision
from tests_tensorflow.conftest import DOWNLINK, UPLINK, close, compiled, grid, samples
from tests_tensorflow.grids import FFT_SIZE, SYMBOLS

BATCH = 2
# Two cells of two users each, every base station heard by all.
CELLS = StreamManagement(np.array([[1, 0], [1, 0], [0, 1], [0, 1]]), 2)
CELLS_UPLINK = StreamManagement(np.array([[1, 1, 0, 0], [0, 0, 1, 1]]), 1)


def channel(*shape: int, constant: bool, num_subcarriers: int = FFT_SIZE) -> Any:
    """Channels of all shapes over the slot, constant or not."""
    h = samples(BATCH, *shape, 1 if constant else SYMBOLS, num_subcarriers, seed=1)
    return np.repeat(h, SYMBOLS, axis=-2) if constant else h


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize(
    "alpha", [0.0, 0.1, np.full([BATCH, 1, 1, 1], 0.2), samples(1, 1, FFT_SIZE, seed=3).real ** 2]
)
@pytest.mark.parametrize("management", [DOWNLINK, CELLS])
def test_precoder(constant: bool, alpha: Any, management: StreamManagement) -> None:
    num_tx, num_rx = management.num_tx, management.num_rx
    rg = grid(management.num_streams_per_tx, num_tx)
    x = samples(BATCH, num_tx, management.num_streams_per_tx, SYMBOLS, FFT_SIZE, seed=2)
    h = channel(num_rx, 1, num_tx, 8, constant=constant)
    block = ZFPrecoder(rg, management, Exact(), True, "double")
    theirs = InPrecision(lambda: RZFPrecoder(rg, management, True), "double")(x, h, alpha)
    for ours, other in zip(block(x, h, alpha), theirs, strict=True):
        close(ours, other, 1e-9)
    assert block.stats.exact == BATCH * num_tx * FFT_SIZE * (1 if constant else SYMBOLS)


# Our equalizers by Sionna's.
EQUALIZERS: dict[Any, Any] = {
    LMMSEEqualizer: MMSEEqualizer,
    ofdm.ZFEqualizer: ZFEqualizer,
    ofdm.MFEqualizer: MFEqualizer,
}


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("err_var", ["scalar", "per subcarrier"])
@pytest.mark.parametrize("no", ["scalar", "per antenna"])
@pytest.mark.parametrize("management", [UPLINK, CELLS_UPLINK])
@pytest.mark.parametrize("kind", EQUALIZERS)
def test_equalizer(
    kind: Any, constant: bool, err_var: str, no: str, management: StreamManagement
) -> None:
    num_tx, num_rx = management.num_tx, management.num_rx
    rg = grid(1, num_tx)
    num_effective = int(rg.num_effective_subcarriers)
    y = samples(BATCH, num_rx, 8, SYMBOLS, FFT_SIZE, seed=4)
    h = channel(num_rx, 8, num_tx, 1, constant=constant, num_subcarriers=num_effective)
    noise = tf.constant(0.1, tf.float64)
    if no == "per antenna":
        noise = 0.1 + np.abs(samples(BATCH, num_rx, 8, seed=5))
    error: Any = tf.constant(0.02, tf.float64)
    if err_var == "per subcarrier":
        error = np.abs(samples(1, 1, 1, num_tx, 1, SYMBOLS, num_effective, seed=6))
    block = EQUALIZERS[kind](rg, management, Exact(), precision="double")
    sionna = InPrecision(lambda: kind(rg, management), "double")
    theirs = sionna(y, h, error, noise)
    for ours, other in zip(block(y, h, error, noise), theirs, strict=True):
        close(ours, other, 1e-9)
    once = constant and err_var == "scalar"
    assert block.stats.exact == BATCH * num_rx * num_effective * (1 if once else SYMBOLS)


def test_equalizers_in_a_graph() -> None:
    rg = grid(1, 3)
    num_effective = int(rg.num_effective_subcarriers)
    y = tf.constant(samples(BATCH, 1, 8, SYMBOLS, FFT_SIZE, seed=4), tf.complex64)
    h = channel(1, 8, 3, 1, constant=True, num_subcarriers=num_effective)
    h, no = tf.constant(h, tf.complex64), tf.constant(0.1)
    for ours in (ZFEqualizer, MFEqualizer):
        block = ours(rg, UPLINK, Exact())
        expected = block(y, h, 0.0, no)
        for jit_compile in (True, False):
            found = compiled(block, jit_compile=jit_compile)(y, h, 0.0, no)
            for one, other in zip(found, expected, strict=True):
                close(one, other, 1e-4)


def test_more_streams_than_antennas_are_refused() -> None:
    rg = grid(1, 3)
    y = samples(BATCH, 1, 2, SYMBOLS, FFT_SIZE, seed=4)
    num_effective = int(rg.num_effective_subcarriers)
    h = channel(1, 2, 3, 1, constant=True, num_subcarriers=num_effective)
    with pytest.raises(ValueError, match="3 streams are more than the 2 antennas"):
        ZFEqualizer(rg, UPLINK, Exact(), precision="double")(y, h, 0.0, 0.1)
    with pytest.raises(ValueError, match="equalizer is 'none', it must be one of lmmse, mf, zf"):
        TheDetector("none", "bit", "app", rg, UPLINK, Exact(), "qam", 4)


@pytest.mark.parametrize("output", ["bit", "symbol"])
@pytest.mark.parametrize("hard_out", [True, False])
@pytest.mark.parametrize("equalizer", ["lmmse", "zf", "mf"])
def test_linear_detector(equalizer: str, output: Any, hard_out: bool) -> None:
    rg = grid(1, 3)
    y = samples(BATCH, 1, 8, SYMBOLS, FFT_SIZE, seed=4)
    num_effective = int(rg.num_effective_subcarriers)
    h = channel(1, 8, 3, 1, constant=True, num_subcarriers=num_effective)
    settings: Any = (equalizer, output, "app", rg, UPLINK)
    ours = TheDetector(*settings, Exact(), "qam", 4, hard_out=hard_out, precision="double")
    theirs = InPrecision(lambda: LinearDetector(*settings, "qam", 4, hard_out=hard_out), "double")
    no = tf.constant(0.1, tf.float64)
    close(ours(y, h, 0.0, no), theirs(y, h, 0.0, no), 1e-9)


@pytest.mark.parametrize("output", ["bit", "symbol"])
@pytest.mark.parametrize("hard_out", [True, False])
def test_detector(output: Any, hard_out: bool) -> None:
    rg = grid(1, 3)
    y = samples(BATCH, 1, 8, SYMBOLS, FFT_SIZE, seed=4)
    num_effective = int(rg.num_effective_subcarriers)
    h = channel(1, 8, 3, 1, constant=True, num_subcarriers=num_effective)
    settings: Any = (output, "maxlog", rg, UPLINK)
    ours = MMSEDetector(*settings, Exact(), "qam", 4, hard_out=hard_out, precision="double")
    theirs = InPrecision(
        lambda: LinearDetector("lmmse", *settings, "qam", 4, hard_out=hard_out), "double"
    )
    no = tf.constant(0.1, tf.float64)
    close(ours(y, h, 0.0, no), theirs(y, h, 0.0, no), 1e-9)


def test_single_precision() -> None:
    x = tf.constant(samples(BATCH, 1, 3, SYMBOLS, FFT_SIZE, seed=2), tf.complex64)
    h = tf.constant(channel(3, 1, 1, 16, constant=True), tf.complex64)
    block = ZFPrecoder(grid(3), DOWNLINK, Exact())
    theirs = RZFPrecoder(grid(3), DOWNLINK)(x, h)
    assert theirs.dtype == tf.complex64
    for ours in (block(x, h), compiled(block, jit_compile=True)(x, h)):
        assert ours.dtype == theirs.dtype
        close(ours, theirs, 1e-4)
