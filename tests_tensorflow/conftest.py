"""Grids, channels and references, which ``make test-tensorflow`` writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sionna.phy  # noqa: F401  (before TensorFlow, see docs/tensorflow.md)
import tensorflow as tf
from numpy.typing import NDArray
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid

from neumatc_mimo.tensorflow import ScenarioModel
from tests_tensorflow.grids import SYMBOLS, grid_settings

Array = NDArray[Any]

FOLDER = Path(__file__).parent.parent / "build/tensorflow"
NO = 0.01
# Of the batch: two trained links, and a channel that was not trained.
LINKS = [2, 0, -1]


@pytest.fixture(scope="session")
def folder() -> Path:
    """The folder of the model that was trained with PyTorch."""
    if not (FOLDER / "references.npz").exists():
        pytest.skip("there are no references of the PyTorch blocks; run make test-tensorflow")
    return FOLDER / "model"


@pytest.fixture(scope="session")
def sharded(folder: Path) -> Path:
    """The folder of the same model with each operation in two shards."""
    return folder.with_name("sharded")


@pytest.fixture(scope="session")
def references(folder: Path) -> dict[str, Array]:
    """Inputs and outputs of the PyTorch blocks."""
    return dict(np.load(folder.parent / "references.npz"))


@pytest.fixture(scope="session")
def model(folder: Path) -> ScenarioModel:
    return ScenarioModel.load(folder)


def grid(num_streams: int, num_tx: int = 1) -> ResourceGrid:
    return ResourceGrid(**grid_settings(num_streams, num_tx))


def users(h: Array) -> Array:
    """Channels [batch_size, F, K, M] of one transmitter to K users, as Sionna has them."""
    return over_symbols(h.transpose(0, 2, 3, 1)[:, :, None, None])


def one_user(h: Array) -> Array:
    """The same of one user of K antennas."""
    return over_symbols(h.transpose(0, 2, 3, 1)[:, None, :, None])


def uplink(h: Array) -> Array:
    """The same from K users to one receiver, on effective subcarriers."""
    effective = np.asarray(grid(1).effective_subcarrier_ind)
    return over_symbols(h.transpose(0, 3, 2, 1)[:, None, :, :, None][..., effective])


def over_symbols(h: Array) -> Array:
    """Channels [..., F] that are constant over the OFDM symbols."""
    return np.repeat(h[..., None, :], SYMBOLS, axis=-2)


DOWNLINK = StreamManagement(np.ones([3, 1]), 3)
UPLINK = StreamManagement(np.ones([1, 3]), 1)
SINGLE = StreamManagement(np.ones([1, 1]), 2)


def samples(*shape: int, seed: int) -> Array:
    """Complex Gaussian samples of unit power."""
    generator = np.random.default_rng(seed)
    pair: Array = generator.normal(size=(2, *shape)) / np.sqrt(2)
    return pair[0] + 1j * pair[1]


def close(ours: Any, theirs: Any, tolerance: float) -> None:
    """Same shape, same values relative to the largest."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    finite = np.isfinite(theirs)
    assert (np.isfinite(ours) == finite).all()
    error = np.abs(ours - theirs)[finite].max() / np.abs(theirs[finite]).max()
    assert error < tolerance, f"relative error {error:.1e}"


def compiled(block: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """The block in a graph."""
    return tf.function(block.__call__, **options)
