"""The noise at a receiver's antennas, white or correlated between them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from neumatc_mimo.foundation.covariance_checks import CORRELATED, HERMITIAN, refuse_covariance

# Of the largest diagonal entry, what the product of a factor with itself may differ by.
_ROUNDING = 1e-8


class Noise(NamedTuple):
    """The noise at one receiver.

    :param variance: of white noise and estimation errors, [batch_size, symbols, F, num_rx_ant],
        each or 1
    :param covariance: of correlated noise beside it, [batch_size or 1, symbols or 1, num_groups,
        num_rx_ant, num_rx_ant], one matrix for each group of neighbouring subcarriers; or None
    :param num_subcarriers: of all groups together
    """

    variance: tf.Tensor
    covariance: tf.Tensor | None
    num_subcarriers: int

    def behind(self, w: tf.Tensor) -> tf.Tensor:
        r"""Power of the noise behind filters, :math:`w_k^{\mathsf{T}} S w_k^*`.

        :param w: [batch_size, symbols, F, num_rx_ant, K]

        :return: [batch_size, symbols, F, K]
        """
        if self.covariance is None:
            amplitude = tf.abs(w) * tf.sqrt(self.variance)[..., None]
            return tf.reduce_sum(tf.square(amplitude), -2)
        # A strong direction of the noise cancels in products with filters that avoid it.
        rows = tf.linalg.matrix_transpose(tf.cast(w, tf.complex128))
        products = tf.matmul(rows, self._of_each(self._total()))
        power = tf.reduce_sum(tf.math.real(products * tf.math.conj(rows)), -1)
        return tf.cast(power, w.dtype.real_dtype)

    def whitening(self) -> tf.Tensor:
        r""":math:`L^{-1}` of the covariance :math:`S = L L^{\mathsf{H}}`, in double precision,
        [batch_size, symbols, num_subcarriers or 1, num_rx_ant, num_rx_ant]: NaN where S is not
        positive definite. Groups of subcarriers are factored once.
        """
        return self._of_each(inverse_factor(self._total()))

    def among(self, others: tf.Tensor) -> tf.Tensor:
        """The covariance of noise and of other streams, in double precision, [batch_size, symbols,
        F, num_rx_ant, num_rx_ant].

        :param others: their channels, [batch_size, symbols, F, num, num_rx_ant]
        """
        others = tf.cast(others, tf.complex128)
        interference = tf.matmul(others, tf.math.conj(others), transpose_a=True)
        if self.covariance is None:
            variance = self.variance + tf.zeros([others.shape[-1]], self.variance.dtype)
            return interference + tf.linalg.diag(tf.cast(variance, tf.complex128))
        return interference + self._of_each(self._total())

    def _total(self) -> tf.Tensor:
        """The covariance of all noise, of groups where white noise does not differ within them."""
        covariance = tf.cast(self.covariance, tf.complex128)
        if self.variance.shape[2] != 1:
            covariance = self._of_each(covariance)
        variance = tf.cast(self.variance, tf.complex128)
        return covariance + variance[..., None] * tf.eye(covariance.shape[-1], dtype=variance.dtype)

    def _of_each(self, matrices: tf.Tensor) -> tf.Tensor:
        """Matrices of groups [batch_size, symbols, num_groups, ...] for each subcarrier; of one
        group, which holds for all, as they are.
        """
        if matrices.shape[2] in (1, self.num_subcarriers):
            return matrices
        return tf.repeat(matrices, self.num_subcarriers // matrices.shape[2], axis=2)


def inverse_factor(covariance: tf.Tensor) -> tf.Tensor:
    r""":math:`L^{-1}` of Hermitian matrices :math:`L L^{\mathsf{H}}`, [..., n, n]; NaN where they
    are not positive definite.
    """
    factor = tf.linalg.cholesky(covariance)
    # TensorFlow leaves that of another matrix unwritten on a CPU, whatever was in memory before.
    made, given = (tf.stop_gradient(z) for z in (factor, covariance))
    error = tf.abs(tf.matmul(made, made, adjoint_b=True) - given)
    size = tf.reduce_max(tf.math.real(tf.linalg.diag_part(given)), -1)
    right = tf.reduce_max(error, [-2, -1]) <= _ROUNDING * size
    factor = tf.where(right[..., None, None], factor, tf.cast(float("nan"), factor.dtype))
    eye = tf.zeros_like(factor) + tf.eye(factor.shape[-1], dtype=factor.dtype)
    return tf.linalg.triangular_solve(factor, eye, lower=True)


def covariance_on_grid(
    covariance: Any, num_rx: int, num_symbols: int, num_subcarriers: int, num_antennas: int
) -> tf.Tensor:
    """A noise covariance as [batch_size or 1, num_rx or 1, num_symbols or 1, num_groups,
    num_rx_ant, num_rx_ant], with a matrix for each group of neighbouring subcarriers.

    :param covariance: [..., num_rx_ant, num_rx_ant], whose leading dimensions can be broadcast to
        [batch_size, num_rx, num_symbols, num_subcarriers]; or of fewer matrices along the
        subcarriers, each of which holds for as many neighbours: resource blocks

    :raises ValueError: if its shape is another one; called eagerly, if it is no covariance as far
        as pairs of antennas tell
    """
    matrix = tf.convert_to_tensor(covariance)
    rank = matrix.shape.rank
    if rank is not None and 2 <= rank <= 6:
        matrix = matrix[(*(None,) * (6 - rank), ...)]
    given = matrix.shape.as_list() if rank is not None else []
    fits = len(given) == 6 and given[4:] == [num_antennas] * 2
    fits = fits and given[3] is not None and num_subcarriers % max(given[3], 1) == 0
    fits = fits and given[1] in (1, num_rx) and given[2] in (1, num_symbols)
    if not fits:
        raise ValueError(
            f"noise_covariance has the shape {given[6 - (rank or 0) :]}, [..., {num_antennas}, "
            f"{num_antennas}] is needed with leading dimensions that can be broadcast to "
            f"[batch_size, {num_rx}, {num_symbols}, {num_subcarriers}], or of one matrix for each "
            "resource block."
        )
    value = tf.get_static_value(matrix)
    # A graph has no values to look at.
    if value is not None:
        _check_values(np.asarray(value, np.complex128))
    return matrix


def _check_values(matrix: NDArray[np.complex128]) -> None:
    """Refuse what is no covariance, as far as pairs of antennas tell."""
    with np.errstate(invalid="ignore"):  # of infinite entries
        power = matrix.diagonal(axis1=-2, axis2=-1).real
        larger = np.abs(np.maximum(power[..., None], power[..., None, :]))
        some = np.maximum(power, 0)
        allowed = np.sqrt(some[..., None] * some[..., None, :])
        asymmetry = np.abs(matrix - matrix.conj().swapaxes(-1, -2))
        beyond = np.abs(matrix) > allowed + CORRELATED * larger
    refuse_covariance(
        finite=bool(np.isfinite(matrix).all()),
        hermitian=not (asymmetry > HERMITIAN * larger).any(),
        semidefinite=not ((power < 0).any() or beyond.any()),
    )
