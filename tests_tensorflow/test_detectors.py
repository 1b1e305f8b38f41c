"""Detectors that look at all streams of a receiver together, against Sionna 1.2's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from sionna.phy import mimo, ofdm
from sionna.phy.mapping import Constellation
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import OFDMDetector, ResourceGrid

from neumatc_mimo import tensorflow as ours
from neumatc_mimo.tensorflow import Exact, ScenarioModel
from neumatc_mimo.tensorflow.in_precision import InPrecision
from tests_tensorflow.conftest import NO, UPLINK, Array, close, compiled, grid, samples, uplink
from tests_tensorflow.grids import FFT_SIZE
from tests_tensorflow.test_gradients import gradients

ITEMS, SYMBOLS, SUBCARRIERS = 2, 4, 27
BITS = 2
# Transmitters that each receiver is to hear, and streams of each.
NETWORKS: dict[str, tuple[Array, int]] = {
    "uplink": (np.ones([1, 3]), 1),
    "two streams": (np.ones([1, 1]), 2),
    "cells": (np.kron(np.eye(2), np.ones([1, 2])), 1),
    "cells of two streams": (np.eye(2), 2),
}
EACH_NETWORK = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
# How each is made: of its name's package, what comes before the grid, and after the solver.
Make = Callable[..., tuple[tuple[Any, ...], tuple[Any, ...], dict[str, Any]]]
DETECTORS: dict[str, Make] = {
    "KBestDetector": lambda output, n, **hard: ((output, n, 3), ("qam", BITS), hard),
    # Few iterations: a graph has all of them one after the other.
    "EPDetector": lambda output, n, **hard: ((output,), (BITS,), {"l": 3} | hard),
    "MaximumLikelihoodDetector": lambda output, n, **hard: ((output, "app"), ("qam", BITS), hard),
    "MaximumLikelihoodDetectorWithPrior": lambda output, n, **hard: (
        (output, "maxlog"),
        ("qam", BITS),
        hard,
    ),
    "MMSEPICDetector": lambda output, n, **hard: ((output, "app"), (2, "qam", BITS), hard),
}
WITH_PRIOR = ("MaximumLikelihoodDetectorWithPrior", "MMSEPICDetector")
# Expectation propagation divides by what rounding leaves of differences of precisions up to 1e12.
TOLERANCE = {"EPDetector": 1e-5}
KINDS = [("bit", False), ("bit", True), ("symbol", False), ("symbol", True)]


def settings(network: tuple[Array, int], **changes: Any) -> tuple[ResourceGrid, StreamManagement]:
    association, streams = network
    num_tx = association.shape[1]
    given = {
        "num_tx": num_tx,
        "num_streams_per_tx": streams,
        "num_guard_carriers": (1, 1),
        "dc_null": True,
        "pilot_pattern": "kronecker",
        "pilot_ofdm_symbol_indices": [1],
    }
    rg = ResourceGrid(SYMBOLS, SUBCARRIERS, 30e3, **(given | changes))
    return rg, StreamManagement(association, streams)


def both(
    name: str, network: tuple[Array, int], output: str, hard_out: bool, **more: Any
) -> tuple[Any, Callable[..., Any]]:
    """Ours and Sionna's."""
    rg, sm = settings(network)
    first, last, options = DETECTORS[name](
        output, int(sm.num_streams_per_rx), hard_out=hard_out, **more
    )
    mine = getattr(ours, name)(*first, rg, sm, Exact(), *last, precision="double", **options)
    kind = getattr(ofdm, name)
    return mine, InPrecision(lambda: kind(*first, rg, sm, *last, **options), "double")


def received(
    network: tuple[Array, int],
    *,
    constant: bool = True,
    antennas: int = 4,
    no: float = 0.2,
    seed: int = 1,
) -> tuple[Array, Array]:
    """y of symbols that were sent over a channel, and h_hat, the channel."""
    association, streams = network
    num_rx, num_tx = association.shape
    rg, _ = settings(network)
    effective, symbols = np.asarray(rg.effective_subcarrier_ind), 1 if constant else SYMBOLS
    shape = (ITEMS, num_rx, antennas, num_tx, streams, symbols, len(effective))
    h = np.repeat(samples(*shape, seed=seed), SYMBOLS // symbols, axis=-2)
    draw = np.random.default_rng([seed, 1])
    index = draw.integers(4, size=(ITEMS, num_tx, streams, SYMBOLS, len(effective)))
    sent = np.exp(1j * np.pi / 2 * (index + 0.5))
    y = np.sqrt(no) * samples(ITEMS, num_rx, antennas, SYMBOLS, SUBCARRIERS, seed=seed + 1)
    y[..., effective] += np.einsum("brmtksf,btksf->brmsf", h, sent)
    return y, h


def prior_of(
    name: str, network: tuple[Array, int], output: str, seed: int = 3
) -> tuple[Array, ...]:
    """What is known beforehand, for those that take it."""
    if name not in WITH_PRIOR:
        return ()
    rg, _ = settings(network)
    num = int(rg.pilot_pattern.num_data_symbols)
    shape = (ITEMS, network[0].shape[1], network[1], num)
    shape += (BITS,) if output == "bit" else (2**BITS,)
    values = np.random.default_rng(seed).normal(size=shape)
    return (values.reshape(*shape[:3], -1) if output == "bit" else values,)


def agree(name: str, found: Any, expected: Any) -> None:
    assert found.dtype == expected.dtype
    close(found, expected, TOLERANCE.get(name, 1e-8))


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize(("output", "hard_out"), KINDS)
@EACH_NETWORK
@pytest.mark.parametrize("name", DETECTORS)
def test_is_sionnas(
    name: str, network: tuple[Array, int], output: str, hard_out: bool, constant: bool
) -> None:
    association = network[0]
    if name == "KBestDetector" and (output, hard_out) == ("symbol", False):
        pytest.skip("Sionna has no soft symbols of it")
    if name in WITH_PRIOR and len(association) > 1:
        pytest.skip("Sionna takes no prior where receivers want different streams")
    mine, theirs = both(name, network, output, hard_out)
    y, h = received(network, constant=constant)
    error, no = tf.constant(0.02, tf.float64), tf.constant(0.2, tf.float64)
    prior = prior_of(name, network, output)
    agree(name, mine(y, h, *prior, error, no), theirs(y, h, *prior, error, no))
    # The symbol of pilots is not looked at.
    num = (1 if constant else SYMBOLS - 1) * h.shape[-1]
    assert mine.stats.exact == ITEMS * len(association) * num


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("name", DETECTORS)
def test_in_a_graph(name: str, jit: bool) -> None:
    """Of a batch whose size is not known, in single precision."""
    network = NETWORKS["uplink"]
    rg, sm = settings(network)
    first, last, options = DETECTORS[name]("bit", 3)
    block = getattr(ours, name)(*first, rg, sm, Exact(), *last, precision="single", **options)
    y, h = received(network)
    inputs = [tf.constant(z, tf.complex64) for z in (y, h)]
    inputs += [tf.constant(z, tf.float32) for z in (*prior_of(name, network, "bit"), 0.0, 0.2)]
    expected = both(name, network, "bit", False)[1](
        *(tf.cast(z, tf.complex128 if z.dtype.is_complex else tf.float64) for z in inputs)
    )
    unknown = [tf.TensorSpec([None, *z.shape[1:]] if z.shape.rank else [], z.dtype) for z in inputs]
    graph = compiled(block, jit_compile=jit, input_signature=None if jit else unknown)
    found = graph(*inputs)
    assert found.dtype == tf.float32
    close(found, expected, 2e-3)


@pytest.mark.parametrize("name", DETECTORS)
def test_drawn(name: str) -> None:
    """Noise and errors that vary, few and many antennas, channels of any gain, several cells."""
    for seed in range(10):
        draw = np.random.default_rng([seed, 7])
        networks = [n for n in NETWORKS.values() if name not in WITH_PRIOR or len(n[0]) == 1]
        network = networks[int(draw.integers(len(networks)))]
        per_rx = int(network[0].sum(1)[0]) * network[1]
        least = per_rx if name == "KBestDetector" else 1
        antennas = int(draw.integers(least, 7))
        output, hard_out = KINDS[int(draw.integers(2 if name == "KBestDetector" else 4))]
        mine, theirs = both(name, network, output, hard_out)
        y, h = received(network, constant=bool(draw.integers(2)), antennas=antennas, seed=seed)
        scale, num_rx = 10.0 ** draw.uniform(-6, 3), len(network[0])
        shape = [(), (ITEMS,), (ITEMS, num_rx, antennas)][int(draw.integers(3))]
        no = scale**2 * (0.1 + draw.random(shape))
        error = [(), (h.shape[-1],), (SYMBOLS, 1), h.shape][int(draw.integers(4))]
        error = 0.1 * scale**2 * draw.random(error)
        prior = prior_of(name, network, output, seed)
        inputs = (scale * y, scale * h, *prior, error, no)
        inputs = tuple(tf.constant(z) for z in inputs)
        agree(name, mine(*inputs), theirs(*inputs))


@pytest.mark.parametrize("name", DETECTORS)
def test_one_holds_for_all(name: str) -> None:
    """A batch item, an OFDM symbol or a subcarrier of one input, as if it were repeated."""
    network = NETWORKS["uplink"]
    mine, theirs = both(name, network, "bit", False)
    y, h = received(network)
    no, prior = tf.constant(0.2, tf.float64), prior_of(name, network, "bit")
    once, whole = slice(0, 1), slice(None)
    for of_y, of_h in (
        ((once,), (whole,)),
        ((whole,), (once,)),
        ((whole,), (Ellipsis, once, whole)),
        ((once,), (once, Ellipsis, once, once)),
        ((Ellipsis, once, whole), (whole,)),
    ):
        some_y, some_h = y[of_y], h[of_h]
        all_y = np.broadcast_to(some_y, y.shape)
        all_h = np.broadcast_to(some_h, h.shape)
        found, expected = (
            mine(some_y, some_h, *prior, 0.0, no),
            theirs(all_y, all_h, *prior, 0 * no, no),
        )
        agree(name, found, expected[: len(found)])


@pytest.mark.parametrize("hard_out", [True, False])
@pytest.mark.parametrize("k", [2, 5, 64])
def test_k_best_of_real_numbers(k: int, hard_out: bool) -> None:
    network = NETWORKS["uplink"]
    rg, sm = settings(network)
    given: Any = ("qam", 4, None, hard_out, True)
    mine = ours.KBestDetector("bit", 3, k, rg, sm, Exact(), *given, precision="double")
    theirs = InPrecision(lambda: ofdm.KBestDetector("bit", 3, k, rg, sm, *given), "double")
    no = 0.1 + np.random.default_rng(2).random([ITEMS, 1, 4])
    for constant in (True, False):
        y, h = received(network, constant=constant)
        agree("KBestDetector", mine(y, h, 0.0, no), theirs(y, h, tf.constant(0.0, tf.float64), no))


def test_k_best_of_a_constellation_and_a_list_of_ones_own() -> None:
    network = NETWORKS["uplink"]
    rg, sm = settings(network)
    points = Constellation("custom", 2, samples(4, seed=9), precision="double")
    made = mimo.List2LLRSimple(2, llr_clip_val=7.0, precision="double")
    more: Any = {"constellation": points, "list2llr": made}
    mine = ours.KBestDetector("bit", 3, 5, rg, sm, Exact(), **more, precision="double")
    theirs = InPrecision(
        lambda: ofdm.KBestDetector("bit", 3, 5, rg, sm, **more, precision="double"), "double"
    )
    y, h = received(network)
    no = tf.constant(0.2, tf.float64)
    agree("KBestDetector", mine(y, h, 0.0, no), theirs(y, h, 0 * no, no))


@pytest.mark.parametrize(
    "network", [NETWORKS["uplink"], NETWORKS["cells"]], ids=["uplink", "cells"]
)
@pytest.mark.parametrize("name", DETECTORS)
def test_correlated_noise(name: str, network: tuple[Array, int]) -> None:
    """Sionna's detectors of single vectors, whose covariance has another one added."""
    rg, sm = settings(network)
    first, last, options = DETECTORS[name]("bit", int(sm.num_streams_per_rx))
    mine, _ = both(name, network, "bit", False)
    y, h = received(network)
    for leading in ((), (3,), (h.shape[-1],), (SYMBOLS, 1), (ITEMS, 1, 1, 1)):
        root = samples(*leading, 4, 3, seed=5)
        matrix = root @ root.conj().swapaxes(-1, -2)
        prior = prior_of(name, network, "bit") if len(network[0]) == 1 else ()
        if name in WITH_PRIOR and not prior:
            continue
        whole = matrix[(None,) * (6 - matrix.ndim)]
        whole = np.repeat(whole, h.shape[-1] // whole.shape[3], axis=3)

        def correlated(y: Any, h: Any, s: Any, *prior: Any, add: Any = whole) -> Any:
            # Sionna's search flattens dimensions, which have to be whole.
            s = s + tf.broadcast_to(add, [*y.shape[:4], *s.shape[-2:]])
            kind = {"MaximumLikelihoodDetectorWithPrior": "MaximumLikelihoodDetector"}
            arguments = list(first)
            if name.startswith("Maximum"):
                arguments.append(int(sm.num_streams_per_rx))
            detector = getattr(mimo, kind.get(name, name))(*arguments, *last, **options)
            return detector(y, h, s, *prior)

        def make(detector: Any = correlated) -> Any:
            if name in WITH_PRIOR:
                return ofdm.OFDMDetectorWithPrior(detector, "bit", rg, sm, "qam", BITS)
            return OFDMDetector(detector, "bit", rg, sm)

        no = tf.constant(0.2, tf.float64)
        expected = InPrecision(make, "double")(y, h, *prior, 0 * no, no)
        agree(name, mine(y, h, *prior, 0.0, no, noise_covariance=matrix), expected)


@pytest.mark.parametrize("name", WITH_PRIOR)
def test_priors_of_several_receivers(name: str) -> None:
    """Each of two cells is a network of its own, with what is known of its streams."""
    network = NETWORKS["cells"]
    mine, _ = both(name, network, "bit", False)
    y, h = received(network)
    (prior,) = prior_of(name, network, "bit")
    no = tf.constant(0.3, tf.float64)
    found = mine(y, h, prior, 0.0, no)
    rg, sm = settings((np.ones([1, 2]), 1))
    first, last, options = DETECTORS[name]("bit", 2)
    alone = getattr(ours, name)(*first, rg, sm, Exact(), *last, precision="double", **options)
    for rx in range(2):
        own = slice(2 * rx, 2 * rx + 2)
        other = h[:, rx : rx + 1, :, 2 - 2 * rx : 4 - 2 * rx, 0]
        interference = np.einsum("brmtsf,brntsf->brsfmn", other, other.conj())
        expected = alone(
            y[:, rx : rx + 1],
            h[:, rx : rx + 1, :, own],
            _on_pilots_of(prior[:, own], network, rg),
            0.0,
            no,
            noise_covariance=interference,
        )
        close(_on_pilots_of(found[:, own], network, rg), expected, 1e-8)


def _on_pilots_of(values: Any, network: tuple[Array, int], rg: ResourceGrid) -> Any:
    """Both grids have the same data symbols."""
    assert rg.num_data_symbols == settings(network)[0].num_data_symbols
    return values


@pytest.mark.parametrize("name", [name for name in DETECTORS if name != "KBestDetector"])
def test_gradients(name: str) -> None:
    network = NETWORKS["uplink"]
    mine, theirs = both(name, network, "bit", False)
    for constant in (True, False):
        y, h = received(network, constant=constant)
        inputs = [y, h, *prior_of(name, network, "bit"), np.array(0.1), np.array(0.3)]
        found, wanted = (gradients(one, inputs, "double") for one in (mine, theirs))
        for one, right in zip(found, wanted, strict=True):
            assert np.abs(one - right).max() < 10 * TOLERANCE.get(name, 1e-8) * np.abs(right).max()


def test_decisions_have_no_derivative_and_spoil_none() -> None:
    network = NETWORKS["uplink"]
    mine, _ = both("EPDetector", network, "symbol", True)
    y, h = (tf.constant(z) for z in received(network))
    with tf.GradientTape() as tape:
        tape.watch(y)
        found = tf.cast(mine(y, h, 0.0, 0.2), tf.float64) + tf.reduce_sum(tf.abs(y))
    assert tape.gradient(found, y) is not None


def test_links_of_a_model(model: ScenarioModel) -> None:
    """All is computed, whatever the solver."""
    links = model.models["pseudo_inverse"].links
    h = uplink(links.channel(links.grid_frequencies(), [2, 0]).astype(np.complex128))
    y = samples(2, 1, 16, 4, FFT_SIZE, seed=2)
    given: Any = ("bit", grid(1, 3), UPLINK)
    found, expected = (
        ours.EPDetector(*given, solver, 4, precision="double")(y, h, 0.0, NO)
        for solver in (model, Exact())
    )
    close(found, expected, 1e-9)


def test_refusals() -> None:
    network = NETWORKS["uplink"]
    rg, sm = settings(network)
    with pytest.raises(ValueError, match="num_streams is 2, stream_management has 3"):
        ours.KBestDetector("bit", 2, 4, rg, sm, Exact(), "qam", 2)
    block = ours.KBestDetector("bit", 3, 4, rg, sm, Exact(), "qam", 2, precision="double")
    y, h = received(network, antennas=2)
    with pytest.raises(ValueError, match="3 streams are more than the 2 antennas of a receiver"):
        block(y, h, 0.0, 0.1)
    pic = ours.MMSEPICDetector("bit", "app", rg, sm, Exact(), 1, "qam", 2, precision="double")
    with pytest.raises(ValueError, match=r"prior has the shape \(2, 3, 1, 5\), \[batch_size, 3, 1"):
        pic(y, h, np.zeros([2, 3, 1, 5]), 0.0, 0.1)
