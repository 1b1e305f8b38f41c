"""Blocks with a trained model give what the PyTorch blocks give, however they are called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file

from neumatc_mimo.tensorflow import (
    Exact,
    MMSEDetector,
    MMSEEqualizer,
    ScenarioModel,
    SVDBeamformer,
    SVDCombiner,
    ZFPrecoder,
)
from tests_tensorflow.conftest import (
    DOWNLINK,
    LINKS,
    NO,
    SINGLE,
    UPLINK,
    Array,
    close,
    compiled,
    grid,
    one_user,
    uplink,
    users,
)

WAYS: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "eager": lambda block: block,
    "graph": compiled,
    "xla": lambda block: compiled(block, jit_compile=True),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Callable[[Any], Callable[..., Any]]:
    """How a block is called."""
    return WAYS[request.param]


def corrected(folder: Path, operation: str) -> Array:
    """Subcarriers of the batch that the PyTorch blocks correct, and these compute exactly."""
    (file,) = folder.glob(f"{operation}-*.safetensors")
    marks = load_file(file)["marks.corrected"][:, 0] > 0
    return np.stack([marks[link] if link >= 0 else np.zeros_like(marks[0]) for link in LINKS])


def alike(ours: Any, theirs: Array, exact: Any, where: Array) -> None:
    """``ours`` equal ``theirs``, and ``exact`` where the PyTorch blocks correct.

    :param where: [batch_size, F] for the last dimension of all
    """
    where = where.reshape(len(where), *(1,) * (theirs.ndim - 2), -1)
    close(ours, np.where(where, exact, theirs), 1e-4)


def test_zero_forcing(
    model: ScenarioModel,
    references: dict[str, Array],
    folder: Path,
    way: Callable[[Any], Callable[..., Any]],
) -> None:
    x, h = tf.constant(references["x_users"]), tf.constant(users(references["h_users"]))
    block = ZFPrecoder(grid(3), DOWNLINK, model, True, "double")
    exact = ZFPrecoder(grid(3), DOWNLINK, Exact(), True, "double")
    where, precoder = corrected(folder, "pseudo_inverse"), way(block)
    effective = np.asarray(grid(3).effective_subcarrier_ind)
    x_precoded, h_eff = precoder(x, h)
    known, known_eff = exact(x, h)
    alike(x_precoded, references["zf"], known, where)
    alike(h_eff, references["zf_effective"], known_eff, where[:, effective])
    assert block.stats.links_recalled == 2 and block.stats.links_unknown == 1
    assert 0 < block.stats.patched < block.stats.queried

    regularised, _ = precoder(x, h, tf.constant(NO, tf.float64))
    alike(regularised, references["rzf"], exact(x, h, NO)[0], where)


def test_mmse(
    model: ScenarioModel,
    references: dict[str, Array],
    folder: Path,
    way: Callable[[Any], Callable[..., Any]],
) -> None:
    y, h = tf.constant(references["y_users"]), tf.constant(uplink(references["h_users"]))
    err_var, no = tf.constant(0.0, tf.float64), tf.constant(NO, tf.float64)
    rg = grid(1, 3)
    where = corrected(folder, "pseudo_inverse")[:, np.asarray(rg.effective_subcarrier_ind)]
    # Data symbols of one grid after the other; the pilots' symbol is left out.
    where = np.tile(where, 3)
    block = MMSEEqualizer(rg, UPLINK, model, precision="double")
    x_hat, no_eff = way(block)(y, h, err_var, no)
    exact = MMSEEqualizer(rg, UPLINK, Exact(), precision="double")(y, h, err_var, no)
    alike(x_hat, references["mmse"], exact[0], where)
    alike(no_eff, references["mmse_no_eff"], exact[1], where)
    assert block.stats.links_recalled == 2

    settings: Any = ("bit", "app", rg, UPLINK)
    detector = MMSEDetector(*settings, model, "qam", 4, precision="double")
    exact_llr = MMSEDetector(*settings, Exact(), "qam", 4, precision="double")(y, h, err_var, no)
    alike(way(detector)(y, h, err_var, no), references["llr"], exact_llr, np.repeat(where, 4, 1))


@pytest.mark.parametrize("power", ["uniform", "waterfilling"])
def test_svd(
    model: ScenarioModel,
    references: dict[str, Array],
    folder: Path,
    way: Callable[[Any], Callable[..., Any]],
    power: Any,
) -> None:
    h, no = tf.constant(one_user(references["h_user"])), tf.constant(NO, tf.float64)
    x, y = tf.constant(references["x_user"]), tf.constant(references["y_user"])
    where, rg = corrected(folder, "svd"), grid(2)
    effective = np.asarray(rg.effective_subcarrier_ind)
    block = SVDBeamformer(rg, SINGLE, model, True, power, "double")
    x_precoded, h_eff = way(block)(x, h, no=no)
    exact = SVDBeamformer(rg, SINGLE, Exact(), True, power, "double")(x, h, no=no)
    alike(x_precoded, references[f"svd_{power}"], exact[0], where)
    alike(h_eff, references[f"svd_{power}_effective"], exact[1], where[:, effective])
    assert block.stats.links_recalled == 2 and block.stats.links_unknown == 1

    where = np.tile(where[:, effective], 3)
    combiner = SVDCombiner(rg, SINGLE, model, "double", power=power)
    x_hat, no_eff = way(combiner)(y, h, no)
    exact = SVDCombiner(rg, SINGLE, Exact(), "double", power=power)(y, h, no)
    alike(x_hat, references[f"combined_{power}"], exact[0], where)
    alike(no_eff, references[f"combined_{power}_no_eff"], exact[1], where)
