"""OFDM symbols share their matrices only where these are the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LMMSEEqualizer, ResourceGrid, RZFPrecoder

from neumatc_mimo.tensorflow import Exact, MMSEEqualizer, SVDBeamformer, SVDCombiner, ZFPrecoder
from neumatc_mimo.tensorflow.in_precision import InPrecision
from neumatc_mimo.tensorflow.symbols import constant_channel
from tests_tensorflow.conftest import Array, close, compiled, samples

USERS, ANTENNAS, SYMBOLS, SUBCARRIERS = 4, 8, 14, 288
NO = tf.constant(0.1, tf.float64)
DOWN = (
    ResourceGrid(SYMBOLS, SUBCARRIERS, 30e3, num_streams_per_tx=USERS),
    StreamManagement(np.ones([USERS, 1]), USERS),
)
UP = (
    ResourceGrid(SYMBOLS, SUBCARRIERS, 30e3, num_tx=USERS),
    StreamManagement(np.ones([1, USERS]), 1),
)
ONE = (
    ResourceGrid(SYMBOLS, SUBCARRIERS, 30e3, num_streams_per_tx=2),
    StreamManagement(np.ones([1, 1]), 2),
)
X = samples(1, 1, USERS, SYMBOLS, SUBCARRIERS, seed=1)
Y = samples(1, 1, ANTENNAS, SYMBOLS, SUBCARRIERS, seed=2)


def turned(h: Array) -> None:
    """The last symbols, in the lowest resource block."""
    h[..., 7:, :12] *= -1


def hopped(h: Array) -> None:
    """Two users change places for some symbols."""
    h[[0, 1], :, 3:5] = h[[1, 0], :, 3:5]


def gone(h: Array) -> None:
    """One user's single resource block, in one symbol."""
    h[2, :, 9, 132:144] *= 1e-3


def everywhere(h: Array) -> None:
    """Another channel in each symbol."""
    h += samples(*h.shape, seed=9)


CHANGES: list[Callable[[Array], None]] = [turned, hopped, gone, everywhere]


def changed(change: Callable[[Array], None]) -> Array:
    """A channel [USERS, ANTENNAS, SYMBOLS, SUBCARRIERS] that varies during the slot."""
    h = np.repeat(samples(USERS, ANTENNAS, 1, SUBCARRIERS, seed=3), SYMBOLS, axis=2)
    change(h)
    return h


@pytest.mark.parametrize("change", CHANGES)
def test_precoder(change: Callable[[Array], None]) -> None:
    h = changed(change)[None, :, None, None]
    block = ZFPrecoder(*DOWN, Exact(), precision="double")
    theirs = InPrecision(lambda: RZFPrecoder(*DOWN), "double")
    close(block(X, h, NO), theirs(X, h, NO), 1e-9)
    assert block.stats.exact == SYMBOLS * SUBCARRIERS


@pytest.mark.parametrize("change", CHANGES)
def test_equalizer(change: Callable[[Array], None]) -> None:
    h = changed(change).swapaxes(0, 1)[None, None, :, :, None]
    block = MMSEEqualizer(*UP, Exact(), precision="double")
    theirs = InPrecision(lambda: LMMSEEqualizer(*UP), "double")
    for mine, other in zip(block(Y, h, 0 * NO, NO), theirs(Y, h, 0 * NO, NO), strict=True):
        close(mine, other, 1e-9)
    assert block.stats.exact == SYMBOLS * SUBCARRIERS


@pytest.mark.parametrize("change", CHANGES)
def test_singular_vectors(change: Callable[[Array], None]) -> None:
    """As if each symbol were called on its own."""
    h = changed(change)[None, None, :, None]
    found, each = (
        (
            SVDBeamformer(*ONE, Exact(), precision="double", time_varying=varying)(X[:, :, :2], h),
            *SVDCombiner(*ONE, Exact(), precision="double", time_varying=varying)(X, h, NO),
        )
        for varying in (None, True)
    )
    for mine, other in zip(found, each, strict=True):
        close(mine, other, 1e-7)


@pytest.mark.parametrize("jit", [False, True])
def test_variances_that_differ(jit: bool) -> None:
    """A noise power of one symbol, or an error variance, makes another matrix of it."""
    h = samples(1, 1, ANTENNAS, USERS, 1, 1, SUBCARRIERS, seed=3)
    h = np.repeat(h, SYMBOLS, axis=5)
    error = np.full([1, 1, 1, 1, 1, SYMBOLS, SUBCARRIERS], 0.01)
    error[..., 11, 140] = 0.3
    block = compiled(MMSEEqualizer(*UP, Exact(), precision="double"), jit_compile=jit)
    theirs = InPrecision(lambda: LMMSEEqualizer(*UP), "double")
    inputs = [tf.constant(z) for z in (Y, h, error)]
    for mine, other in zip(block(*inputs, NO), theirs(*inputs, NO), strict=True):
        close(mine, other, 1e-9)
    h, alpha = h.transpose(0, 3, 4, 1, 2, 5, 6), error[:, :, 0, 0, 0]
    precoder = compiled(ZFPrecoder(*DOWN, Exact(), precision="double"), jit_compile=jit)
    inputs = [tf.constant(z) for z in (X, h, alpha)]
    close(precoder(*inputs), InPrecision(lambda: RZFPrecoder(*DOWN), "double")(*inputs), 1e-9)


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (8, 288), (64, 300), (16, 3)])
def test_every_row_is_looked_at_everywhere(shape: tuple[int, int]) -> None:
    num_antennas, num = shape
    h = np.zeros([1, 2, 1, 1, num_antennas, 3, num], np.complex64)
    assert all(constant_channel(tf.constant(h), 4))
    for f in range(num):
        for row in range(2):
            h[:, row, :, :, :, 1, f] = 1
            assert not all(constant_channel(tf.constant(h), 4))
            h[:, row, :, :, :, 1, f] = 0
