"""Users in nearly the same place, whom the noise alone tells apart, in single precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LMMSEEqualizer, ResourceGrid, RZFPrecoder

from neumatc_mimo.tensorflow import Exact, MMSEEqualizer, ZFPrecoder
from neumatc_mimo.tensorflow.in_precision import InPrecision
from tests_tensorflow.conftest import Array, compiled, samples

USERS, ANTENNAS, SYMBOLS, SUBCARRIERS = 3, 6, 2, 40
APART = [0.0, 1e-6, 1e-4, 1e-3, 1e-2, 0.1]
NOISE = [1e-7, 1e-5, 1e-3, 0.01, 0.1, 1.0, 100.0]
DOWN = (
    ResourceGrid(SYMBOLS, SUBCARRIERS, 30e3, num_streams_per_tx=USERS),
    StreamManagement(np.ones([USERS, 1]), USERS),
)
UP = (
    ResourceGrid(SYMBOLS, SUBCARRIERS, 30e3, num_tx=USERS),
    StreamManagement(np.ones([1, USERS]), 1),
)


def neighbours(apart: float, weaker: float = 1.0) -> Array:
    """Channels of three users, two of them neighbours,
    [1, USERS, 1, 1, ANTENNAS, SYMBOLS, SUBCARRIERS].

    :param weaker: gain of the second user
    """
    h = samples(1, USERS, 1, 1, ANTENNAS, 1, SUBCARRIERS, seed=1)
    h[:, 1] = weaker * (h[:, 0] + apart * h[:, 1])
    return np.repeat(h, SYMBOLS, axis=-2).astype(np.complex64)


def distance(found: Any, right: Any, axes: tuple[int, ...]) -> float:
    """The largest distance over the norm, which are those over some axes."""
    found, right = (np.asarray(z).astype(np.complex128) for z in (found, right))

    def norm(z: Array) -> Array:
        size: Array = np.sqrt((np.abs(z) ** 2).sum(axes))
        return size

    with np.errstate(all="ignore"):
        share = norm(found - right) / norm(right)
    return float(np.nan_to_num(share, nan=np.inf).max())


def check(
    ours: Callable[..., Any],
    theirs: Callable[[], Any],
    inputs: Sequence[Array],
    axes: Sequence[tuple[int, ...]],
) -> None:
    """Ours in single precision: ten times as far from double precision as theirs, and 3e-4."""
    wide = [z.astype(np.result_type(z.dtype, np.float64)) for z in inputs]
    found = ours(*map(tf.constant, inputs))
    single, right = (
        InPrecision(theirs, precision)(*map(tf.constant, given))
        for precision, given in (("single", inputs), ("double", wide))
    )
    for mine, other, true, along in zip(found, single, right, axes, strict=True):
        allowed = min(10 * distance(other, true, along) + 3e-4, 2e-3)
        assert distance(mine, true, along) < allowed


@pytest.mark.parametrize("apart", APART)
@pytest.mark.parametrize("alpha", NOISE)
def test_regularised_zero_forcing(apart: float, alpha: float) -> None:
    x = samples(1, 1, USERS, SYMBOLS, SUBCARRIERS, seed=2).astype(np.complex64)
    block = ZFPrecoder(*DOWN, Exact(), True)
    inputs = (x, neighbours(apart), np.float32(alpha))
    check(block, lambda: RZFPrecoder(*DOWN, True), inputs, [(1, 2, 3), (1, 2, 3, 4)])


def test_regularised_zero_forcing_in_a_graph() -> None:
    x = samples(1, 1, USERS, SYMBOLS, SUBCARRIERS, seed=2).astype(np.complex64)
    inputs = (x, neighbours(1e-3), np.float32(0.01))
    for jit_compile in (False, True):
        block = compiled(ZFPrecoder(*DOWN, Exact(), True), jit_compile=jit_compile)
        check(block, lambda: RZFPrecoder(*DOWN, True), inputs, [(1, 2, 3), (1, 2, 3, 4)])


@pytest.mark.parametrize("apart", APART)
@pytest.mark.parametrize("weaker", [1.0, 1e-3])
@pytest.mark.parametrize("no", NOISE)
@pytest.mark.parametrize("coloured", [False, True])
def test_equalized_symbols(apart: float, weaker: float, no: float, coloured: bool) -> None:
    h = neighbours(apart, weaker).transpose(0, 3, 4, 1, 2, 5, 6)
    y = samples(1, 1, ANTENNAS, SYMBOLS, SUBCARRIERS, seed=3).astype(np.complex64)
    power = np.float32(no)
    if coloured:
        share = np.random.default_rng(5).random((1, 1, ANTENNAS))
        power = (no * (0.1 + share)).astype(np.float32)
    inputs = (y, h, np.float32(0), power)
    check(MMSEEqualizer(*UP, Exact()), lambda: LMMSEEqualizer(*UP), inputs, [(0, 3), (0, 3)])
