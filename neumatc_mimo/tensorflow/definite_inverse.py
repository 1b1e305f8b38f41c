"""Inverses of many small positive definite matrices."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import tensorflow as tf

# Matrices up to this size are eliminated entry by entry, larger ones by halves.
_LARGEST = 8


@tf.custom_gradient
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
        # dX = -X dS X
        return -tf.matmul(x, tf.matmul(of_x, x, adjoint_b=True), adjoint_a=True)

    return (x, definite), derivative


@lru_cache(maxsize=64)
def _eliminator(size: int, dtype: tf.DType) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """The elimination as a graph: called eagerly, its many small steps would take ten times as
    long.
    """
    signature = [tf.TensorSpec([None, size, size], dtype)]
    return tf.function(_inverse, input_signature=signature, autograph=False)


def _inverse(s: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Inverses of s [B, K, K], and their pivots [K, B]."""
    size = s.shape[-1]
    if size <= _LARGEST:
        return _eliminated(s)
    half = size // 2
    x, pivots = _inverse(s[:, :half, :half])
    across = tf.matmul(x, s[:, :half, half:])
    rest = s[:, half:, half:] - tf.matmul(s[:, :half, half:], across, adjoint_a=True)
    corner, more = _inverse(rest)
    side = tf.matmul(across, corner)
    first = tf.concat([x + tf.matmul(side, across, adjoint_b=True), -side], -1)
    second = tf.concat([-tf.linalg.adjoint(side), corner], -1)
    return tf.concat([first, second], -2), tf.concat([pivots, more], 0)


def _eliminated(s: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Gauss-Jordan elimination with the batch as the innermost dimension."""
    size = s.shape[-1]
    last = tf.transpose(tf.reshape(s, [-1, size * size]))
    rows = tf.unstack(tf.reshape(last, [size, size, -1]))
    pivots = []
    for k in range(size):
        pivots.append(tf.math.real(rows[k][k]))
        # A matrix that is not definite is told by its pivot, and need not overflow.
        pivot = tf.where(pivots[-1] == 0, tf.ones_like(pivots[-1]), pivots[-1])
        factor = tf.cast(1 / pivot, s.dtype)
        row = _with(rows[k] * factor, k, factor)
        rows = [
            row if j == k else _with(other, k, tf.zeros_like(factor)) - other[k] * row
            for j, other in enumerate(rows)
        ]
    flat = tf.reshape(tf.stack(rows), [size * size, -1])
    return tf.reshape(tf.transpose(flat), [-1, size, size]), tf.stack(pivots)


def _with(row: tf.Tensor, k: int, entry: tf.Tensor) -> tf.Tensor:
    """A row [K, B] with another entry k."""
    return tf.concat([row[:k], entry[None], row[k + 1 :]], 0)
