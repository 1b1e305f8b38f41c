"""What is asked of a model is proven, or computed exactly: never silently wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LMMSEEqualizer, ResourceGrid

from neumatc_mimo.tensorflow import (
    Exact,
    MMSEEqualizer,
    ScenarioModel,
    SVDBeamformer,
    SVDCombiner,
    Tolerance,
    ZFPrecoder,
)
from neumatc_mimo.tensorflow.in_precision import InPrecision
from tests_tensorflow.conftest import (
    DOWNLINK,
    NO,
    SINGLE,
    UPLINK,
    Array,
    close,
    compiled,
    grid,
    one_user,
    over_symbols,
    samples,
    uplink,
    users,
)
from tests_tensorflow.grids import FFT_SIZE, SYMBOLS

# Beyond what 40 dB leave of an answer.
CERTIFIED = 2e-2


def trained(model: ScenarioModel, operation: str, *links: int) -> Array:
    """Channels of trained links, [batch_size, F, K, M]."""
    own = model.models[operation].links
    return own.channel(own.grid_frequencies(), links).astype(np.complex128)


def grids(batch_size: int, num_streams: int) -> Array:
    return samples(batch_size, 1, num_streams, SYMBOLS, FFT_SIZE, seed=1)


def zero_forcing(solver: Any, h: Array, **settings: Any) -> tuple[Any, ZFPrecoder]:
    """Precoded grids of a call for users, and the block."""
    links = settings.pop("links", None)
    block = ZFPrecoder(grid(3), DOWNLINK, solver, precision="double", **settings)
    return block(grids(len(h), 3), users(h), links=links), block


@pytest.mark.parametrize("certify", ["link", "call"])
def test_near_a_link_is_none(model: ScenarioModel, certify: str) -> None:
    """A channel that deviates from a link on a single subcarrier, or at one antenna, is another."""
    h = trained(model, "pseudo_inverse", 0, 1, 2)
    h[0, 77] *= np.exp(0.1j)
    h[1, :, :, 5] *= 1.05
    ours, block = zero_forcing(model, h, certify=certify)
    exact, _ = zero_forcing(Exact(), h)
    close(ours, exact, CERTIFIED)
    if certify == "link":
        assert block.stats.links_recalled == 1
        close(ours[:2], exact[:2], 1e-9)


@pytest.mark.parametrize("operation", ["pseudo_inverse", "svd"])
@pytest.mark.parametrize("jit", [False, True])
def test_undesired_streams(model: ScenarioModel, operation: str, jit: bool) -> None:
    """Links of all streams answer; those of another operation, of the same shape, do not."""
    num_tx = model.models[operation].links.num_rows
    # One item, in which each receiver wants one of the streams of a link.
    h = uplink(trained(model, operation, *range(num_tx))).swapaxes(0, 1)
    settings = (grid(1, num_tx), StreamManagement(np.eye(num_tx), 1))
    y, no = samples(1, num_tx, 16, SYMBOLS, FFT_SIZE, seed=4), tf.constant(NO, tf.float64)
    block = MMSEEqualizer(*settings, model, precision="double")
    ours = compiled(block, jit_compile=jit)(tf.constant(y), tf.constant(h), 0 * no, no)
    exact = MMSEEqualizer(*settings, Exact(), precision="double")(y, h, 0 * no, no)
    known = operation == "pseudo_inverse"
    assert block.stats.links_recalled == (num_tx if known else 0)
    for mine, theirs in zip(ours, exact, strict=True):
        close(mine, theirs, CERTIFIED if known else 1e-9)


@pytest.mark.parametrize("jit", [False, True])
def test_more_streams_than_antennas(model: ScenarioModel, jit: bool) -> None:
    """Computed exactly, also in a graph: the model has no results of that shape."""
    rg, no = grid(1, 3), tf.constant(NO, tf.float64)
    h = uplink(trained(model, "pseudo_inverse", 2, 0))[:, :, :2]
    y = samples(2, 1, 2, SYMBOLS, FFT_SIZE, seed=4)
    block = MMSEEqualizer(rg, UPLINK, model, precision="double")
    ours = compiled(block, jit_compile=jit)(tf.constant(y), tf.constant(h), 0 * no, no)
    theirs = InPrecision(lambda: LMMSEEqualizer(rg, UPLINK), "double")(y, h, 0 * no, no)
    for mine, other in zip(ours, theirs, strict=True):
        close(mine, other, 1e-9)
    assert block.stats.exact == 2 * h.shape[-1]


def test_shards(model: ScenarioModel, sharded: Path) -> None:
    """A model in shards gives what the same one gives in one file of each operation, in a graph."""
    joined = ScenarioModel.load(sharded)
    assert repr(joined) == repr(model)
    no = tf.constant(NO, tf.float64)
    multi, single = (trained(model, name, 2, 0, 1) for name in ("pseudo_inverse", "svd"))
    for kind, settings, inputs in (
        (ZFPrecoder, (grid(3), DOWNLINK), (grids(3, 3), users(multi), no)),
        (SVDBeamformer, (grid(2), SINGLE), (grids(3, 2), one_user(single))),
    ):
        inputs = tuple(tf.constant(z) for z in inputs)
        mine, other = (kind(*settings, solver, precision="double") for solver in (joined, model))
        assert (compiled(mine)(*inputs).numpy() == compiled(other)(*inputs).numpy()).all()
        assert mine.stats == other.stats and mine.stats.links_recalled == 3


def test_named_links_are_checked(model: ScenarioModel) -> None:
    h = trained(model, "pseudo_inverse", 0, 1, 3, 3)
    ours, block = zero_forcing(model, h, links=np.array([0, 2, -1, 17]))
    exact, _ = zero_forcing(Exact(), h)
    assert block.stats.links_recalled == 1 and block.stats.links_unknown == 3
    close(ours[1:], exact[1:], 1e-9)
    close(ours, exact, CERTIFIED)


def test_marked_subcarriers_are_exact(model: ScenarioModel) -> None:
    h = trained(model, "pseudo_inverse", 2, 0)
    ours, block = zero_forcing(model, h)
    exact, _ = zero_forcing(Exact(), h)
    marked = model.models["pseudo_inverse"].marks.marked[[2, 0]]
    assert marked.any() and block.stats.patched == marked.sum()
    difference = np.abs(ours - exact).max((1, 2, 3))
    assert (difference[marked] < 1e-9).all()
    assert (difference[~marked] > 1e-9).all()


def test_pure_query(model: ScenarioModel) -> None:
    """Without a certificate the links that are named answer, whatever the channel."""
    h = trained(model, "pseudo_inverse", 1, 0)
    ours, block = zero_forcing(model, 0 * h + 1, links=[1, 0], certify=None)
    known, _ = zero_forcing(model, h)
    close(ours, known, CERTIFIED)
    assert block.stats.queried == 2 * FFT_SIZE
    with pytest.raises(ValueError, match="does not recognise links, give links"):
        zero_forcing(model, h, certify=None)


@pytest.mark.parametrize("jit", [False, True])
def test_each_call_is_proven(folder: Path, jit: bool) -> None:
    """A spoiled mapping is found out, for zero forcing, MMSE and singular vectors."""
    spoiled, sound = ScenarioModel.load(folder), ScenarioModel.load(folder)
    for one in spoiled.models.values():
        for latent in one.mapping._latents:
            # Rows of the first link, where they stand one below the other.
            spoilt = latent[40:44] if latent.ndim == 3 else latent[:, 40:44]
            spoilt *= 1.3
    h = trained(sound, "pseudo_inverse", 0, 1)
    no = tf.constant(NO, tf.float64)
    y = samples(2, 1, 16, SYMBOLS, FFT_SIZE, seed=2)
    triplets = trained(sound, "svd", 2, 0)
    cases: list[tuple[Any, tuple[Any, ...], tuple[Any, ...]]] = [
        (ZFPrecoder, (grid(3), DOWNLINK), (grids(2, 3), users(h))),
        (ZFPrecoder, (grid(3), DOWNLINK), (grids(2, 3), users(h), no)),
        (MMSEEqualizer, (grid(1, 3), UPLINK), (y, uplink(h), 0 * no, no)),
        (SVDBeamformer, (grid(2), SINGLE), (grids(2, 2), one_user(triplets))),
    ]
    for kind, settings, inputs in cases:
        inputs = tuple(tf.constant(z) for z in inputs)
        exact = kind(*settings, Exact(), precision="double")(*inputs)
        exact = exact[0] if isinstance(exact, tuple) else exact
        numbers = []
        # A sound model in XLA would only take time.
        for solver in (spoiled,) if jit else (spoiled, sound):
            block = kind(*settings, solver, precision="double", certify="call", time_varying=False)
            ours = compiled(block, jit_compile=jit)(*inputs)
            close(ours[0] if isinstance(ours, tuple) else ours, exact, CERTIFIED)
            assert block.stats.links_recalled == 2
            numbers.append(block.stats.exact)
        assert numbers[0] > max(numbers[1:], default=10)


def test_tolerance(model: ScenarioModel) -> None:
    h = trained(model, "pseudo_inverse", 0, 1)
    _, usual = zero_forcing(model, h, certify="call")
    ours, strict = zero_forcing(model, h, certify="call", tolerance=Tolerance(80.0, 1e-4))
    assert strict.stats.exact > usual.stats.exact
    close(ours, zero_forcing(Exact(), h)[0], 1e-3)


@pytest.mark.parametrize("operation", ["pseudo_inverse", "svd"])
def test_tolerance_of_recognised_links(model: ScenarioModel, operation: str) -> None:
    """What the training did not prove to it is computed exactly, and counted."""
    own, no = model.models[operation], tf.constant(NO, tf.float64)
    h = trained(model, operation, 0, 1)
    for tolerance in (None, own.tolerance, Tolerance(60.0, 1e-3), Tolerance(1e3, 0.0)):
        kind, settings, inputs = {
            "pseudo_inverse": (ZFPrecoder, (grid(3), DOWNLINK), (grids(2, 3), users(h), no)),
            "svd": (SVDBeamformer, (grid(2), SINGLE), (grids(2, 2), one_user(h))),
        }[operation]
        block = kind(*settings, model, precision="double", tolerance=tolerance)
        exact = kind(*settings, Exact(), precision="double")(*inputs)
        short = own.marks.marked[:2]
        if tolerance not in (None, own.tolerance):
            short = short | own.marks.short_of(tolerance)[:2]
        difference = np.abs(block(*inputs) - exact).max((1, 2, 3))
        assert block.stats.links_recalled == 2 and block.stats.patched == short.sum()
        assert (difference[short] < 1e-9).all()
        if tolerance is not None:
            close(block(*inputs), exact, max(2 * tolerance.range_error, 1e-9))
    assert short.all()


def test_gain_and_noise(model: ScenarioModel) -> None:
    """A common gain turns the noise power; gains that differ make another matrix with noise."""
    h = trained(model, "pseudo_inverse", 0, 1, 0)
    h[0] *= 3.0
    h[1] *= np.array([1.0, 2.0, 0.5])[:, None]
    no = tf.constant([9 * NO, NO, 1e4], tf.float64)
    inputs = (grids(3, 3), users(h))
    block = ZFPrecoder(grid(3), DOWNLINK, model, precision="double")
    exact = ZFPrecoder(grid(3), DOWNLINK, Exact(), precision="double")
    ours = block(*inputs, no)
    # Recalled; of unequal gains; of a power that was not trained.
    assert block.stats.links_recalled == 1 and block.stats.links_unknown == 2
    close(ours, exact(*inputs, no), CERTIFIED)
    close(ours[1:], exact(*inputs, no)[1:], 1e-9)
    close(block(*inputs), exact(*inputs), CERTIFIED)
    assert block.stats.links_recalled == 4


def test_delays_and_normalised_channels(model: ScenarioModel) -> None:
    """Rows may come with delays of their own, or without any."""
    links = model.models["pseudo_inverse"].links
    frequencies = links.grid_frequencies()
    h = links.channel(frequencies, [0, 1], aligned=True).astype(np.complex128)
    h[1] *= np.exp(-2j * np.pi * frequencies[:, None] * np.array([1e-7, 2.3e-7, 0]))[..., None]
    ours, block = zero_forcing(model, h)
    assert block.stats.links_recalled == 2
    close(ours, zero_forcing(Exact(), h)[0], CERTIFIED)


@pytest.mark.parametrize("jit", [False, True])
def test_symbols_that_differ(model: ScenarioModel, jit: bool) -> None:
    h = one_user(trained(model, "svd", 2))
    h[..., 2, :] += samples(*h[..., 2, :].shape, seed=3)
    x, y = grids(1, 2), samples(1, 1, 4, SYMBOLS, FFT_SIZE, seed=4)
    no = tf.constant(NO, tf.float64)
    beamformer = SVDBeamformer(grid(2), SINGLE, model, precision="double")
    combiner = SVDCombiner(grid(2), SINGLE, model, precision="double")
    x_precoded = compiled(beamformer, jit_compile=jit)(tf.constant(x), tf.constant(h))
    x_hat, no_eff = compiled(combiner, jit_compile=jit)(tf.constant(y), tf.constant(h), no)
    assert beamformer.stats.exact == combiner.stats.exact == SYMBOLS * FFT_SIZE
    for symbol in range(SYMBOLS):
        one = over_symbols(h[..., symbol, :])
        alone = SVDBeamformer(grid(2), SINGLE, Exact(), precision="double")(x, one)
        close(x_precoded[..., symbol, :], alone[..., symbol, :], 1e-9)
    through = compiled(combiner, jit_compile=jit)(
        tf.einsum("brmtnsf,btnsf->brmsf", h, x_precoded), tf.constant(h), no
    )[0]
    sent = SVDCombiner(grid(2), SINGLE, Exact(), precision="double")._data_symbols(
        tf.gather(x, beamformer._effective, axis=-1)
    )
    close(through, sent, 1e-9)
    assert (np.asarray(no_eff) > 0).all() and x_hat.shape == no_eff.shape


def test_two_cells_of_one_user(model: ScenarioModel) -> None:
    """Each beam goes to its own user; the other cell's streams count as noise."""
    own = trained(model, "svd", 2, 0)
    h = 0.1 * samples(1, 2, 4, 2, 16, 1, FFT_SIZE, seed=5)
    for cell in range(2):
        h[0, cell, :, cell, :, 0] = own[cell].transpose(1, 2, 0)
    h = np.repeat(h, SYMBOLS, axis=-2)
    management = StreamManagement(np.eye(2), 2)
    x = samples(1, 2, 2, SYMBOLS, FFT_SIZE, seed=6)
    no = tf.constant(NO, tf.float64)
    results = []
    for solver in (model, Exact()):
        beamformer = SVDBeamformer(grid(2, 2), management, solver, precision="double")
        combiner = SVDCombiner(grid(2, 2), management, solver, precision="double")
        x_precoded = beamformer(x, h)
        y = tf.einsum("brmtnsf,btnsf->brmsf", h, x_precoded)
        results.append(combiner(y, h, no))
        expected = 2 if solver is model else 0
        assert beamformer.stats.links_recalled == combiner.stats.links_recalled == expected
    (x_hat, no_eff), (_, exact_no_eff) = results
    close(no_eff, exact_no_eff, CERTIFIED)
    sent = combiner._data_symbols(tf.gather(x, combiner._effective, axis=-1))
    error = np.mean(np.abs(x_hat - sent) ** 2)
    assert error < np.mean(no_eff)


def test_other_grids_are_exact(model: ScenarioModel) -> None:
    """Of a grid of half the spacing every second subcarrier was trained."""
    rg = ResourceGrid(SYMBOLS, 96, 60e3, num_tx=1, num_streams_per_tx=3)
    frequencies = (np.arange(96) - 48) * 60e3
    h = model.models["pseudo_inverse"].links.channel(frequencies, [0]).astype(np.complex128)
    x = samples(1, 1, 3, SYMBOLS, 96, seed=7)
    with pytest.warns(UserWarning, match="48 of 96 subcarriers are not on the trained grid"):
        block = ZFPrecoder(rg, DOWNLINK, model, precision="double")
    exact = ZFPrecoder(rg, DOWNLINK, Exact(), precision="double")(x, users(h))
    close(block(x, users(h)), exact, CERTIFIED)
    assert block.stats.links_recalled == 1 and block.stats.patched >= 48


def test_batches_of_any_size(model: ScenarioModel) -> None:
    block = ZFPrecoder(grid(3), DOWNLINK, model)
    signature = [
        tf.TensorSpec([None, 1, 3, SYMBOLS, FFT_SIZE], tf.complex64),
        tf.TensorSpec([None, 3, 1, 1, 16, SYMBOLS, FFT_SIZE], tf.complex64),
    ]
    graph = tf.function(block.__call__, input_signature=signature)
    for links in ([0], [1, 2, 0]):
        h = users(trained(model, "pseudo_inverse", *links)).astype(np.complex64)
        x = grids(len(links), 3).astype(np.complex64)
        close(graph(tf.constant(x), tf.constant(h)), block(x, h), 1e-5)
    assert block.stats.links_recalled == 2 * 4
