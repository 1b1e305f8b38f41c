"""What Sionna's blocks accept, ours do, with the same result: shapes that are broadcast, real
inputs, more streams than antennas, parts of a slot.
"""

from __future__ import annotations

import itertools
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
from tests_tensorflow.conftest import Array, close, grid, samples
from tests_tensorflow.grids import FFT_SIZE

ITEMS, SYMBOLS, USERS = 3, 4, 3
NULLS: Any = {"num_guard_carriers": (2, 1), "dc_null": True}
DOWN, UP = StreamManagement(np.ones([USERS, 1]), USERS), StreamManagement(np.ones([1, USERS]), 1)
NO = tf.constant(0.1, tf.float64)
# Numbers of items, symbols and subcarriers, and the others of another tensor.
SIZES = list(itertools.product((1, ITEMS), (1, SYMBOLS), (1, 15)))


def downlink(fft_size: int = 15, **changes: Any) -> ResourceGrid:
    return ResourceGrid(SYMBOLS, fft_size, 30e3, num_streams_per_tx=USERS, **changes)


def uplink(fft_size: int = 15, **changes: Any) -> ResourceGrid:
    return ResourceGrid(SYMBOLS, fft_size, 30e3, num_tx=USERS, **changes)


def of_precoder(size: tuple[int, int, int], antennas: int = 5, seed: int = 2) -> Array:
    return samples(size[0], USERS, 1, 1, antennas, *size[1:], seed=seed)


def compare(ours: Any, theirs: Any, tolerance: float = 1e-9) -> None:
    both = zip(ours, theirs, strict=True) if isinstance(theirs, tuple) else [(ours, theirs)]
    for mine, other in both:
        close(mine, other, tolerance)


@pytest.mark.parametrize("h_size", SIZES, ids=str)
def test_precoder(h_size: tuple[int, int, int]) -> None:
    for x_size, alpha_size in itertools.product(SIZES[::3], SIZES[::2]):
        x = samples(x_size[0], 1, USERS, *x_size[1:], seed=1)
        h, alpha = (
            of_precoder(h_size),
            0.1 + np.abs(samples(alpha_size[0], 1, *alpha_size[1:], seed=3)),
        )
        effective = max(h_size[2], alpha_size[2]) > 1
        rg = downlink(**NULLS)
        theirs = InPrecision(lambda rg=rg, e=effective: RZFPrecoder(rg, DOWN, e), "double")
        ours = ZFPrecoder(rg, DOWN, Exact(), effective, "double")
        compare(ours(x, h, alpha), theirs(x, h, alpha))


@pytest.mark.parametrize("real", [(True, False), (False, True), (True, True)])
def test_real_inputs(real: tuple[bool, bool]) -> None:
    x, h = samples(2, 1, USERS, SYMBOLS, 15, seed=1), of_precoder((2, SYMBOLS, 15))
    x, h = (z.real if one else z for z, one in zip((x, h), real, strict=True))
    rg = downlink()
    theirs = InPrecision(lambda: RZFPrecoder(rg, DOWN, True), "double")
    compare(ZFPrecoder(rg, DOWN, Exact(), True, "double")(x, h, 0.1), theirs(x, h, 0.1))
    y, g = samples(2, 1, 5, SYMBOLS, 15, seed=1), h.transpose(0, 3, 4, 1, 2, 5, 6)
    rg = uplink()
    equalizer = InPrecision(lambda: LMMSEEqualizer(rg, UP), "double")
    ours = MMSEEqualizer(rg, UP, Exact(), precision="double")
    y = y.real if real[0] else y
    # Sionna takes no real channel here.
    compare(ours(y, g, 0 * NO, NO), equalizer(y, g + 0j, 0 * NO, NO))


@pytest.mark.parametrize(("symbols", "subcarriers"), [(2, 15), (7, 15), (4, 5), (1, 1), (4, 20)])
def test_part_of_a_slot(symbols: int, subcarriers: int) -> None:
    x = samples(2, 1, USERS, symbols, subcarriers, seed=1)
    h = of_precoder((2, symbols, subcarriers))
    theirs = InPrecision(lambda: RZFPrecoder(downlink(), DOWN), "double")(x, h, 0.1)
    close(ZFPrecoder(downlink(), DOWN, Exact(), precision="double")(x, h, 0.1), theirs, 1e-9)


@pytest.mark.parametrize("antennas", [1, 2, 3, 5])
@pytest.mark.parametrize("constant", [True, False])
def test_more_streams_than_antennas(antennas: int, constant: bool) -> None:
    x, h = samples(2, 1, USERS, SYMBOLS, 15, seed=1), of_precoder((2, SYMBOLS, 15), antennas)
    if constant:
        h = np.repeat(h[..., :1, :], SYMBOLS, axis=-2)
    theirs = InPrecision(lambda: RZFPrecoder(downlink(), DOWN, True), "double")(x, h, 0.1)
    compare(ZFPrecoder(downlink(), DOWN, Exact(), True, "double")(x, h, 0.1), theirs)
    y, g = samples(2, 1, antennas, SYMBOLS, 15, seed=4), h.transpose(0, 3, 4, 1, 2, 5, 6)
    equalizer = InPrecision(lambda: LMMSEEqualizer(uplink(), UP), "double")(y, g, 0 * NO, NO)
    compare(MMSEEqualizer(uplink(), UP, Exact(), precision="double")(y, g, 0 * NO, NO), equalizer)


def test_more_streams_than_antennas_need_a_regularisation() -> None:
    x, h = samples(2, 1, USERS, SYMBOLS, 15, seed=1), of_precoder((2, SYMBOLS, 15), 2)
    block = ZFPrecoder(downlink(), DOWN, Exact())
    for alpha in (0.0, np.array([[[[0.1]]], [[[0.0]]]])):
        with pytest.raises(ValueError, match="3 streams are more than the 2 antennas"):
            block(x, h, alpha)


@pytest.mark.parametrize("y_size", [(1, 1), (ITEMS, 1), (1, SYMBOLS), (ITEMS, SYMBOLS)], ids=str)
@pytest.mark.parametrize("h_items", [1, ITEMS])
@pytest.mark.parametrize("cells", [1, 2])
def test_equalizer(y_size: tuple[int, int], h_items: int, cells: int) -> None:
    """Also of several receivers, whose users are the others' interference."""
    num_tx = USERS * cells
    rg = ResourceGrid(SYMBOLS, 15, 30e3, num_tx=num_tx, **NULLS)
    sm = StreamManagement(np.kron(np.eye(cells), np.ones([1, USERS])), 1)
    y = samples(y_size[0], cells, 4, y_size[1], 15, seed=1)
    shape = (h_items, cells, 4, num_tx, 1, SYMBOLS, int(rg.num_effective_subcarriers))
    h = samples(*shape, seed=2)
    errors = (0 * NO, np.abs(samples(h_items, *[1] * 6, seed=3)), np.abs(samples(*shape, seed=3)))
    powers = (NO, 0.1 + np.abs(samples(y_size[0], cells, 4, seed=4)))
    theirs = InPrecision(lambda: LMMSEEqualizer(rg, sm), "double")
    ours = MMSEEqualizer(rg, sm, Exact(), precision="double")
    for error, no in itertools.product(errors, powers):
        compare(ours(y, h, error, no), theirs(y, h, error, no))


@pytest.mark.parametrize("output", ["bit", "symbol"])
@pytest.mark.parametrize("h_size", SIZES, ids=str)
def test_detector(output: Any, h_size: tuple[int, int, int]) -> None:
    y = samples(ITEMS, 1, 4, SYMBOLS, 15, seed=1)
    h = samples(h_size[0], 1, 4, USERS, 1, *h_size[1:], seed=2)
    settings: Any = (output, "app", uplink(), UP)
    theirs = InPrecision(lambda: LinearDetector("lmmse", *settings, "qam", 4), "double")
    ours = MMSEDetector(*settings, Exact(), "qam", 4, precision="double")
    close(ours(y, h, 0 * NO, NO), theirs(y, h, 0 * NO, NO), 1e-9)


@pytest.mark.parametrize("h_size", SIZES[:-1], ids=str)
def test_one_for_all_is_as_if_repeated(h_size: tuple[int, int, int]) -> None:
    """Sionna's equalizer takes no channel of one symbol, and it has no singular vectors."""
    no = tf.constant(0.1, tf.float64)
    rg, sm = (
        ResourceGrid(SYMBOLS, 15, 30e3, num_streams_per_tx=2),
        StreamManagement(np.ones([1, 1]), 2),
    )
    x, y = samples(ITEMS, 1, 2, SYMBOLS, 15, seed=1), samples(ITEMS, 1, 3, SYMBOLS, 15, seed=2)
    h = samples(h_size[0], 1, 3, 1, 5, *h_size[1:], seed=3)
    whole = np.broadcast_to(h, (ITEMS, *h.shape[1:5], SYMBOLS, 15)).copy()
    precoder = SVDBeamformer(rg, sm, Exact(), precision="double")
    close(precoder(x, h), precoder(x, whole), 1e-9)
    combiner = SVDCombiner(rg, sm, Exact(), precision="double")
    compare(combiner(y, h, no), tuple(combiner(y, whole, no)))
    y = samples(ITEMS, 1, 5, SYMBOLS, 15, seed=2)
    equalizer = MMSEEqualizer(uplink(), UP, Exact(), precision="double")
    g, whole = (z.transpose(0, 1, 4, 2, 3, 5, 6) for z in (h, whole))
    compare(equalizer(y, g, 0 * no, no), tuple(equalizer(y, whole, 0 * no, no)))


def test_links_of_one_channel(model: ScenarioModel) -> None:
    """One channel for all items of a batch, of one symbol."""
    links = model.models["pseudo_inverse"].links
    h = links.channel(links.grid_frequencies(), [1]).transpose(0, 2, 3, 1)[:, :, None, None]
    h = h[..., None, :].astype(np.complex128)
    x = samples(2, 1, 3, SYMBOLS, FFT_SIZE, seed=1)
    theirs = InPrecision(lambda: RZFPrecoder(grid(3), DOWN, True), "double")(x, h)
    for named in (None, [1], [1, 1]):
        block = ZFPrecoder(grid(3), DOWN, model, True, "double")
        found, h_eff = block(x, h, links=named)
        close(found, theirs[0], 2e-2)
        close(h_eff[:1], theirs[1], 2e-2)
        assert block.stats.links_recalled == (2 if named == [1, 1] else 1)
