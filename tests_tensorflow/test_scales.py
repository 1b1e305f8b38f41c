"""Blocks with channels of any gain, any noise and users far apart, against double precision.

Single precision may err ten times as far as Sionna's own blocks do in single precision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LinearDetector, LMMSEEqualizer, ResourceGrid, RZFPrecoder

from neumatc_mimo.tensorflow import (
    Exact,
    MMSEDetector,
    MMSEEqualizer,
    SVDBeamformer,
    SVDCombiner,
    ZFPrecoder,
)
from neumatc_mimo.tensorflow.in_precision import InPrecision
from tests.scales import ANTENNAS, FLOOR, SUBCARRIERS, SYMBOLS, TIMES, USERS, Case
from tests_tensorflow.conftest import Array, compiled, samples

UP = (
    ResourceGrid(SYMBOLS, SUBCARRIERS, 30e3, num_tx=USERS),
    StreamManagement(np.ones([1, USERS]), 1),
)
DOWN = (
    ResourceGrid(SYMBOLS, SUBCARRIERS, 30e3, num_streams_per_tx=USERS),
    StreamManagement(np.ones([USERS, 1]), USERS),
)
ONE = (
    ResourceGrid(SYMBOLS, SUBCARRIERS, 30e3, num_streams_per_tx=2),
    StreamManagement(np.ones([1, 1]), 2),
)


def drawn(number: int, *, noisy: bool, silent: bool = True) -> list[Case]:
    """Cases of all kinds."""
    generator = np.random.default_rng(number)
    found = []
    for seed in range(number):
        levels = generator.uniform(0, 120, USERS) * generator.integers(0, 2)
        nobody = not silent or generator.random() < 0.7
        noise = 10.0 ** generator.uniform(-12, 6) if noisy else 0.0
        found.append(
            Case(
                seed,
                10.0 ** generator.uniform(-12, 12),
                tuple((levels - levels.min()).tolist()),
                None if nobody else int(generator.integers(USERS)),
                noise,
            )
        )
    return found


CORNERS = [
    Case(1, 1.0, (0.0, 0.0, 80.0, 0.0), None, 1.0),
    Case(3, 1e12, (0.0, 120.0, 60.0, 0.0), None, 1e6),
    Case(2, 1e-5, (0.0, 0.0, 0.0, 0.0), None, 1e9),
    Case(4, 1e-12, (0.0, 120.0, 60.0, 0.0), None, 1e-12),
    Case(5, 1e-12, (0.0, 120.0, 60.0, 0.0), 0, 1e6),
    Case(6, 1e12, (120.0, 120.0, 0.0, 0.0), 1, 1e-12),
]


def check(ours: Array, theirs: Array, right: Array, axes: tuple[int, ...]) -> None:
    """Bound the error of ours by that of theirs, both over norms along ``axes``."""
    ours, theirs, right = (np.asarray(z).astype(np.complex128) for z in (ours, theirs, right))
    size = np.maximum(np.linalg.norm(_flat(right, axes), axis=-1), 1e-300)
    with np.errstate(invalid="ignore", over="ignore"):
        # Sionna's may be infinite.
        mine, other = (
            np.linalg.norm(_flat(z - right, axes), axis=-1) / size for z in (ours, theirs)
        )
    bound = TIMES * np.nan_to_num(other, nan=np.inf) + FLOOR
    assert (mine <= bound).all(), (mine, bound)


def _flat(z: Any, axes: tuple[int, ...]) -> Array:
    z = np.asarray(z)
    rest = [axis for axis in range(z.ndim) if axis not in axes]
    return z.transpose(*rest, *axes).reshape(*(z.shape[axis] for axis in rest), -1)


def both(make: Callable[[], Any], *inputs: Any) -> tuple[Any, Any]:
    """Outputs of Sionna's block in single and in double precision."""
    wide = [z.astype(np.complex128) if isinstance(z, np.ndarray) else z for z in inputs]
    single = InPrecision(make, "single")(*(_number(z, tf.float32) for z in inputs))
    return single, InPrecision(make, "double")(*(_number(z, tf.float64) for z in wide))


def _number(z: Any, dtype: tf.DType) -> Any:
    return tf.constant(z, dtype) if isinstance(z, float) else z


@pytest.mark.parametrize("case", CORNERS + drawn(12, noisy=True), ids=str)
def test_regularised_precoders_are_sionnas(case: Case) -> None:
    inputs = (case.symbols(), case.channel(), case.noise)
    ours = ZFPrecoder(*DOWN, Exact(), True)(*inputs)
    single, right = both(lambda: RZFPrecoder(*DOWN, True), *inputs)
    for mine, other, wanted in zip(ours, single, right, strict=True):
        check(mine, other, wanted, tuple(range(wanted.shape.rank)))


@pytest.mark.parametrize("case", drawn(12, noisy=False, silent=False), ids=str)
def test_zero_forcing_is_sionnas(case: Case) -> None:
    inputs = (case.symbols(), case.channel())
    single, right = both(lambda: RZFPrecoder(*DOWN), *inputs)
    check(ZFPrecoder(*DOWN, Exact())(*inputs), single, right, (0, 1, 2, 3, 4))


@pytest.mark.parametrize("case", CORNERS + drawn(12, noisy=True), ids=str)
def test_equalized_symbols_are_sionnas(case: Case) -> None:
    h, heard = case.channel().transpose(0, 3, 4, 1, 2, 5, 6), case.heard()
    inputs = (case.received(), h, 0.0, case.noise)
    ours = MMSEEqualizer(*UP, Exact())(*inputs)
    single, right = both(lambda: LMMSEEqualizer(*UP), *inputs)
    for mine, other, wanted in zip(ours, single, right, strict=True):
        # Stream by stream, those that arrive.
        mine, other, wanted = (np.asarray(z)[:, heard] for z in (mine, other, wanted))
        check(mine, other, wanted, (0, 2, 3))
    if case.silent is not None:
        x_hat, no_eff = (np.asarray(z)[:, case.silent] for z in ours)
        assert (x_hat == 0).all() and np.isposinf(no_eff).all()


@pytest.mark.parametrize("case", CORNERS + drawn(6, noisy=True), ids=str)
def test_detected_bits_are_sionnas(case: Case) -> None:
    h, heard = case.channel().transpose(0, 3, 4, 1, 2, 5, 6), case.heard()
    inputs, qam = (case.received(), h, 0.0, case.noise), ("qam", 2)
    ours = MMSEDetector("bit", "maxlog", *UP, Exact(), *qam)(*inputs).numpy()
    single, right = both(lambda: LinearDetector("lmmse", "bit", "maxlog", *UP, *qam), *inputs)
    check(*(np.asarray(z)[:, heard] for z in (ours, single, right)), (0, 2, 3))
    assert np.isfinite(ours).all()


@pytest.mark.parametrize("exponent", [-12, -9, 0, 7, 12])
@pytest.mark.parametrize("power", ["uniform", "waterfilling"])
def test_beams_are_those_of_a_channel_of_any_gain(exponent: int, power: Any) -> None:
    case = Case(exponent + 20, 10.0**exponent, (0.0,) * USERS, None, 0.1)
    h = case.channel().transpose(0, 2, 1, 3, 4, 5, 6)
    x, y, no = case.symbols()[:, :, :2], case.symbols() * np.float32(case.scale), case.noise
    wide = [z.astype(np.complex128) for z in (x, y, h)]
    found, right = (
        (
            SVDBeamformer(*ONE, Exact(), power=power, precision=precision)(x, h, no=no),
            *SVDCombiner(*ONE, Exact(), power=power, precision=precision)(y, h, no),
        )
        for precision, (x, y, h) in (("single", (x, y, h)), ("double", wide))
    )
    for mine, wanted in zip(found, right, strict=True):
        check(mine, wanted, wanted, tuple(range(wanted.shape.rank)))


def test_a_user_without_a_channel_leaves_zero_forcing_to_the_others() -> None:
    case = Case(3, 1e-6, (0.0,) * USERS, 2, 0.0)
    others = StreamManagement(np.ones([USERS - 1, 1]), USERS - 1)
    rg = ResourceGrid(SYMBOLS, SUBCARRIERS, 30e3, num_streams_per_tx=USERS - 1)
    x, h, heard = case.symbols(), case.channel(), case.heard()
    _, right = both(lambda: RZFPrecoder(rg, others), x[:, :, heard], h[:, heard])
    check(ZFPrecoder(*DOWN, Exact())(x, h), right, right, (0, 1, 2, 3, 4))


def conditioned(condition: float, seed: int) -> Array:
    """Channels [SUBCARRIERS, USERS, ANTENNAS] of a condition number."""
    u, _, v = np.linalg.svd(samples(SUBCARRIERS, USERS, ANTENNAS, seed=seed), full_matrices=False)
    s = np.logspace(0, -np.log10(condition), USERS)
    return (u * s) @ v


@pytest.mark.parametrize("condition", [1e3, 1e4])
@pytest.mark.parametrize("jit", [False, True])
def test_users_that_are_hard_to_tell_apart(condition: float, jit: bool) -> None:
    """Some subcarriers are computed again in double precision; the others stay as they are."""
    a = samples(SUBCARRIERS, USERS, ANTENNAS, seed=4)
    a[3:7] = conditioned(condition, 5)[3:7]
    h = np.repeat(a.transpose(1, 2, 0)[None, :, None, None, :, None], SYMBOLS, axis=5)
    h = h.astype(np.complex64)
    x, y = (samples(1, 1, n, SYMBOLS, SUBCARRIERS, seed=n) for n in (USERS, ANTENNAS))
    x, y = x.astype(np.complex64), y.astype(np.complex64)
    block = ZFPrecoder(*DOWN, Exact())
    called = compiled(block, jit_compile=jit)
    _, right = both(lambda: RZFPrecoder(*DOWN), x, h)
    check(called(tf.constant(x), tf.constant(h)), right, right, (0, 1, 2, 3))
    assert block.stats.refined == 4 and block.stats.exact == SUBCARRIERS
    g = h.transpose(0, 3, 4, 1, 2, 5, 6)
    equalizer, no = MMSEEqualizer(*UP, Exact()), 1e-9
    called = compiled(equalizer, jit_compile=jit)
    _, right = both(lambda: LMMSEEqualizer(*UP), y, g, 0.0, no)
    # What single precision leaves of a product with entries as large as the condition.
    floor = condition * 1e-7
    for mine, wanted in zip(
        called(tf.constant(y), tf.constant(g), 0.0, tf.constant(no)), right, strict=True
    ):
        difference = np.abs(np.asarray(mine) - wanted).max()
        assert difference < max(floor, FLOOR) * np.abs(wanted).max()
    assert equalizer.stats.refined == 4
