"""Noise of a full covariance: against Sionna's equalizers of one matrix, in double precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from sionna.phy.mimo import StreamManagement, lmmse_equalizer, mf_equalizer, zf_equalizer
from sionna.phy.ofdm import OFDMEqualizer, ResourceGrid

from neumatc_mimo.tensorflow import (
    Exact,
    LinearDetector,
    MFEqualizer,
    MMSEDetector,
    MMSEEqualizer,
    ScenarioModel,
    ZFEqualizer,
)
from neumatc_mimo.tensorflow.in_precision import InPrecision
from neumatc_mimo.tensorflow.noise import Noise
from tests_tensorflow.conftest import NO, UPLINK, Array, close, compiled, grid, samples, uplink
from tests_tensorflow.grids import FFT_SIZE
from tests_tensorflow.test_gradients import gradients

ITEMS, SYMBOLS, SUBCARRIERS, EFFECTIVE, ANTENNAS = 2, 3, 27, 24, 5
# Transmitters that each receiver is to hear, and what the others are.
NETWORKS = {
    "uplink": np.ones([1, 3]),
    "cells": np.kron(np.eye(2), np.ones([1, 2])),
    "more streams than antennas": np.kron(np.eye(2), np.ones([1, 3])),
}
EACH_NETWORK = pytest.mark.parametrize("association", NETWORKS.values(), ids=NETWORKS)
# Leading dimensions of a covariance.
SHAPES: dict[str, tuple[int, ...]] = {
    "one": (),
    "subcarriers": (EFFECTIVE,),
    "resource blocks": (3,),
    "symbols": (SYMBOLS, 1),
    "items": (ITEMS, 1, 1, 1),
}
EQUALIZERS: dict[Any, Any] = {
    MMSEEqualizer: lmmse_equalizer,
    ZFEqualizer: zf_equalizer,
    MFEqualizer: mf_equalizer,
}


def covariance(*leading: int, rank: int = ANTENNAS, level: float = 1.0, seed: int = 11) -> Array:
    """Positive semidefinite, [*leading, ANTENNAS, ANTENNAS]."""
    root = samples(*leading, ANTENNAS, rank, seed=seed)
    return level * root @ root.conj().swapaxes(-1, -2) / rank


def settings(association: Array) -> tuple[ResourceGrid, StreamManagement]:
    rg = ResourceGrid(
        SYMBOLS,
        SUBCARRIERS,
        30e3,
        num_tx=association.shape[1],
        num_guard_carriers=(1, 1),
        dc_null=True,
    )
    return rg, StreamManagement(association, 1)


def received(association: Array, *, constant: bool = True) -> tuple[Array, Array]:
    """y and h_hat."""
    num_rx, num_tx = association.shape
    y = samples(ITEMS, num_rx, ANTENNAS, SYMBOLS, SUBCARRIERS, seed=1)
    symbols = 1 if constant else SYMBOLS
    h = samples(ITEMS, num_rx, ANTENNAS, num_tx, 1, symbols, EFFECTIVE, seed=2)
    return y, np.repeat(h, SYMBOLS // symbols, axis=-2)


def on_grid(matrix: Array, num_rx: int) -> Array:
    """[ITEMS, num_rx, SYMBOLS, EFFECTIVE, ANTENNAS, ANTENNAS], as Sionna has covariances."""
    matrix = matrix[(None,) * (6 - matrix.ndim)]
    matrix = np.repeat(matrix, EFFECTIVE // matrix.shape[3], axis=3)
    return np.broadcast_to(matrix, (ITEMS, num_rx, SYMBOLS, EFFECTIVE, ANTENNAS, ANTENNAS))


def theirs(
    association: Array, equalize: Callable[..., Any], matrix: Array
) -> Callable[..., tuple[Any, Any]]:
    """Sionna's block of an equalizer of one matrix, to whose covariance another one is added."""

    def correlated(y: Any, h: Any, s: Any) -> Any:
        return equalize(y, h, s + on_grid(matrix, len(association)), precision="double")

    return InPrecision(lambda: OFDMEqualizer(correlated, *settings(association)), "double")


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@EACH_NETWORK
@pytest.mark.parametrize("kind", EQUALIZERS)
def test_equalizers_are_sionnas(
    kind: Any, association: Array, shape: tuple[int, ...], constant: bool
) -> None:
    if kind is ZFEqualizer and association.shape[1] / len(association) > ANTENNAS:
        pytest.skip("zero forcing has no more streams than antennas")
    y, h = received(association, constant=constant)
    matrix, no = covariance(*shape), tf.constant(0.3, tf.float64)
    block = kind(*settings(association), Exact(), precision="double")
    found = block(y, h, 0 * no, no, noise_covariance=matrix)
    expected = theirs(association, EQUALIZERS[kind], matrix)(y, h, 0 * no, no)
    for one, other in zip(found, expected, strict=True):
        close(one, other, 1e-9)
    once = constant and shape != SHAPES["symbols"]
    assert block.stats.exact == ITEMS * len(association) * EFFECTIVE * (1 if once else SYMBOLS)


@EACH_NETWORK
@pytest.mark.parametrize("kind", EQUALIZERS)
def test_drawn(kind: Any, association: Array) -> None:
    """Noise and errors that vary as they like, covariances of any shape, rank and level."""
    num_rx, num_tx = association.shape
    for seed in range(8):
        draw = np.random.default_rng([seed, num_tx])
        y, h = received(association, constant=bool(draw.integers(2)))
        leading = [
            int(draw.choice([1, full])) for full in (ITEMS, num_rx, SYMBOLS, EFFECTIVE, EFFECTIVE)
        ]
        leading[3:] = [int(draw.choice([1, 2, 8, EFFECTIVE]))]
        rank, level = int(draw.integers(1, ANTENNAS + 1)), 10.0 ** draw.uniform(-3, 4)
        matrix = covariance(*leading, rank=rank, level=level, seed=seed)
        no = 0.1 + draw.random([(), (ITEMS,), (ITEMS, num_rx, ANTENNAS)][int(draw.integers(3))])
        error = 0.1 * draw.random([(), (EFFECTIVE,), (SYMBOLS, 1), h.shape][int(draw.integers(4))])
        block = kind(*settings(association), Exact(), precision="double")
        inputs = tuple(tf.constant(z) for z in (y, h, error, no))
        expected = theirs(association, EQUALIZERS[kind], matrix)(*inputs)
        for one, other in zip(block(*inputs, noise_covariance=matrix), expected, strict=True):
            # Sionna's whitened interference of 40 dB above the noise has lost some digits.
            close(one, other, 1e-7)


@EACH_NETWORK
def test_single_precision_and_graphs(association: Array) -> None:
    """A jammer 70 dB above the noise, a channel of -120 dB."""
    y, h = (1e-6 * z for z in received(association))
    no = np.float32(1e-13)
    matrix = covariance(3, rank=1, level=1e-6).astype(np.complex64)
    pair = settings(association)
    given = (y.astype(np.complex64), h.astype(np.complex64))
    exact = MMSEEqualizer(*pair, Exact(), precision="double")(
        *(z.astype(np.complex128) for z in given),
        np.float64(0),
        np.float64(no),
        noise_covariance=matrix.astype(np.complex128),
    )
    block = MMSEEqualizer(*pair, Exact(), precision="single")
    graphs = [compiled(block, jit_compile=jit) for jit in (False, True)]
    inputs = [tf.constant(z) for z in (*given, np.float32(0), no)]
    for one in (block, *graphs):
        for mine, right in zip(one(*inputs, noise_covariance=matrix), exact, strict=True):
            assert mine.dtype in (tf.complex64, tf.float32)
            close(mine, right, 1e-4)


def test_a_diagonal_covariance_is_noise_of_the_antennas() -> None:
    y, h = received(NETWORKS["cells"])
    power = 0.1 + np.random.default_rng(3).random(ANTENNAS)
    for kind in EQUALIZERS:
        block = kind(*settings(NETWORKS["cells"]), Exact(), precision="double")
        found = block(y, h, 0.0, 0.0, noise_covariance=np.diag(power).astype(np.complex128))
        for one, other in zip(found, block(y, h, 0.0, power[None, None]), strict=True):
            close(one, other, 1e-9)


@pytest.mark.parametrize("kind", EQUALIZERS)
def test_a_channel_of_one_subcarrier(kind: Any) -> None:
    y, h = received(NETWORKS["cells"])
    block = kind(*settings(NETWORKS["cells"]), Exact(), precision="double")
    flat = np.repeat(h[..., :1], EFFECTIVE, axis=-1)
    found = block(y, h[..., :1], 0.1, 0.2, noise_covariance=covariance(3))
    expected = block(y, flat, 0.1, 0.2, noise_covariance=covariance(3))
    for one, other in zip(found, expected, strict=True):
        close(one, other, 1e-12)


def test_gradients() -> None:
    """With respect to the covariance, too."""
    y, h = received(NETWORKS["cells"], constant=False)
    matrix, no, error = covariance(3), np.array(0.2), np.array(0.1)
    block = MMSEEqualizer(*settings(NETWORKS["cells"]), Exact(), precision="double")

    def ours(y: Any, h: Any, error: Any, no: Any, matrix: Any) -> Any:
        return block(y, h, error, no, noise_covariance=matrix)

    def by_sionna(y: Any, h: Any, error: Any, no: Any, matrix: Any) -> Any:
        def correlated(y: Any, h: Any, s: Any) -> Any:
            whole = tf.repeat(matrix, EFFECTIVE // 3, axis=0)
            return lmmse_equalizer(y, h, s + whole, precision="double")

        make = lambda: OFDMEqualizer(correlated, *settings(NETWORKS["cells"]))  # noqa: E731
        return InPrecision(make, "double")(y, h, error, no)

    inputs = [y, h, error, no, matrix]
    found, wanted = (gradients(one, inputs, "double") for one in (ours, by_sionna))
    # The entries of a Hermitian matrix have derivatives together.
    for z in (found, wanted):
        z[-1] = z[-1] + z[-1].conj().swapaxes(-1, -2)
    for mine, right in zip(found, wanted, strict=True):
        assert np.abs(mine - right).max() < 1e-6 * np.abs(right).max()


@pytest.mark.parametrize("jit", [False, True])
def test_with_a_model(model: ScenarioModel, jit: bool) -> None:
    """Zero forcing is queried whatever the noise, MMSE computed."""
    links = model.models["pseudo_inverse"].links
    h = links.channel(links.grid_frequencies(), [2, 0]).astype(np.complex128)
    y = samples(2, 1, 16, 4, FFT_SIZE, seed=2)
    root = samples(3, 16, 4, seed=4)
    matrix = root @ root.conj().swapaxes(-1, -2)
    inputs = [tf.constant(z) for z in (y, uplink(h), np.float64(0), np.float64(NO))]
    for kind, recalled in ((ZFEqualizer, 2), (MMSEEqualizer, 0)):
        block = kind(grid(1, 3), UPLINK, model, precision="double")
        exact = kind(grid(1, 3), UPLINK, Exact(), precision="double")
        found = compiled(block, jit_compile=jit)(*inputs, noise_covariance=tf.constant(matrix))
        expected = exact(*inputs, noise_covariance=matrix)
        assert block.stats.links_recalled == recalled
        for one, other in zip(found, expected, strict=True):
            close(one, other, 2e-2 if recalled else 1e-9)


def test_detector() -> None:
    y, h = received(NETWORKS["cells"])
    matrix = covariance(EFFECTIVE)
    pair = settings(NETWORKS["cells"])
    equalizer = MMSEEqualizer(*pair, Exact(), precision="double")
    given: Any = ("symbol", "maxlog", *pair, Exact(), "qam", 4)
    linear = LinearDetector("lmmse", *given, precision="double")
    for detector in (MMSEDetector(*given, precision="double"), linear):
        found = detector(y, h, 0.0, 0.2, noise_covariance=matrix)
        estimates = equalizer(y, h, 0.0, 0.2, noise_covariance=matrix)
        close(found, detector._demapper(*estimates), 1e-12)


def test_what_is_no_covariance_is_refused() -> None:
    y, h = received(NETWORKS["uplink"])
    block = MMSEEqualizer(*settings(NETWORKS["uplink"]), Exact(), precision="double")
    good = covariance()
    for matrix, sentence in (
        (np.ones([4, 4]), r"noise_covariance has the shape \[4, 4\], \[\.\.\., 5, 5\] is needed"),
        (covariance(7), r"has the shape \[7, 5, 5\]"),
        (good + 1j * np.triu(np.ones([5, 5])), "is not Hermitian"),
        (good - 9 * np.eye(5), "is not positive semidefinite"),
        (good + 99 * (1 - np.eye(5)), "is not positive semidefinite"),
        (good * np.nan, "has NaN or infinite entries"),
    ):
        with pytest.raises(ValueError, match=sentence):
            block(y, h, 0.0, 0.1, noise_covariance=matrix)


def test_what_is_not_definite_has_no_finite_result() -> None:
    """A graph cannot refuse it; nor is the factor of another matrix used in its place."""
    y, h = received(NETWORKS["uplink"])
    bad = 0.5 * np.eye(ANTENNAS) + 0.5
    bad[0, 1] = bad[1, 0] = -0.9
    assert np.linalg.eigvalsh(bad).min() < -0.1
    block = MMSEEqualizer(*settings(NETWORKS["uplink"]), Exact(), precision="double")
    for jit in (False, True):
        graph = compiled(block, jit_compile=jit)
        inputs = (tf.constant(z) for z in (y, h, np.float64(0), np.float64(0.01)))
        found = graph(*inputs, noise_covariance=tf.constant(bad, tf.complex128))
        assert not np.isfinite(found[0]).any()
    noise = Noise(tf.zeros([1, 1, 1, 1], tf.float64), tf.constant(bad + 0j)[None, None, None], 1)
    assert np.isnan(noise.whitening()).any()
