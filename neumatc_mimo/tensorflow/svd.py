"""The strongest singular triplets of a wide matrix, in a gauge of each matrix alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from neumatc_mimo.foundation.tolerance import Tolerance
from neumatc_mimo.tensorflow.hermitian import eigenvectors
from neumatc_mimo.tensorflow.operation import (
    Operation,
    decibels,
    doubted,
    largest,
    magnitude,
    over,
    permuted,
    power,
)
from neumatc_mimo.tensorflow.recognition import Found

# Squarings that bound what is left out from above, and rounding that is forgiven, as in
# neumatc_mimo.operations.dominance.
_SQUARINGS, _ROUNDING = 10, 16
# Share of a result that rounding may take before it is computed again in double precision: at least
# some 50 dB are left.
_DOUBTFUL = 5e-4
# Likewise before singular vectors of double precision are looked at again.
_LOST = 1e-11


class Triplets(NamedTuple):
    """The strongest singular triplets, A v = s u, the strongest first.

    :param u: [..., m, num_streams]
    :param s: [..., num_streams], real
    :param v: [..., n, num_streams]
    """

    u: tf.Tensor
    s: tf.Tensor
    v: tf.Tensor


class SVD(Operation):
    """The ``num_streams`` strongest triplets, see :class:`~neumatc_mimo.operations.svd.SVD`."""

    name = "svd"

    def __init__(self, num_streams: int) -> None:
        self.num_streams = num_streams

    def plain(self, a: tf.Tensor, no: tf.Tensor | None) -> tuple[Triplets, tf.Tensor]:
        del no
        unit = magnitude(largest(a))
        a = over(a, unit)
        u = eigenvectors(tf.matmul(a, a, adjoint_b=True))
        if a.dtype == tf.complex128:
            u = _surely(a, u)
        u = u[..., : self.num_streams]
        # The norm of A^H u is more accurate than the root of the eigenvalue of A A^H.
        v, s = _normalised(tf.matmul(a, u, adjoint_a=True))
        # A A^H squares the ratio of singular values; at one of 200 the weakest leaks at -50 dB.
        spread = tf.reduce_max(s, -1) / _positive(tf.reduce_min(s, -1))
        doubtful = doubted(spread**2 / 10, _DOUBTFUL) & tf.math.is_finite(_square(a))
        return self._in_gauge(u, s * unit[..., None], v), doubtful

    def narrow(self, answer: Triplets) -> Triplets:
        u, s, v = answer
        return Triplets(tf.cast(u, tf.complex64), tf.cast(s, tf.float32), tf.cast(v, tf.complex64))

    def recalled(self, components: list[tf.Tensor], found: Found, no: tf.Tensor | None) -> Triplets:
        del no
        u, s, v = components
        gain = tf.cast(found.gain, s.dtype)[:, None, :1]
        rows = found.rows / tf.cast(gain, u.dtype)
        return self._in_gauge(permuted(u, found.order, 2) * rows[..., None], s * gain, v)

    def proven(
        self, a: tf.Tensor, answer: Triplets, no: tf.Tensor | None, tolerance: Tolerance
    ) -> tf.Tensor:
        """Residual in dB, by how much a direction left out may be stronger than one taken, and by
        how much values are wrong.
        """
        del no
        u, s, v = answer
        eye = tf.eye(self.num_streams, dtype=u.dtype)
        scaled = tf.cast(s, u.dtype)[..., None, :]
        strongest = _positive(s[..., 0] ** 2)
        forth = _square(tf.matmul(a, v) - u * scaled) / strongest
        back = _square(tf.matmul(a, u, adjoint_a=True) - v * scaled) / strongest
        right = _square(tf.matmul(v, v, adjoint_a=True) - eye)
        left = _square(tf.matmul(u, u, adjoint_a=True) - eye)
        quality = -decibels(forth + back + right + left)
        taken = tf.matmul(u, a, adjoint_a=True)
        gain = tf.sqrt(tf.reduce_sum(power(taken), -1))
        rounding = _ROUNDING * np.finfo(s.dtype.as_numpy_dtype).eps * tf.sqrt(_square(a))
        wrong = (tf.abs(s - gain) - rounding[..., None]) / _positive(gain)
        proven = (quality >= tolerance.quality_db) & (
            tf.reduce_max(wrong, -1) <= tolerance.range_error
        )
        if self.num_streams == min(a.shape[-2:]):
            return proven  # nothing is left out
        outside = _singular_bound(a - tf.matmul(u, taken)) - rounding
        excess = outside / _positive(tf.reduce_min(gain, -1)) - 1
        return proven & (excess <= tolerance.range_error)

    def check_served(self, settings: dict[str, Any]) -> None:
        if self.num_streams > settings["num_streams"]:
            raise ValueError(
                f"The model has {settings['num_streams']} triplets for each link, "
                f"but {self.num_streams} streams are needed."
            )

    def _in_gauge(self, u: tf.Tensor, s: tf.Tensor, v: tf.Tensor) -> Triplets:
        """Strongest first, and the inner product of v with a chirp real and positive."""
        index = np.arange(v.shape[-2])
        chirp = np.exp(-1j * np.pi * index**2 / len(index))
        overlap = tf.reduce_sum(tf.constant(chirp[:, None], v.dtype) * v, -2)
        size = tf.sqrt(power(overlap))
        phase = tf.math.conj(overlap) / tf.cast(_positive(size), v.dtype)
        phase = tf.where(size == 0, tf.ones_like(phase), phase)
        order = tf.argsort(s, direction="DESCENDING", stable=True)[..., : self.num_streams]
        turn = tf.one_hot(order, s.shape[-1], dtype=v.dtype) * phase[..., None, :]
        ordered = tf.gather(s, order, axis=-1, batch_dims=len(s.shape) - 1)
        return Triplets(
            tf.matmul(u, turn, transpose_b=True), ordered, tf.matmul(v, turn, transpose_b=True)
        )


def _surely(a: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
    """Left singular vectors of double precision, where some singular values are so small beside
    others that A A^H, their squares, has lost them.

    What A^H U leaves between its columns is computed to the digits of each, and turned away.

    :param u: of all singular values
    """
    seen = tf.matmul(a, u, adjoint_a=True)
    size = tf.sqrt(tf.reduce_sum(power(seen), -2))
    spread = tf.reduce_max(size, -1) / _positive(tf.reduce_min(size, -1))

    def turned() -> tf.Tensor:
        graded = eigenvectors(tf.matmul(seen, seen, adjoint_a=True), graded=True)
        return tf.matmul(u, graded)

    return tf.cond(tf.reduce_any(doubted(spread**2, _LOST)), turned, lambda: u)


def _singular_bound(b: tf.Tensor) -> tf.Tensor:
    """Upper bound of the singular values of matrices, from powers of their Gram matrices."""
    d = tf.matmul(b, b, adjoint_b=True)
    bound = tf.sqrt(_square(d))
    d = d / tf.cast(_positive(bound), d.dtype)[..., None, None]
    for number in range(1, _SQUARINGS + 1):
        d = tf.matmul(d, d)
        size = tf.sqrt(_square(d))
        d = d / tf.cast(_positive(size), d.dtype)[..., None, None]
        bound = bound * size**0.5**number
    return tf.sqrt(bound)


def _normalised(v: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Columns of v [..., n, L] with unit norm, and the norms [..., L] that they had."""
    size = tf.sqrt(tf.reduce_sum(power(v), -2))
    return v / tf.cast(_positive(size), v.dtype)[..., None, :], size


def _square(z: tf.Tensor) -> tf.Tensor:
    """Squared Frobenius norms of matrices."""
    return tf.reduce_sum(power(z), [-2, -1])


def _positive(x: tf.Tensor) -> tf.Tensor:
    return tf.maximum(x, np.finfo(x.dtype.as_numpy_dtype).tiny)
