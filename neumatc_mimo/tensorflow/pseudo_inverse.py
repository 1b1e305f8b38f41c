"""Zero forcing and MMSE: the pseudo-inverse of a wide matrix, plain or regularised."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from neumatc_mimo.foundation.tolerance import Tolerance
from neumatc_mimo.tensorflow.operation import Operation, decibels, permuted, power
from neumatc_mimo.tensorflow.recognition import Found


class Filter(NamedTuple):
    r"""The linear filter w · mixing of A, [M, K], and X.

    :param w: [B, F, M, K]
    :param mixing: [B, F, K, K]
    :param x: :math:`X = (A A^H + \sigma^2 I)^{-1}`, [B, F, K, K]
    :param gain: :math:`(A W)_{kk} = 1 - \sigma^2 X_{kk}`, real [B, F, K]: the share of a symbol
        that the filter keeps
    """

    w: tf.Tensor
    mixing: tf.Tensor
    x: tf.Tensor
    gain: tf.Tensor

    def loss(self, no: tf.Tensor) -> tf.Tensor:
        r""":math:`\sigma^2 X_{kk}`, [B, F, K]: the share of a symbol that the filter loses."""
        return no[:, None, None] * _real_diagonal(self.x)

    def column_norm(self, no: tf.Tensor | None) -> tf.Tensor:
        r"""Norms of the columns, [B, F, K], of the squares
        :math:`X_{kk} (A W)_{kk} - \sigma^2 \sum_{j \ne k} |x_{kj}|^2`.
        """
        own = _real_diagonal(self.x)
        if no is None:
            return tf.sqrt(own)
        others = tf.linalg.set_diag(self.x, tf.zeros_like(self.x[..., 0]))
        # Over X_kk: powers of channels of any gain would overflow, or vanish.
        amplitude = tf.sqrt(no)[:, None, None] * tf.math.rsqrt(own)
        others *= tf.cast(amplitude, self.x.dtype)[..., None]
        share = self.gain - tf.reduce_sum(power(others), -1)
        return tf.sqrt(own) * tf.sqrt(tf.maximum(share, tf.zeros_like(share)))


class PseudoInverse(Operation):
    r"""W = A^H (A A^H + σ² I)^{-1}, see
    :class:`~neumatc_mimo.operations.pseudo_inverse.PseudoInverse`.
    """

    name = "pseudo_inverse"

    def exact(self, a: tf.Tensor, no: tf.Tensor | None) -> Filter:
        adjoint = tf.linalg.adjoint(a)
        gram = tf.matmul(a, adjoint)
        eye = _identity(gram)
        system = gram if no is None else gram + _noise(no, gram) * eye
        x = tf.linalg.cholesky_solve(tf.linalg.cholesky(system), tf.zeros_like(gram) + eye)
        return Filter(adjoint, x, x, _gain(x, no, gram))

    def recalled(self, components: list[tf.Tensor], found: Found, no: tf.Tensor | None) -> Filter:
        # A = D P B for the link's B: A^+ = B^+ P^T D^{-1}, and X turns with D^{-1} on both sides.
        w, x = components
        x = permuted(permuted(x, found.order, 2), found.order, 3)
        inverse = 1 / found.rows
        x = tf.math.conj(inverse)[..., None] * x * inverse[..., None, :]
        kept = _identity(x)
        if no is not None:
            kept -= _noise(no, x) * x
        back = tf.argsort(found.order, axis=-1)
        return Filter(w, permuted(inverse[..., None] * kept, back, 2), x, _gain(x, no))

    def proven(
        self, a: tf.Tensor, answer: Filter, no: tf.Tensor | None, tolerance: Tolerance
    ) -> tf.Tensor:
        """Predicted signal-to-interference ratio and range error, as
        :meth:`~neumatc_mimo.operations.pseudo_inverse.PseudoInverse.certificate` has them.
        """
        x, filters = answer.x, tf.matmul(answer.w, answer.mixing)
        real = x.dtype.real_dtype.as_numpy_dtype
        tiny = np.finfo(real).tiny
        noise = tf.zeros([1, 1, 1, 1], x.dtype) if no is None else _noise(no, x)
        gain, upper_gram = tf.matmul(a, filters), tf.matmul(filters, filters, adjoint_a=True)
        defect = _identity(x) - gain - noise * x
        gram = upper_gram + noise * tf.matmul(x, x, adjoint_a=True)
        size = tf.maximum(_real_diagonal(gram), tiny)

        own = power(1 - tf.linalg.diag_part(defect)) / size
        leak = power(defect) / size[..., None, :]
        # The diagonal error is a gain error of the stream itself, bounded like the interference.
        gain_error = tf.linalg.diag_part(leak)
        leak = tf.reduce_sum(leak, -1) - gain_error
        worst = tf.maximum(tf.maximum(leak, gain_error), np.finfo(real).eps ** 2 * own)
        quality = decibels(tf.reduce_min(own / tf.maximum(worst, tiny), -1))

        # [A, σI]^H g - w̃ with g = W̃^H w̃ for each column w̃, each block over its own part.
        outside = tf.matmul(a, gram, adjoint_a=True) - filters
        upper = tf.reduce_sum(power(outside), -2) / tf.maximum(_real_diagonal(upper_gram), tiny)
        lower = tf.math.real(noise)[..., 0] * tf.reduce_sum(power(gram - x), -2) / size
        uneven = tf.abs(_real_diagonal(x) - size) / size
        # d_k = 1 - σ² X_kk, by which a receiver divides, is the gain (A W)_kk.
        own_gain = tf.linalg.diag_part(gain)
        lost = tf.abs(tf.linalg.diag_part(defect)) / tf.maximum(tf.abs(own_gain), tiny)
        error = tf.maximum(tf.sqrt(tf.maximum(upper, lower)), tf.maximum(uneven, lost))
        within = tf.reduce_max(error, -1) <= tolerance.range_error
        return (quality >= tolerance.quality_db) & within

    def any_gain(self, no: tf.Tensor | None) -> bool:
        return no is None


def _gain(x: tf.Tensor, no: tf.Tensor | None, gram: tf.Tensor | None = None) -> tf.Tensor:
    r""":math:`1 - \sigma^2 X_{kk}`, which cancels for users below the noise:
    :math:`(A A^H X)_{kk}` there.
    """
    if no is None:
        return tf.ones_like(_real_diagonal(x))
    loss = no[:, None, None] * _real_diagonal(x)
    if gram is None:
        return 1 - loss
    gain = tf.math.real(tf.reduce_sum(gram * tf.math.conj(x), -1))
    return tf.where(loss > 0.5, tf.maximum(gain, tf.zeros_like(gain)), 1 - loss)


def _identity(like: tf.Tensor) -> tf.Tensor:
    return tf.eye(like.shape[-1], dtype=like.dtype)


def _noise(no: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Noise powers [B] beside matrices [B, F, K, K]."""
    return tf.cast(no, like.dtype)[:, None, None, None]


def _real_diagonal(x: tf.Tensor) -> tf.Tensor:
    return tf.math.real(tf.linalg.diag_part(x))
