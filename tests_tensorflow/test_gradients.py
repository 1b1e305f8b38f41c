"""Derivatives of the blocks are Sionna's, whatever their solver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    ScenarioModel,
    SVDBeamformer,
    SVDCombiner,
    ZFPrecoder,
)
from neumatc_mimo.tensorflow.in_precision import InPrecision
from tests_tensorflow.conftest import (
    DOWNLINK,
    NO,
    SINGLE,
    UPLINK,
    Array,
    grid,
    samples,
    uplink,
    users,
)
from tests_tensorflow.grids import FFT_SIZE, SYMBOLS
from tests_tensorflow.test_scales import DOWN, SUBCARRIERS, UP, conditioned

TOLERANCE = {"single": 1e-3, "double": 1e-5}
ITEMS, USERS = 2, 3


def loss(outputs: Any) -> tf.Tensor:
    """A sum in which no two entries of the outputs count alike."""
    total = tf.constant(0.0, tf.float64)
    for z in outputs if isinstance(outputs, tuple) else (outputs,):
        z = tf.cast(z, tf.complex128 if z.dtype.is_complex else tf.float64)
        weights = np.linspace(0.5, 1.5, int(np.prod(z.shape))).reshape(z.shape)
        total += tf.reduce_sum(weights * tf.abs(z) ** 2) + tf.reduce_sum(weights * tf.math.real(z))
    return total


def gradients(block: Callable[..., Any], inputs: Sequence[Any], precision: str) -> list[Array]:
    """Of :func:`loss` with respect to all inputs."""
    narrow = {"single": {np.complex128: tf.complex64, np.float64: tf.float32}}
    types = narrow.get(precision, {np.complex128: tf.complex128, np.float64: tf.float64})
    tensors = [tf.constant(z, types[np.asarray(z).dtype.type]) for z in inputs]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        total = loss(block(*tensors))
    return [g.numpy() for g in tape.gradient(total, tensors)]


def compare(
    ours: Callable[..., Any], make: Callable[[], Any], inputs: Sequence[Any], precision: str
) -> None:
    found = gradients(ours, inputs, precision)
    wanted = gradients(InPrecision(make, "double"), inputs, "double")
    for mine, right in zip(found, wanted, strict=True):
        assert mine.shape == right.shape
        assert np.abs(mine - right).max() < TOLERANCE[precision] * np.abs(right).max()


def downlink_inputs(constant: bool) -> list[Any]:
    h = samples(ITEMS, USERS, 1, 1, 16, 1 if constant else SYMBOLS, FFT_SIZE, seed=2)
    h = np.repeat(h, SYMBOLS, axis=-2) if constant else h
    return [samples(ITEMS, 1, USERS, SYMBOLS, FFT_SIZE, seed=1), h]


@pytest.mark.parametrize("precision", ["single", "double"])
@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 0.3, np.array([[[[0.1]]], [[[0.5]]]])], ids=str)
def test_precoder(precision: Any, constant: bool, alpha: Any) -> None:
    block = ZFPrecoder(grid(USERS), DOWNLINK, Exact(), True, precision)
    inputs = [*downlink_inputs(constant), np.asarray(alpha, np.float64)]
    compare(block, lambda: RZFPrecoder(grid(USERS), DOWNLINK, True), inputs, precision)


@pytest.mark.parametrize("precision", ["single", "double"])
@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("varying", [True, False])
def test_equalizer(precision: Any, constant: bool, varying: bool) -> None:
    """Also with variances that differ between antennas, symbols and subcarriers."""
    rg = grid(1, USERS)
    h = samples(ITEMS, 1, 5, USERS, 1, 1, int(rg.num_effective_subcarriers), seed=2)
    h = np.repeat(h, SYMBOLS, axis=-2)
    h = h if constant else h + samples(*h.shape, seed=5)
    y, error, no = samples(ITEMS, 1, 5, SYMBOLS, FFT_SIZE, seed=1), np.array(0.02), np.array(0.1)
    if varying:
        error, no = (
            0.1 * np.abs(samples(*h.shape, seed=3)),
            0.1 + np.abs(samples(ITEMS, 1, 5, seed=4)),
        )
    block = MMSEEqualizer(rg, UPLINK, Exact(), precision=precision)
    compare(block, lambda: LMMSEEqualizer(rg, UPLINK), [y, h, error, no], precision)


def test_interference_and_few_antennas() -> None:
    rg, sm = ResourceGrid(2, 12, 30e3, num_tx=4), StreamManagement(np.kron(np.eye(2), [[1, 1]]), 1)
    y, h = samples(2, 2, 3, 2, 12, seed=1), samples(2, 2, 3, 4, 1, 2, 12, seed=2)
    inputs = [y, h, np.array(0.0), np.array(0.2)]
    block = MMSEEqualizer(rg, sm, Exact(), precision="double")
    compare(block, lambda: LMMSEEqualizer(rg, sm), inputs, "double")


def test_detector() -> None:
    rg = grid(1, USERS)
    h = samples(1, 1, 5, USERS, 1, SYMBOLS, int(rg.num_effective_subcarriers), seed=2)
    inputs = [samples(1, 1, 5, SYMBOLS, FFT_SIZE, seed=1), h, np.array(0.0), np.array(0.2)]
    settings: Any = ("bit", "app", rg, UPLINK)
    block = MMSEDetector(*settings, Exact(), "qam", 4, precision="double")
    compare(block, lambda: LinearDetector("lmmse", *settings, "qam", 4), inputs, "double")


@pytest.mark.parametrize("jit", [False, True])
def test_with_a_model(model: ScenarioModel, jit: bool) -> None:
    """Values are queried, derivatives are those of the channel given."""
    links = model.models["pseudo_inverse"].links
    h = links.channel(links.grid_frequencies(), [2, 0]).astype(np.complex128)
    x = samples(2, 1, 3, SYMBOLS, FFT_SIZE, seed=1)
    precoder = ZFPrecoder(grid(3), DOWNLINK, model, precision="double")
    called = tf.function(precoder.__call__, jit_compile=jit)
    theirs = lambda: RZFPrecoder(grid(3), DOWNLINK)  # noqa: E731
    for inputs in ([x, users(h)], [x, users(h), np.array(NO)]):
        compare_near(called, theirs, inputs)
    assert precoder.stats.links_recalled == 4
    y = samples(2, 1, 16, SYMBOLS, FFT_SIZE, seed=1)
    equalizer = MMSEEqualizer(grid(1, 3), UPLINK, model, precision="double")
    called = tf.function(equalizer.__call__, jit_compile=jit)
    inputs = [y, uplink(h), np.array(0.0), np.array(NO)]
    compare_near(called, lambda: LMMSEEqualizer(grid(1, 3), UPLINK), inputs)
    assert equalizer.stats.links_recalled == 2


def compare_near(ours: Callable[..., Any], make: Callable[[], Any], inputs: Sequence[Any]) -> None:
    """As :func:`compare` with a loss that is linear, whose own derivative knows no outputs."""

    def linear(block: Callable[..., Any]) -> Callable[..., Any]:
        def call(*inputs: Any) -> Any:
            outputs = block(*inputs)
            parts = outputs if isinstance(outputs, tuple) else (outputs,)
            return tuple(tf.sqrt(tf.cast(tf.math.real(z) + 1e6, tf.float64)) for z in parts)

        return call

    found = gradients(linear(ours), inputs, "double")
    wanted = gradients(linear(InPrecision(make, "double")), inputs, "double")
    for mine, right in zip(found, wanted, strict=True):
        assert np.abs(mine - right).max() < 1e-5 * np.abs(right).max()


def test_what_double_precision_computes_it_differentiates() -> None:
    """Users that are hard to tell apart, in single precision."""
    a = conditioned(3e3, 5)
    h = np.repeat(a.transpose(1, 2, 0)[None, :, None, None, :, None], 2, axis=5)
    h = h.astype(np.complex64).astype(np.complex128)
    x, y = samples(1, 1, 4, 2, SUBCARRIERS, seed=1), samples(1, 1, 8, 2, SUBCARRIERS, seed=2)
    x, y = (z.astype(np.complex64).astype(np.complex128) for z in (x, y))
    precoder = ZFPrecoder(*DOWN, Exact())
    compare(precoder, lambda: RZFPrecoder(*DOWN), [x, h], "single")
    assert precoder.stats.refined == SUBCARRIERS
    inputs = [y, h.transpose(0, 3, 4, 1, 2, 5, 6), np.array(0.0), np.array(1e-7)]
    equalizer = MMSEEqualizer(*UP, Exact())
    compare(equalizer, lambda: LMMSEEqualizer(*UP), inputs, "single")


@pytest.mark.parametrize("constant", [True, False])
def test_second_derivatives(constant: bool) -> None:
    """Of a derivative along a direction, with respect to all inputs."""
    x, h = downlink_inputs(constant)
    direction = samples(*h.shape, seed=8)

    def slope(block: Callable[..., Any]) -> Callable[..., Any]:
        def call(x: Any, h: Any, alpha: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(h)
                total = loss(block(x, h, alpha))
            return tf.math.real(tape.gradient(total, h) * direction.conj())

        return call

    theirs = InPrecision(lambda: RZFPrecoder(grid(USERS), DOWNLINK), "double")
    ours = ZFPrecoder(grid(USERS), DOWNLINK, Exact(), precision="double")
    inputs = [x, h, np.array(0.3)]
    found, wanted = (gradients(slope(block), inputs, "double") for block in (ours, theirs))
    for mine, right in zip(found, wanted, strict=True):
        assert np.abs(mine - right).max() < 1e-5 * np.abs(right).max()


@pytest.mark.parametrize("power", ["uniform", "waterfilling"])
def test_singular_vectors(power: Any) -> None:
    """Sionna has none: against differences of the block itself."""
    x, y = samples(1, 1, 2, SYMBOLS, FFT_SIZE, seed=1), samples(1, 1, 3, SYMBOLS, FFT_SIZE, seed=2)
    h = samples(1, 1, 3, 1, 5, 1, FFT_SIZE, seed=3)
    beamformer = SVDBeamformer(grid(2), SINGLE, Exact(), power=power, precision="double")
    combiner = SVDCombiner(grid(2), SINGLE, Exact(), power=power, precision="double")

    def both(x: Any, y: Any, h: Any, no: Any) -> tuple[Any, ...]:
        return (beamformer(x, h, no=no), *combiner(y, h, no))

    inputs = [x, y, h, np.array(0.5)]
    found = gradients(both, inputs, "double")
    step = 1e-6
    for i, gradient in enumerate(found):
        direction = samples(*inputs[i].shape, seed=7) if i < 3 else np.array(1.0)
        moved = [
            loss(
                both(*(z + sign * step * direction if j == i else z for j, z in enumerate(inputs)))
            )
            for sign in (1, -1)
        ]
        change = (moved[0] - moved[1]).numpy() / (2 * step)
        expected = np.sum(np.real(gradient.conj() * direction))
        assert abs(change - expected) < 1e-5 * max(abs(change), np.abs(gradient).max())
