"""Fewer streams than a receiver has antennas, and receivers of different ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid, RZFPrecoder

from neumatc_mimo.tensorflow import (
    Exact,
    LMMSEPostEqualizationSINR,
    MMSEDetector,
    MMSEEqualizer,
    ScenarioModel,
    SVDBeamformer,
    SVDCombiner,
    ZFPrecodedChannel,
    ZFPrecoder,
)
from neumatc_mimo.tensorflow.in_precision import InPrecision
from tests_tensorflow.conftest import SINGLE, Array, close, compiled, grid, one_user, samples
from tests_tensorflow.grids import FFT_SIZE
from tests_tensorflow.grids import SYMBOLS as MODEL_SYMBOLS

ITEMS, SYMBOLS, FFT, USERS, ANTENNAS, MOST, NO = 2, 3, 15, 3, 9, 2, 0.3
# Antennas of a user, and the ranks.
CASES: dict[str, tuple[int, tuple[int, ...] | None]] = {
    "fewer": (3, None),
    "different": (3, (2, 1, 1)),
    "different, of all antennas": (2, (1, 2, 1)),
}
EACH_CASE = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def pair() -> tuple[ResourceGrid, StreamManagement]:
    more: Any = {"num_streams_per_tx": USERS * MOST}
    rg = ResourceGrid(SYMBOLS, FFT, 30e3, num_guard_carriers=(2, 1), dc_null=True, **more)
    return rg, StreamManagement(np.ones([USERS, 1]), USERS * MOST)


def channel(num_rx_ant: int, *, constant: bool = True) -> Array:
    symbols = 1 if constant else SYMBOLS
    h = samples(ITEMS, USERS, num_rx_ant, 1, ANTENNAS, symbols, FFT, seed=2)
    return np.repeat(h, SYMBOLS // symbols, axis=-2)


def grids() -> Array:
    return samples(ITEMS, 1, USERS * MOST, SYMBOLS, FFT, seed=1)


def sent_of(ranks: tuple[int, ...] | None) -> list[int]:
    """Streams that are sent."""
    return [u * MOST + i for u in range(USERS) for i in range((ranks or (MOST,) * USERS)[u])]


def modes(h: Array, ranks: tuple[int, ...] | None) -> Array:
    """What each stream's row of the channel is, by NumPy, as channels of single-antenna users
    [ITEMS, num_sent, 1, 1, ANTENNAS, SYMBOLS, FFT].
    """
    _, s, vh = np.linalg.svd(h[:, :, :, 0].transpose(0, 1, 4, 5, 2, 3), full_matrices=False)
    rows = s[..., None] * vh
    each = [rows[:, u, :, :, i] for u in range(USERS) for i in range((ranks or (MOST,) * USERS)[u])]
    return np.stack(each, 1).transpose(0, 1, 4, 2, 3)[:, :, None, None]


def powers_of(h_eff: Any) -> Array:
    """Squared gains, which know no phase of a singular vector."""
    return np.abs(np.asarray(h_eff)) ** 2


@pytest.mark.parametrize("alpha", [0.0, NO])
@pytest.mark.parametrize("constant", [True, False])
@EACH_CASE
def test_zero_forcing_of_modes(case: Any, constant: bool, alpha: float) -> None:
    """As Sionna's for users who have an antenna for each of their streams."""
    num_rx_ant, ranks = case
    h, sent = channel(num_rx_ant, constant=constant), sent_of(ranks)
    block = ZFPrecoder(*pair(), Exact(), True, "double", ranks=ranks)
    x, alpha = grids(), np.float64(alpha)
    precoded, h_eff = block(x, h, alpha)
    num = len(sent)
    rg = ResourceGrid(SYMBOLS, FFT, 30e3, num_streams_per_tx=num)
    theirs = InPrecision(
        lambda: RZFPrecoder(rg, StreamManagement(np.ones([num, 1]), num)), "double"
    )
    # Of one stream at a time: their phases are those of the singular vectors.
    for place, stream in enumerate(sent):
        alone = np.zeros_like(x)
        alone[:, :, stream] = x[:, :, stream]
        other = theirs(alone[:, :, sent], modes(h, ranks), alpha)
        mine, _ = block(alone, h, alpha)
        close(powers_of(mine), powers_of(other), 1e-8)
        assert place == sent.index(stream)
    silent = [stream for stream in range(USERS * MOST) if stream not in sent]
    assert not np.asarray(h_eff)[:, :, :, :, silent].any()
    effective = np.asarray(pair()[0].effective_subcarrier_ind)
    through = np.einsum("brmtasf,btasf->brmsf", h, precoded)[..., effective]
    seen = np.einsum("brmtksf,btksf->brmsf", h_eff, x[..., effective])
    close(through, seen, 1e-9)
    once = 2 if constant else 2 * SYMBOLS
    assert block.stats.exact == once * FFT * (1 + len(sent))


@EACH_CASE
def test_streams_that_are_sent_do_not_disturb_each_other(case: Any) -> None:
    """Zero forcing leaves nothing along the other modes of any user."""
    num_rx_ant, ranks = case
    h = channel(num_rx_ant)
    _, h_eff = ZFPrecoder(*pair(), Exact(), True, "double", ranks=ranks)(grids(), h)
    u, _, _ = np.linalg.svd(h[:, :, :, 0].transpose(0, 1, 4, 5, 2, 3), full_matrices=False)
    effective = np.asarray(pair()[0].effective_subcarrier_ind)
    heard = np.einsum("busfai,buatksf->buiksf", u[:, :, :, effective].conj(), h_eff)
    for stream in sent_of(ranks):
        user, mode = divmod(stream, MOST)
        for other in sent_of(ranks):
            gain = np.abs(heard[:, user, mode, other])
            assert (gain > 1e-3).all() if other == stream else gain.max() < 1e-9


@EACH_CASE
def test_precoded_channels_are_those_of_precoders(case: Any) -> None:
    num_rx_ant, ranks = case
    h = channel(num_rx_ant)
    power = 0.5 + np.random.default_rng(1).random([ITEMS, 1, USERS * MOST])
    _, h_eff = ZFPrecoder(*pair(), Exact(), True, "double", ranks=ranks)(grids(), h, NO)
    block = ZFPrecodedChannel(*pair(), Exact(), "double", ranks=ranks)
    found = block(h, power, alpha=NO)
    close(found, h_eff * np.sqrt(power)[:, None, None, :, :, None, None], 1e-9)
    sinr = LMMSEPostEqualizationSINR(*pair(), Exact(), precision="double")(found, NO)
    # [ITEMS, SYMBOLS, num_effective, USERS, MOST]
    flat = np.asarray(sinr).reshape(*sinr.shape[:3], -1)
    silent = [stream for stream in range(USERS * MOST) if stream not in sent_of(ranks)]
    assert not flat[..., silent].any() and (flat[..., sent_of(ranks)] > 0).all()


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("case", [CASES["different"]], ids=["different"])
def test_in_a_graph(case: Any, jit: bool) -> None:
    num_rx_ant, ranks = case
    h, x = channel(num_rx_ant), grids()
    exact = ZFPrecoder(*pair(), Exact(), True, "double", ranks=ranks)(x, h, NO)
    block = ZFPrecoder(*pair(), Exact(), True, "single", time_varying=False, ranks=ranks)
    inputs = (tf.constant(x, tf.complex64), tf.constant(1e-9 * h, tf.complex64))
    found = compiled(block, jit_compile=jit)(*inputs, tf.constant(NO * 1e-18, tf.float32))
    close(found[0], exact[0], 1e-3)
    close(found[1], 1e-9 * np.asarray(exact[1]), 1e-3)


def test_gradient_is_that_of_differences() -> None:
    num_rx_ant, ranks = CASES["different"]
    h, x = channel(num_rx_ant)[:1], grids()[:1]
    block = ZFPrecoder(*pair(), Exact(), precision="double", ranks=ranks)
    weights = samples(1, 1, ANTENNAS, SYMBOLS, FFT, seed=5)

    def loss(h: Any) -> Any:
        return tf.reduce_sum(tf.math.real(block(x, h, NO) * weights))

    given = tf.constant(h)
    with tf.GradientTape() as tape:
        tape.watch(given)
        value = loss(given)
    gradient, step, direction = tape.gradient(value, given), 1e-6, samples(*h.shape, seed=6)
    change = (loss(h + step * direction) - loss(h - step * direction)).numpy() / (2 * step)
    expected = np.sum(np.real(gradient.numpy().conj() * direction))
    assert abs(change - expected) < 1e-5 * abs(change)


def test_receivers_take_streams_that_are_not_sent() -> None:
    """Zero in infinite noise, and bits of which nothing is known."""
    num_rx_ant, ranks = CASES["different"]
    h, x = channel(num_rx_ant), grids()
    precoder = ZFPrecoder(*pair(), Exact(), True, "double", ranks=ranks)
    precoded, h_eff = precoder(x, h)
    y = np.einsum("brmtasf,btasf->brmsf", h, precoded)
    x_hat, no_eff = MMSEEqualizer(*pair(), Exact(), precision="double")(y, h_eff, 0.0, 1e-9)
    sent = sent_of(ranks)
    silent = [stream for stream in range(USERS * MOST) if stream not in sent]
    effective = np.asarray(pair()[0].effective_subcarrier_ind)
    data = x[..., effective].reshape(ITEMS, 1, USERS * MOST, -1)
    close(x_hat.numpy()[:, :, sent], data[:, :, sent], 1e-5)
    assert not x_hat.numpy()[:, :, silent].any() and np.isinf(no_eff.numpy()[:, :, silent]).all()
    detector = MMSEDetector("bit", "app", *pair(), Exact(), "qam", 2, precision="double")
    bits = detector(y, h_eff, 0.0, 1e-9).numpy()
    assert not bits[:, :, silent].any() and bits[:, :, sent].all()


@pytest.mark.parametrize("power", ["uniform", "waterfilling"])
@pytest.mark.parametrize("jit", [False, True])
def test_singular_vectors(power: Any, jit: bool) -> None:
    """Two cells of one user each: a beam along the strongest singular vector alone."""
    rg = ResourceGrid(SYMBOLS, FFT, 30e3, num_tx=2, num_streams_per_tx=2)
    given: Any = (rg, StreamManagement(np.eye(2), 2), Exact())
    h = samples(ITEMS, 2, 3, 2, 5, 1, FFT, seed=4)
    h[:, [0, 1], :, [1, 0]] *= 0.01
    h = np.repeat(h, SYMBOLS, axis=-2)
    x = samples(ITEMS, 2, 2, SYMBOLS, FFT, seed=5)
    no = tf.constant(0.5, tf.float64)
    more: Any = {"precision": "double", "ranks": [1, 2], "time_varying": False, "power": power}
    beamformer = SVDBeamformer(*given, return_effective_channel=True, **more)
    combiner = SVDCombiner(*given, **more)
    precoded, h_eff = compiled(beamformer, jit_compile=jit)(tf.constant(x), tf.constant(h), no=no)
    plain = SVDBeamformer(*given, power=power, precision="double")
    whole = plain(x, h, no=no)
    _, s, _ = np.linalg.svd(h[:, 0, :, 0].transpose(0, 3, 4, 1, 2), full_matrices=False)
    # The second cell sends as it would; the first one puts its rank's power on one beam.
    close(precoded[:, 1], whole[:, 1], 1e-9)
    first = np.abs(np.asarray(precoded[:, 0])) ** 2
    close(first.sum(1), np.abs(x[:, 0, 0]) ** 2, 1e-9)
    gain = (np.abs(np.asarray(h_eff)[:, 0, :, 0, 0]) ** 2).sum(1)
    close(gain, s[..., 0] ** 2, 1e-9)
    assert not np.asarray(h_eff)[:, :, :, 0, 1].any()
    y = np.einsum("brmtasf,btasf->brmsf", h, precoded)
    x_hat, no_eff = compiled(combiner, jit_compile=jit)(tf.constant(y), tf.constant(h), no)
    assert not np.asarray(x_hat)[:, 0, 1].any() and np.isinf(np.asarray(no_eff)[:, 0, 1]).all()
    near = np.abs(np.asarray(x_hat)[:, 0, 0] - x[:, 0, 0].reshape(ITEMS, -1))
    assert np.median(near) < 0.1


def test_links_of_a_model(model: ScenarioModel) -> None:
    """Beams of any rank are queried."""
    links = model.models["svd"].links
    h = one_user(links.channel(links.grid_frequencies(), [2, 0]).astype(np.complex128))
    x = samples(2, 1, 2, MODEL_SYMBOLS, FFT_SIZE, seed=1)
    found, exact = (
        SVDBeamformer(grid(2), SINGLE, solver, precision="double", ranks=[1])
        for solver in (model, Exact())
    )
    close(found(x, h), exact(x, h), 2e-2)
    assert found.stats.links_recalled == 2


def test_refusals() -> None:
    rg, sm = pair()
    for kind in (ZFPrecoder, ZFPrecodedChannel):
        for ranks in ([1, 2], [0, 1, 1], [3, 1, 1]):
            with pytest.raises(ValueError, match="one number from 1 to 2 for each of the 3"):
                kind(rg, sm, Exact(), ranks=ranks)
    with pytest.raises(ValueError, match="one number from 1 to 2 for each of the 1 receivers"):
        SVDBeamformer(grid(2), SINGLE, Exact(), ranks=[3])
    block = ZFPrecoder(rg, sm, Exact(), precision="double", ranks=[1, 2, 1])
    with pytest.raises(ValueError, match="4 streams are more than the 3 antennas"):
        block(grids(), channel(3)[:, :, :, :, :3])
