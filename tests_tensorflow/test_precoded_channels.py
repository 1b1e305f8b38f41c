"""Precoded channels and SINRs behind them, against Sionna 1.2's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from sionna.phy import ofdm
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import PrecodedChannel, ResourceGrid

from neumatc_mimo.tensorflow import (
    CBFPrecodedChannel,
    Exact,
    EyePrecodedChannel,
    LMMSEPostEqualizationSINR,
    ScenarioModel,
    ZFPrecodedChannel,
)
from neumatc_mimo.tensorflow.in_precision import InPrecision
from tests_tensorflow.conftest import (
    DOWNLINK,
    NO,
    Array,
    close,
    compiled,
    grid,
    samples,
    uplink,
    users,
)
from tests_tensorflow.test_gradients import gradients
from tests_tensorflow.test_noise_covariance import covariance

ITEMS, SYMBOLS, FFT, ANTENNAS = 2, 3, 15, 6
# Who is served by whom, streams of a transmitter, antennas of a receiver.
NETWORKS: dict[str, tuple[Array, int, int]] = {
    "users": (np.ones([3, 1]), 3, 1),
    "users of two antennas": (np.ones([2, 1]), 4, 2),
    "cells": (np.kron(np.eye(2), np.ones([2, 1])), 2, 1),
}
EACH_NETWORK = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
PAIRS: dict[str, tuple[Callable[..., Any], Any]] = {
    "ZF": (lambda *pair: ZFPrecodedChannel(*pair, Exact(), "double"), ofdm.RZFPrecodedChannel),
    "CBF": (lambda *pair: CBFPrecodedChannel(*pair, "double"), ofdm.CBFPrecodedChannel),
}


def settings(network: Any) -> tuple[ResourceGrid, StreamManagement]:
    association, streams, _ = network
    more: Any = {"num_tx": association.shape[1], "num_streams_per_tx": streams}
    rg = ResourceGrid(SYMBOLS, FFT, 30e3, num_guard_carriers=(2, 1), dc_null=True, **more)
    return rg, StreamManagement(association, streams)


def channel(
    network: Any, *, constant: bool = True, antennas: int = ANTENNAS, seed: int = 1
) -> Array:
    (num_rx, num_tx), rx_ant = network[0].shape, network[2]
    h = samples(ITEMS, num_rx, rx_ant, num_tx, antennas, 1 if constant else SYMBOLS, FFT, seed=seed)
    return np.repeat(h, SYMBOLS, axis=-2) if constant else h


def powers(network: Any, dims: int) -> Array:
    """Powers of the first dimensions."""
    sizes = (ITEMS, network[0].shape[1], network[1], SYMBOLS, FFT)[:dims]
    return 0.5 + np.random.default_rng(4).random(sizes)


@pytest.mark.parametrize("dims", range(6))
@pytest.mark.parametrize("constant", [True, False])
@EACH_NETWORK
@pytest.mark.parametrize("kind", PAIRS)
def test_are_sionnas(kind: str, network: Any, constant: bool, dims: int) -> None:
    """With the channel known, and with an estimate of it."""
    make, theirs = PAIRS[kind]
    ours = make(*settings(network))
    other = InPrecision(lambda: theirs(*settings(network)), "double")
    h, power = channel(network, constant=constant), powers(network, dims)
    estimate = h + 0.3 * channel(network, constant=constant, seed=2)
    for given in ((h, power), (h, power, estimate)):
        close(ours(*given), other(*(tf.constant(z) for z in given)), 1e-9)
    num = FFT * (1 if constant else SYMBOLS)
    assert ours.stats.exact == 2 * ITEMS * network[0].shape[1] * num


def test_regularisation() -> None:
    for network in NETWORKS.values():
        num_tx = network[0].shape[1]
        block = ZFPrecodedChannel(*settings(network), Exact(), "double")
        theirs = InPrecision(
            lambda network=network: ofdm.RZFPrecodedChannel(*settings(network)), "double"
        )
        # More streams than antennas, too.
        for antennas in (1, ANTENNAS):
            h, power = channel(network, antennas=antennas), tf.constant(powers(network, 3))
            for dims in range(5):
                shape = (ITEMS, num_tx, SYMBOLS, FFT)[:dims]
                alpha = tf.constant(0.2 + np.random.default_rng(dims).random(shape))
                ours, other = (one(h, power, None, alpha) for one in (block, theirs))
                close(ours, other, 1e-8)


def test_knowledge_of_one_symbol_or_item() -> None:
    network = NETWORKS["cells"]
    h, power = channel(network, constant=False), tf.constant(powers(network, 2))
    for make, theirs in PAIRS.values():
        block = make(*settings(network))
        other = InPrecision(lambda theirs=theirs: theirs(*settings(network)), "double")
        for index in (
            (slice(0, 1),),
            (Ellipsis, slice(1, 2), slice(None)),
            (Ellipsis, slice(3, 4)),
        ):
            known = h[index]
            close(block(h, power, known), other(h, power, np.broadcast_to(known, h.shape)), 1e-9)
            met = np.broadcast_to(known, h.shape)
            close(block(known, power, h), other(met, power, h), 1e-9)


def test_without_precoding() -> None:
    network: Any = (np.eye(2), 3, 3)
    ours = EyePrecodedChannel(*settings(network), "double")
    theirs = InPrecision(lambda: ofdm.EyePrecodedChannel(*settings(network)), "double")
    h = tf.constant(channel(network, constant=False, antennas=3))
    for dims in range(6):
        power = tf.constant(powers(network, dims))
        close(ours(h, power), theirs(h, power), 1e-12)
        close(compiled(ours, jit_compile=True)(h, power), theirs(h, power), 1e-12)


def test_methods_of_sionnas_class() -> None:
    network = NETWORKS["cells"]
    pair = settings(network)
    h, power = tf.constant(channel(network, constant=False)), tf.constant(powers(network, 3))
    theirs = InPrecision(lambda: ofdm.RZFPrecodedChannel(*pair), "double").block
    eye = EyePrecodedChannel(*pair, "double")
    for block in (*(make(*pair) for make, _ in PAIRS.values()), eye):
        assert isinstance(block, PrecodedChannel)
        desired = block.get_desired_channels(h)
        close(desired, theirs.get_desired_channels(h), 1e-15)
        g = block.apply_tx_power(tf.linalg.adjoint(desired), power)
        seen = block.compute_effective_channel(h, g)
        assert seen.dtype == tf.complex128
        wanted = np.einsum("brmtasf,btsfak->brmtksf", h, g.numpy())
        close(seen, wanted[..., np.asarray(pair[0].effective_subcarrier_ind)], 1e-12)


@pytest.mark.parametrize("jit", [False, True])
def test_in_a_graph(jit: bool) -> None:
    """Of a channel of -240 dB, in single precision."""
    network = NETWORKS["cells"]
    h = 1e-12 * channel(network)
    power = powers(network, 3)
    for kind, (_, theirs) in PAIRS.items():
        right = InPrecision(lambda theirs=theirs: theirs(*settings(network)), "double")(h, power)
        exact: Any = () if kind == "CBF" else (Exact(),)
        block = {"ZF": ZFPrecodedChannel, "CBF": CBFPrecodedChannel}[kind](
            *settings(network), *exact, precision="single"
        )
        graph = compiled(block, jit_compile=jit)
        found = graph(tf.constant(h, tf.complex64), tf.constant(power, tf.float32))
        assert found.dtype == tf.complex64
        close(found, right, 1e-4)


@pytest.mark.parametrize("kind", PAIRS)
def test_gradients(kind: str) -> None:
    make, theirs = PAIRS[kind]
    network = NETWORKS["users of two antennas"]
    ours = make(*settings(network))
    for constant in (True, False):
        h = channel(network, constant=constant)
        for estimate in ((), (channel(network, constant=constant, seed=2),)):
            inputs = [h, powers(network, 3), *estimate]
            other = InPrecision(lambda: theirs(*settings(network)), "double").block
            found, wanted = (gradients(one, inputs, "double") for one in (ours, other))
            for mine, right in zip(found, wanted, strict=True):
                assert np.abs(mine - right).max() < 1e-6 * np.abs(right).max()


@pytest.mark.parametrize("jit", [False, True])
def test_links_of_a_model(model: ScenarioModel, jit: bool) -> None:
    """What is known of the channel is recognised, whatever channel is met."""
    links = model.models["pseudo_inverse"].links
    known = users(links.channel(links.grid_frequencies(), [2, 0]).astype(np.complex128))
    met = known + 0.1 * samples(*known.shape, seed=3)
    power = np.array([[[1.0, 2.0, 0.5]]])
    exact = ZFPrecodedChannel(grid(3), DOWNLINK, Exact(), "double")
    for alpha in (0.0, NO):
        for h, h_hat in ((known, None), (met, known)):
            block = ZFPrecodedChannel(grid(3), DOWNLINK, model, "double")
            h, h_hat = (None if z is None else tf.constant(z) for z in (h, h_hat))
            graph = compiled(block, jit_compile=jit)
            found = graph(h, tf.constant(power), h_hat, alpha)
            assert block.stats.links_recalled == 2
            close(found, exact(h, power, h_hat, alpha), 2e-2)


def test_refusals() -> None:
    network = NETWORKS["users"]
    block = ZFPrecodedChannel(*settings(network), Exact(), "double")
    h = channel(network)
    for given, sentence in (
        ((h, np.ones([ITEMS, 2])), r"tx_power has the shape \(2, 2\), the first dimensions of"),
        ((h[..., :7], 1.0), "all 15 subcarriers of the grid are needed"),
        ((h, 1.0, h[:, :, :, :, :4]), "h_hat has the shape"),
        ((h[:, :, :, :, :2], 1.0), "3 streams are more than the 2 antennas"),
        ((h, 1.0, None, np.ones([ITEMS, 1, 7])), "alpha has the shape"),
    ):
        with pytest.raises(ValueError, match=sentence):
            block(*given)
    with pytest.raises(ValueError, match="make 6 rows of a transmitter's channel"):
        CBFPrecodedChannel(*settings(network), "double")(np.concatenate([h, h], 2), 1.0)


# SINRs


def effective(
    association: Array, streams: int, *, constant: bool, seed: int = 1
) -> tuple[Any, Any]:
    """Grid, streams, and effective channels of receivers of five antennas."""
    num_rx, num_tx = association.shape
    more: Any = {"num_tx": num_tx, "num_streams_per_tx": streams}
    pair = (ResourceGrid(SYMBOLS, 24, 30e3, **more), StreamManagement(association, streams))
    h = samples(ITEMS, num_rx, 5, num_tx, streams, 1 if constant else SYMBOLS, 24, seed=seed)
    return pair, (np.repeat(h, SYMBOLS, axis=-2) if constant else h)


HEARD: dict[str, tuple[Array, int]] = {
    "uplink": (np.ones([1, 2]), 2),
    "cells": (np.eye(2), 2),
    "more streams than antennas": (np.eye(2), 3),
    "more own streams than antennas": (np.ones([1, 2]), 3),
}


@pytest.mark.parametrize("whitening", [True, False])
@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("heard", HEARD.values(), ids=HEARD)
def test_sinrs_are_sionnas(heard: Any, constant: bool, whitening: bool) -> None:
    pair, h = effective(*heard, constant=constant)
    ours = LMMSEPostEqualizationSINR(*pair, Exact(), precision="double")
    theirs = InPrecision(lambda: ofdm.LMMSEPostEqualizationSINR(*pair), "double")
    sizes = (ITEMS, h.shape[1], 5, SYMBOLS, 24)
    for dims in range(6):
        no = tf.constant(0.1 + np.random.default_rng(dims).random(sizes[:dims]))
        close(ours(h, no, None, whitening), theirs(h, no, None, whitening), 1e-7)
    estimate = h + 0.1 * effective(*heard, constant=constant, seed=2)[1]
    close(ours(h, no, estimate, whitening), theirs(h, no, estimate, whitening), 1e-7)


@pytest.mark.parametrize("jit", [False, True])
def test_sinrs_in_a_graph(jit: bool) -> None:
    """Of channels of any unit, in single precision."""
    for whitening in (True, False):
        for heard in (HEARD["uplink"], HEARD["cells"]):
            pair, h = effective(*heard, constant=True)
            expected = InPrecision(
                lambda pair=pair: ofdm.LMMSEPostEqualizationSINR(*pair), "double"
            )
            right = expected(h, tf.constant(0.3, tf.float64), None, whitening)
            block = LMMSEPostEqualizationSINR(*pair, Exact(), precision="single")
            graph = compiled(block, jit_compile=jit)
            weak = tf.constant(1e-10 * h, tf.complex64)
            found = graph(weak, tf.constant(0.3e-20, tf.float32), None, whitening)
            assert found.dtype == tf.float32
            close(found, right, 1e-4)


@pytest.mark.parametrize("leading", [(), (3,), (24,), (SYMBOLS, 1), (ITEMS, 1, 1, 1)], ids=str)
@pytest.mark.parametrize("whitening", [True, False])
def test_sinrs_in_correlated_noise(whitening: bool, leading: tuple[int, ...]) -> None:
    for heard in HEARD.values():
        pair, h = effective(*heard, constant=True)
        matrix = covariance(*leading)
        whole = matrix[(None,) * (6 - matrix.ndim)]
        whole = np.repeat(whole, 24 // whole.shape[3], axis=3)

        class Theirs(ofdm.LMMSEPostEqualizationSINR):
            def compute_interference_covariance_matrix(self, add: Any = whole, **given: Any) -> Any:
                return super().compute_interference_covariance_matrix(**given) + add

        no = tf.constant(0.2, tf.float64)
        expected = InPrecision(partial(Theirs, *pair), "double")(h, no, None, whitening)
        ours = LMMSEPostEqualizationSINR(*pair, Exact(), precision="double")
        found = ours(h, no, interference_whitening=whitening, noise_covariance=matrix)
        close(found, expected, 1e-7)


def test_gradients_of_sinrs() -> None:
    for heard in HEARD.values():
        pair, h = effective(*heard, constant=False)
        ours = LMMSEPostEqualizationSINR(*pair, Exact(), precision="double")
        theirs = InPrecision(lambda pair=pair: ofdm.LMMSEPostEqualizationSINR(*pair), "double")
        inputs = [h, np.array(0.3)]
        found, wanted = (gradients(one, inputs, "double") for one in (ours, theirs.block))
        for mine, right in zip(found, wanted, strict=True):
            assert np.abs(mine - right).max() < 1e-6 * np.abs(right).max()


@pytest.mark.parametrize("jit", [False, True])
def test_sinrs_of_links_of_a_model(model: ScenarioModel, jit: bool) -> None:
    """Of three single-antenna users who send to a base station."""
    links = model.models["pseudo_inverse"].links
    h = tf.constant(uplink(links.channel(links.grid_frequencies(), [2, 0]).astype(np.complex128)))
    pair: Any = (grid(1, 3), StreamManagement(np.ones([1, 3]), 1))
    block = LMMSEPostEqualizationSINR(*pair, model, precision="double")
    found = compiled(block, jit_compile=jit)(h, tf.constant(NO, tf.float64))
    exact = LMMSEPostEqualizationSINR(*pair, Exact(), precision="double")(h, NO)
    assert block.stats.links_recalled == 2
    close(found, exact, 2e-2)


def test_refused_sinrs() -> None:
    pair, h = effective(*HEARD["uplink"], constant=True)
    block = LMMSEPostEqualizationSINR(*pair, Exact(), precision="double")
    for given, sentence in (
        ((h, np.ones([ITEMS, 3])), r"no has the shape \(2, 3\), the first dimensions of"),
        ((h[..., :7], 1.0), "h_eff has the shape"),
        ((h, 1.0, h[:, :, :3]), "h_eff_hat has the shape"),
    ):
        with pytest.raises(ValueError, match=sentence):
            block(*given)
