"""Inverses of many small positive definite matrices."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import tensorflow as tf

# Matrices up to this size are eliminated entry by entry, larger ones by halves.
_LARGEST = 8


@tf.custom_gradient  # type: ignore[untyped-decorator]
def definite_inverse(s: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[..., tf.Tensor]]:
    """Inverses of Hermitian matrices s [..., K, K], and whether they are positive definite.

    Elimination over the whole batch, without pivoting, which definite matrices do not need (Higham,
    Accuracy and Stability of Numerical Algorithms, 2nd ed., Section 14.4). A matrix that rounding
    has made indefinite is told by its pivots. (TensorFlow's Cholesky factorisation leaves the
    output of such a matrix unwritten on a CPU, whatever was in memory before.)

    :return: [..., K, K], and bool [...]
    """
    size = s.shape[-1]
    flat, pivots = _eliminator(size, s.dtype)(tf.reshape(s, [-1, size, size]))
    x = tf.reshape(flat, tf.shape(s))
    x.set_shape(s.shape)
    definite = tf.reshape(tf.reduce_all(pivots > 0, 0), tf.shape(s)[:-2])
    definite.set_shape(s.shape[:-2])

    def derivative(of_x: tf.Tensor, of_definite: tf.Tensor) -> tf.Tensor:
        del of_definite
        # dX = -X dS X, with an X that has a derivative of its own.
        again, _ = definite_inverse(s)
        return -tf.matmul(again, tf.matmul(of_x, again, adjoint_b=True), adjoint_a=True)

    return (x, definite), derivative


@lru_cache(maxsize=64)
def _eliminator(size: int, dtype: tf.DType) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """The elimination as a graph: called eagerly, its many small steps would take ten times as
    long.
    """
    signature = [tf.TensorSpec([None, size, size], dtype)]
    graph = tf.function(_inverse, input_signature=signature, autograph=False)
    return graph.get_concrete_function()


def _inverse(s: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Inverses of s [B, K, K], and the pivots [K, B]."""
    # L^{-1} with S = L L^H: eliminating all of S would square what rounding makes of its condition.
    y, pivots = _factor(s)
    return tf.matmul(y, y, adjoint_a=True), pivots


def _factor(s: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Inverses of the Cholesky factors of s [B, K, K], and the pivots [K, B]."""
    size = s.shape[-1]
    if size <= _LARGEST:
        return _eliminated(s)
    half = size // 2
    y, pivots = _factor(s[:, :half, :half])
    across = tf.matmul(y, s[:, :half, half:])
    corner, more = _factor(s[:, half:, half:] - tf.matmul(across, across, adjoint_a=True))
    side = -tf.matmul(tf.matmul(corner, across, adjoint_b=True), y)
    first = tf.concat([y, tf.zeros_like(across)], -1)
    return tf.concat([first, tf.concat([side, corner], -1)], -2), tf.concat([pivots, more], 0)


def _eliminated(s: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Elimination with the batch as the innermost dimension."""
    size = s.shape[-1]
    last = tf.transpose(tf.reshape(s, [-1, size * size]))
    # Of each row what is right of the diagonal, and what becomes of the identity left of it.
    rows = tf.unstack(tf.reshape(last, [size, size, -1]))
    rows = [row[k:] for k, row in enumerate(rows)]
    inverse = [tf.ones_like(rows[0][:1]) for _ in range(size)]
    pivots = []
    for k in range(size):
        pivots.append(tf.math.real(rows[k][0]))
        # A matrix that is not definite is told by its pivot, and need not overflow.
        positive = tf.where(pivots[k] > 0, pivots[k], tf.ones_like(pivots[k]))
        share = rows[k] * tf.cast(1 / positive, s.dtype)
        for j in range(k + 1, size):
            factor = tf.math.conj(share[j - k])
            rows[j] = rows[j] - factor * rows[k][j - k :]
            lower = factor * inverse[k]
            known = inverse[j][:-1]
            inverse[j] = tf.concat([known - lower[:-1], -lower[-1:], inverse[j][-1:]], 0)
        inverse[k] = inverse[k] * tf.cast(tf.math.rsqrt(positive), s.dtype)
    whole = [tf.pad(row, [[0, size - 1 - k], [0, 0]]) for k, row in enumerate(inverse)]
    flat = tf.reshape(tf.stack(whole), [size * size, -1])
    return tf.reshape(tf.transpose(flat), [-1, size, size]), tf.stack(pivots)
