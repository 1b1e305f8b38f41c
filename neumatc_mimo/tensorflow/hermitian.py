"""Eigenvectors of many small Hermitian matrices.

XLA has no eigenvalue decomposition of complex matrices on a CPU (TensorFlow 2.21 returns zeros), so
this one is made of products, which every device has.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

# Convergence is quadratic: five or six sweeps, a few more for larger matrices.
_MOST_SWEEPS = 12


def eigenvectors(h: tf.Tensor, *, graded: bool = False) -> tf.Tensor:
    r"""Eigenvectors of Hermitian matrices [..., n, n], that of the largest eigenvalue first.

    Jacobi's method for complex matrices, n/2 independent rotations at a time (Golub and Van Loan,
    Matrix Computations, 4th ed., Sec. 8.5; Forsythe and Henrici, Trans. AMS 94, 1960).

    Small eigenvalues have few digits, unless the matrix is graded: large off the diagonal only
    where both diagonal entries are. Then each rotation is as small as it has to be (Demmel and
    Veselić, SIAM J. Matrix Anal. Appl. 13, 1992).

    They are determined up to a phase each, and so is their derivative; there is none where two
    eigenvalues are equal.

    :param graded: whether to reduce each entry beside its own diagonal ones

    :return: [..., n, n], one in each column
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def call(h: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        return _with_derivative(h, graded)

    found: tf.Tensor = call(h)
    return found


def _with_derivative(
    h: tf.Tensor, graded: bool
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Eigenvectors, and what their derivative makes of that of what follows."""

    def derivative(of_v: tf.Tensor) -> tf.Tensor:
        v = eigenvectors(h, graded=graded)  # which have a derivative of their own
        values = tf.math.real(tf.reduce_sum(tf.math.conj(v) * tf.matmul(h, v), -2))
        gap = values[..., None, :] - values[..., :, None]
        share = tf.math.divide_no_nan(tf.ones_like(gap), gap)
        turned = tf.cast(share, v.dtype) * tf.matmul(v, of_v, adjoint_a=True)
        of_h = tf.matmul(tf.matmul(v, turned), v, adjoint_b=True)
        return (of_h + tf.linalg.adjoint(of_h)) / 2

    return _eigenvectors(h, graded), derivative


def _eigenvectors(h: tf.Tensor, graded: bool) -> tf.Tensor:
    n, shape = h.shape[-1], tf.shape(h)
    # A row and a column of zeros, which no rotation touches, make n even.
    odd = n % 2
    flat = tf.pad(tf.reshape(h, [-1, n, n]), [[0, 0], [0, odd], [0, odd]])
    eps = float(np.finfo(h.dtype.as_numpy_dtype).eps)

    def rotating(h: tf.Tensor, v: tf.Tensor, sweep: tf.Tensor) -> tf.Tensor:
        del v
        power = tf.math.real(h) ** 2 + tf.math.imag(h) ** 2
        own = tf.abs(tf.math.real(tf.linalg.diag_part(h)))
        if graded:
            # Each entry beside those of the diagonal that it belongs to.
            most = (4 * n * eps) ** 2 * own[:, None] * own[:, :, None]
            unfinished = tf.linalg.set_diag(power, tf.zeros_like(own)) > most
            return tf.reduce_any(unfinished) & (sweep < _MOST_SWEEPS)
        rest = tf.reduce_sum(tf.linalg.set_diag(power, tf.zeros_like(own)), [-2, -1])
        unfinished = rest > (2 * eps) ** 2 * tf.reduce_sum(own**2, -1)
        return tf.reduce_any(unfinished) & (sweep < _MOST_SWEEPS)

    def swept(h: tf.Tensor, v: tf.Tensor, sweep: tf.Tensor) -> tuple[tf.Tensor, ...]:
        for p, q in _rounds(n + odd):
            turn = _rotations(h, p, q)
            h = tf.matmul(turn, tf.matmul(h, turn), adjoint_a=True)
            v = tf.matmul(v, turn)
        return h, v, sweep + 1

    eye = tf.zeros_like(flat) + tf.eye(n + odd, dtype=h.dtype)
    flat, v, _ = tf.while_loop(rotating, swept, (flat, eye, tf.constant(0)))
    values = tf.math.real(tf.linalg.diag_part(flat))[:, :n]
    order = tf.argsort(values, direction="DESCENDING")
    ordered = tf.matmul(v[:, :n, :n], tf.one_hot(order, n, dtype=h.dtype), transpose_b=True)
    return tf.reshape(ordered, shape)


def _rotations(h: tf.Tensor, p: list[int], q: list[int]) -> tf.Tensor:
    """Unitary J such that J^H h J has no entries at (p, q), [B, n, n]."""
    n = h.shape[-1]
    diagonal = tf.math.real(tf.linalg.diag_part(h))
    places = [i * n + j for i, j in zip(p, q, strict=True)]
    entry = tf.gather(tf.reshape(h, [-1, n * n]), places, axis=-1)
    size = tf.abs(entry)
    one = tf.ones_like(size)
    zero = size < np.finfo(size.dtype.as_numpy_dtype).tiny
    tau = (tf.gather(diagonal, q, axis=-1) - tf.gather(diagonal, p, axis=-1)) / 2
    tau /= tf.where(zero, one, size)
    t = tf.where(tau < 0, -one, one) / (tf.abs(tau) + tf.sqrt(1 + tau**2))
    t = tf.where(zero, 0 * one, t)
    c = tf.math.rsqrt(1 + t**2)
    back = tf.math.conj(entry) / tf.cast(tf.where(zero, one, size), h.dtype)
    back = tf.where(zero, tf.ones_like(entry), back)
    c, s = tf.cast(c, h.dtype), tf.cast(t * c, h.dtype)
    entries = tf.concat([c, s, -s * back, c * back], axis=-1)
    scatter = np.zeros((4, len(p), n, n))
    for k, (i, j) in enumerate(zip(p, q, strict=True)):
        scatter[[0, 1, 2, 3], k, [i, i, j, j], [i, j, i, j]] = 1
    flat = tf.matmul(entries, tf.constant(scatter.reshape(-1, n * n), h.dtype))
    return tf.reshape(flat, [-1, n, n])


def _rounds(n: int) -> list[tuple[list[int], list[int]]]:
    """All pairs p < q of n indices in n - 1 rounds of n/2 disjoint ones, as at a tournament."""
    rounds, circle = [], list(range(n))
    for _ in range(n - 1):
        pairs = [sorted((circle[k], circle[n - 1 - k])) for k in range(n // 2)]
        rounds.append(([p for p, _ in pairs], [q for _, q in pairs]))
        circle = [circle[0], circle[-1], *circle[1:-1]]
    return rounds
