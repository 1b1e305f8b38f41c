"""Zero forcing and MMSE: the pseudo-inverse of a wide matrix, plain or regularised."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from neumatc_mimo.foundation.tolerance import Tolerance
from neumatc_mimo.tensorflow.definite_inverse import definite_inverse
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

# Share of a filter that rounding may take before it is computed again in double precision; it takes
# less than that of most. Sionna whitens interference, which rounds less than the joint filter.
_DOUBTFUL, _WITH_INTERFERENCE = 1e-4, 3e-5
# Of what a column would have without the noise, the share of its power below which it is measured
# as it is: products of the inverse lose as many digits.
_SHORT = 0.5


class Filter(NamedTuple):
    r"""The linear filter :math:`A^H X` with :math:`X = (A A^H + \sigma^2 I)^{-1}`.

    It is w · mixing · diag(column), and X is diag(column) · x · diag(column): columns are real, and
    carry what the channel's unit and the users' levels make of a filter, which may be beyond what
    single precision can square.

    :param w: [..., M, K]
    :param mixing: [..., K, K]
    :param column: real [..., K]
    :param x: [..., K, K]
    :param loss: :math:`\sigma^2 X_{kk}`, real [..., K]: the share of a symbol that the filter loses
    :param gain: :math:`(A W)_{kk} = 1 - \sigma^2 X_{kk}`, real [..., K]: the share that it keeps
    :param norm: of the columns of w · mixing, real [..., K]
    """

    w: tf.Tensor
    mixing: tf.Tensor
    column: tf.Tensor
    x: tf.Tensor
    loss: tf.Tensor
    gain: tf.Tensor
    norm: tf.Tensor


class PseudoInverse(Operation):
    r"""W = A^H (A A^H + σ² I)^{-1}, see
    :class:`~neumatc_mimo.operations.pseudo_inverse.PseudoInverse`.

    :param interference: whether some of the rows are undesired streams
    """

    name = "pseudo_inverse"

    def __init__(self, *, interference: bool = False) -> None:
        self._doubtful = _WITH_INTERFERENCE if interference else _DOUBTFUL

    def plain(self, a: tf.Tensor, no: tf.Tensor | None) -> tuple[Filter, tf.Tensor]:
        if a.shape[-2] > a.shape[-1]:
            return self._of_few_antennas(a, no)
        rows, noise, column = _in_unit(a, no)
        silent = column.silent
        gram = tf.matmul(rows, rows, adjoint_b=True)
        # A user without a channel takes nothing from the others.
        own = tf.where(silent, tf.ones_like(noise), noise)
        x, definite = definite_inverse(gram + tf.linalg.diag(tf.cast(own, gram.dtype)))
        diagonal = _real_diagonal(x)
        loss = noise * diagonal
        terms = tf.math.real(gram) * tf.math.real(x) + tf.math.imag(gram) * tf.math.imag(x)
        kept = tf.reduce_sum(terms, -1)
        gain = _gain(loss, kept, silent)
        w = tf.linalg.adjoint(rows)
        norm = _column_norm(w, x, x, gain, noise)
        # Of a user that others bury below the noise the gain is what cancels of these terms.
        size = tf.reduce_sum(tf.abs(terms), -1)
        buried = (loss > 0.5) & (size > 0)
        growth = tf.where(
            buried, size / tf.maximum(kept, np.finfo(size.dtype.as_numpy_dtype).tiny), diagonal
        )
        growth = tf.stop_gradient(tf.reduce_max(tf.maximum(diagonal, growth), -1))
        doubtful = (doubted(growth, self._doubtful) | ~definite) & column.finite
        return Filter(w, x, column.scale, x, loss, gain, norm), doubtful

    def _of_few_antennas(self, a: tf.Tensor, no: tf.Tensor | None) -> tuple[Filter, tf.Tensor]:
        r"""More rows than columns: A A^H has no inverse but by the noise, however weak.

        So filters come from orthogonal factorisations, which square no condition number, in double
        precision. With :math:`[A, \sigma I]^H = Q R` the filter is :math:`W = Q_1 R^{-H}` and
        :math:`X = R^{-1} R^{-H}` (Golub and Van Loan, Matrix Computations, 4th ed., Sec. 5.3). With
        :math:`[A^T, \sigma I]^T = Q R` it is :math:`W = R^{-1} R^{-H} A^H`. The first one is right
        for users above all others, the second one for those below: each column comes from the one
        that rounds it less.
        """
        power_of_noise = None if no is None else tf.cast(no, tf.float64)
        rows, noise, column = _in_unit(tf.cast(a, tf.complex128), power_of_noise)
        silent = column.silent
        own = tf.cast(tf.sqrt(tf.where(silent, tf.ones_like(noise), noise)), rows.dtype)
        q, r = tf.linalg.qr(tf.concat([tf.linalg.adjoint(rows), tf.linalg.diag(own)], axis=-2))
        inverse = _inverse(r)
        x = tf.matmul(inverse, inverse, adjoint_b=True)
        above = tf.matmul(q[..., : a.shape[-1], :], inverse, adjoint_b=True)
        kept = tf.math.real(tf.reduce_sum(rows * tf.linalg.matrix_transpose(above), -1))

        inverse = _inverse(_sorted_factor(rows, column.levels, column.noise))
        seen = tf.matmul(inverse, rows, adjoint_a=True, adjoint_b=True)
        # Columns are those for D A, rows the channel's own.
        below = tf.matmul(inverse, seen) * tf.cast(column.levels**2, rows.dtype)[..., None, :]
        size = tf.abs(inverse)
        rounding = tf.matmul(size, tf.abs(rows), transpose_a=True, transpose_b=True)
        rounding = tf.norm(tf.matmul(size, rounding), axis=-2) * column.levels**2
        is_below = tf.stop_gradient(rounding < tf.sqrt(_real_diagonal(x)))
        w = tf.where(is_below[..., None, :], below, above)
        kept = tf.where(is_below, tf.reduce_sum(power(seen), -2) * column.levels**2, kept)

        loss = noise * _real_diagonal(x)
        gain = _gain(loss, kept, silent)
        norm = _root(tf.reduce_sum(power(w), -2))
        eye = tf.zeros_like(x) + _identity(x)
        whole = Filter(w, eye, column.scale, x, loss, gain, norm)
        nowhere = tf.zeros_like(column.finite)
        return (whole if a.dtype == tf.complex128 else self.narrow(whole)), nowhere

    def narrow(self, answer: Filter) -> Filter:
        # The filter itself, not its factors: X squares its condition, whatever it was made of.
        size = tf.sqrt(_real_diagonal(answer.x))
        share = tf.cast(1 / size, answer.w.dtype)
        w = tf.matmul(answer.w, answer.mixing) * share[..., None, :]
        whole = Filter(
            w,
            tf.zeros_like(answer.x) + _identity(answer.x),
            answer.column * size,
            share[..., None] * answer.x * share[..., None, :],
            answer.loss,
            answer.gain,
            answer.norm / size,
        )
        single = {tf.complex128: tf.complex64, tf.float64: tf.float32}
        return tf.nest.map_structure(lambda z: tf.cast(z, single[z.dtype]), whole)

    def from_stored(self, stored: list[tf.Tensor], no: tf.Tensor) -> list[tf.Tensor]:
        # X = (G + σ² I)^{-1}, in the units of the diagonal.
        w, gram = stored
        own = _real_diagonal(gram) + tf.cast(no, gram.dtype.real_dtype)[:, None, None]
        scale = tf.math.rsqrt(tf.maximum(own, np.finfo(own.dtype.as_numpy_dtype).tiny))
        both = tf.cast(scale[..., None] * scale[..., None, :], gram.dtype)
        unit = tf.linalg.set_diag(gram * both, tf.ones_like(gram[..., 0]))
        return [w, both * definite_inverse(unit)[0]]

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
        mixing = permuted(inverse[..., None] * kept, back, 2)
        diagonal = _real_diagonal(x)
        one = tf.ones_like(diagonal)
        if no is None:
            return Filter(w, mixing, one, x, tf.zeros_like(one), one, tf.sqrt(diagonal))
        loss = no[:, None, None] * diagonal
        norm = _column_norm(w, mixing, x, 1 - loss, no[:, None, None] * one)
        return Filter(w, mixing, one, x, loss, 1 - loss, norm)

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


class _Column(NamedTuple):
    r"""What columns of a filter carry beside those of rows in a unit.

    :param scale: real [..., K]
    :param levels: 1 / D, real [..., K]
    :param noise: :math:`\sigma^2` in the same unit, real [...]
    :param silent: users without channel and noise, bool [..., K]
    :param finite: matrices without NaN and infinite entries, bool [...]
    """

    scale: tf.Tensor
    levels: tf.Tensor
    noise: tf.Tensor
    silent: tf.Tensor
    finite: tf.Tensor


def _in_unit(a: tf.Tensor, no: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor, _Column]:
    r"""Rows and noise that leave ones on the diagonal of :math:`D (A A^H + \sigma^2 I) D`.

    Users of any level count alike then, and the unit of the channel does not matter.

    :return: D A [..., K, M], :math:`\sigma^2 D^2` [..., K], and what goes to the columns
    """
    size = largest(a)
    unit = magnitude(size if no is None else tf.maximum(size, tf.sqrt(tf.stop_gradient(no))))
    rows = over(a, unit)
    noise = tf.zeros_like(unit) if no is None else no / unit / unit
    total = tf.reduce_sum(power(rows), -1) + noise[..., None]
    # Results do not depend on D, whatever it is.
    silent = total == 0
    d = tf.stop_gradient(tf.math.rsqrt(tf.where(silent, tf.ones_like(total), total)))
    finite = tf.math.is_finite(tf.reduce_sum(total, -1))
    rows *= tf.cast(d, rows.dtype)[..., None]
    column = _Column(d / unit[..., None], 1 / d, noise, silent, finite)
    return rows, noise[..., None] * d**2, column


def _inverse(r: tf.Tensor) -> tf.Tensor:
    """Inverses of upper triangular matrices."""
    return tf.linalg.triangular_solve(r, tf.zeros_like(r) + _identity(r), lower=False)


def _sorted_factor(rows: tf.Tensor, levels: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """R of the rows and, below them, the noise, [..., M, M].

    Strong rows first: weak ones are then rounded by as much as they are weak (Higham, Accuracy and
    Stability of Numerical Algorithms, 2nd ed., Section 19.4).
    """
    num = rows.shape[-1]
    whole = rows * tf.cast(levels, rows.dtype)[..., None]
    sigma = tf.sqrt(noise)[..., None] * tf.ones([num], noise.dtype)
    stacked = tf.concat([whole, tf.linalg.diag(tf.cast(sigma, rows.dtype))], axis=-2)
    size = tf.reduce_sum(power(stacked), -1)
    order = tf.argsort(tf.stop_gradient(size), direction="DESCENDING")
    stacked = tf.gather(stacked, order, axis=-2, batch_dims=len(order.shape) - 1)
    return tf.linalg.qr(stacked).r


def _gain(loss: tf.Tensor, kept: tf.Tensor, silent: tf.Tensor) -> tf.Tensor:
    r""":math:`1 - \sigma^2 X_{kk}`, which cancels for users below the noise.

    :param kept: :math:`(A W)_{kk}`, which does not
    """
    most = tf.where(silent, tf.zeros_like(loss), 1 - loss)
    return tf.where(loss > 0.5, tf.maximum(kept, 0), most)


def _column_norm(
    w: tf.Tensor, mixing: tf.Tensor, x: tf.Tensor, gain: tf.Tensor, noise: tf.Tensor
) -> tf.Tensor:
    r"""Norms of the columns of w · mixing, real [..., K]: of :math:`X_{kk} (A W)_{kk}` what
    :math:`\sum_{j \ne k} \sigma_j^2 |x_{jk}|^2` leaves, and where that is little they are measured.

    Users in one place, whom the noise alone tells apart: what is left of them is rounding.

    :param noise: [..., K]
    """
    # Over X_kk: powers of channels of any gain would overflow, or vanish.
    size = _root(_real_diagonal(x))
    some = size > 0
    over_size = tf.cast(1 / tf.where(some, size, 1), x.dtype)[..., None, :]
    beside = power(tf.linalg.set_diag(x, tf.zeros_like(x[..., 0])) * over_size)
    left = gain - tf.reduce_sum(beside * noise[..., None], -2)
    short = left < _SHORT * gain

    def measured() -> tf.Tensor:
        columns = tf.matmul(w, mixing * over_size)
        return tf.where(short, _root(tf.reduce_sum(power(columns), -2)), _root(left))

    return size * tf.cond(tf.reduce_any(short), measured, lambda: _root(left))


def _root(value: tf.Tensor) -> tf.Tensor:
    """The square root, zero without a derivative where nothing is left."""
    some = value > 0
    return tf.where(some, tf.sqrt(tf.where(some, value, 1)), 0)


def _identity(like: tf.Tensor) -> tf.Tensor:
    return tf.eye(like.shape[-1], dtype=like.dtype)


def _noise(no: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Noise powers [B] beside matrices [B, F, K, K]."""
    return tf.cast(no, like.dtype)[:, None, None, None]


def _real_diagonal(x: tf.Tensor) -> tf.Tensor:
    return tf.math.real(tf.linalg.diag_part(x))
