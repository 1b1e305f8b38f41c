"""What an installed wheel must do beside Sionna 1.2: ``make release`` runs this."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import sionna.phy  # noqa: F401  (before TensorFlow, see docs/tensorflow.md)
import tensorflow as tf
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid, RZFPrecoder

import neumatc_mimo.tensorflow
from neumatc_mimo.tensorflow import Exact, ZFPrecoder

USERS, ANTENNAS, SYMBOLS, SUBCARRIERS = 4, 16, 14, 120


def samples(rng: np.random.Generator, *shape: int) -> tf.Tensor:
    """Complex Gaussian samples."""
    real, imaginary = rng.normal(size=(2, *shape))
    return tf.constant(real + 1j * imaginary, tf.complex64)


def main() -> None:
    folder = Path(neumatc_mimo.__file__).parent
    assert folder == Path(str(distribution("neumatc-mimo").locate_file("neumatc_mimo"))), folder
    grid = ResourceGrid(SYMBOLS, SUBCARRIERS, 30e3, num_streams_per_tx=USERS)
    streams = StreamManagement(np.ones([USERS, 1]), USERS)
    rng = np.random.default_rng(0)
    x = samples(rng, 1, 1, USERS, SYMBOLS, SUBCARRIERS)
    h = samples(rng, 1, USERS, 1, 1, ANTENNAS, 1, SUBCARRIERS)
    h = tf.repeat(h, SYMBOLS, axis=5)
    ours, theirs = ZFPrecoder(grid, streams, Exact())(x, h), RZFPrecoder(grid, streams)(x, h)
    error = float(tf.norm(tf.abs(ours - theirs)) / tf.norm(tf.abs(theirs)))
    assert error < 1e-4, error
    print(f"TensorFlow {tf.__version__}: zero forcing differs from Sionna's by {error:.1e}")


if __name__ == "__main__":
    main()
