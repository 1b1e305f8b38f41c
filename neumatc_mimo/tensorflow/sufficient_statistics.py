"""All that detectors need of a received vector, of as many entries as there are streams."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf
from sionna.phy.mimo import complex2real_covariance, complex2real_matrix, complex2real_vector

from neumatc_mimo.tensorflow.fitting import spread
from neumatc_mimo.tensorflow.noise import Noise, inverse_factor
from neumatc_mimo.tensorflow.products import through


class Statistics(NamedTuple):
    r"""What a received vector tells of the streams that were sent, and how it depends on them.

    :param y: :math:`\mathbf{Q}^{\mathsf{H}}\mathbf{L}^{-1}\mathbf{y}`, [batch_size, symbols, F, n],
        with n streams, or as many as there are antennas if these are fewer
    :param h: R, [batch_size, symbols or 1, F, n, K]
    :param order: of the streams in the columns of R, [batch_size, symbols or 1, F, K]; None for
        theirs
    :param energy: the part of :math:`\lVert\mathbf{L}^{-1}\mathbf{y}\rVert^2` that no stream
        explains, [batch_size, symbols, F]; None where it was not asked for
    """

    y: tf.Tensor
    h: tf.Tensor
    order: tf.Tensor | None = None
    energy: tf.Tensor | None = None

    def of_each(self) -> Statistics:
        """The same with an R for each item, symbol and subcarrier of y."""
        sizes = {dim: self.y.shape[dim] for dim in (1, 2)} | {0: tf.shape(self.y)[0]}
        order = None if self.order is None else spread(self.order, sizes)
        return self._replace(h=spread(self.h, sizes), order=order)


class Whitened(NamedTuple):
    r"""A channel in noise of power one, :math:`\mathbf{L}^{-1}\mathbf{H}` for the covariance
    :math:`\mathbf{S} = \mathbf{L}\mathbf{L}^{\mathsf{H}}` of noise and of others' streams.

    :param h: [batch_size, symbols, F, num_rx_ant, K]; in double precision where S is not diagonal,
        as only the noise keeps it from being singular
    :param received: what is received, as it is, [batch_size, symbols, F, num_rx_ant]
    :param scale: of the antennas, [batch_size, symbols, F, num_rx_ant], where S is diagonal
    :param inverse: :math:`\mathbf{L}^{-1}`, where it is not
    """

    h: tf.Tensor
    received: tf.Tensor
    scale: tf.Tensor | None
    inverse: tf.Tensor | None

    def rows(self, a: tf.Tensor) -> tf.Tensor:
        """Other channels [batch_size, symbols, F, num, num_rx_ant] in the same noise."""
        if self.scale is not None:
            return a * self.scale[..., None, :]
        assert self.inverse is not None
        return tf.matmul(tf.cast(a, self.inverse.dtype), self.inverse, transpose_b=True)

    @property
    def y(self) -> tf.Tensor:
        r""":math:`\mathbf{L}^{-1}\mathbf{y}`, [batch_size, symbols, F, num_rx_ant]."""
        if self.scale is not None:
            return self.received * self.scale
        matrix = tf.linalg.matrix_transpose(self.inverse)
        white = through(tf.cast(self.received, matrix.dtype), matrix)
        return tf.cast(white, self.received.dtype)

    def filters(self, columns: tf.Tensor) -> tf.Tensor:
        """What rows of received symbols are multiplied with, so that white ones would be multiplied
        with the conjugate of columns [batch_size, symbols, F, num_rx_ant, n].
        """
        if self.scale is not None:
            return tf.math.conj(columns) * self.scale[..., None]
        matrix = tf.matmul(self.inverse, tf.math.conj(columns), transpose_a=True)
        return tf.cast(matrix, self.received.dtype)


def whitened(
    own: tf.Tensor,
    others: tf.Tensor | None,
    received: tf.Tensor,
    noise: Noise,
    *,
    real: bool = False,
) -> Whitened:
    """The channel of the streams that a receiver is to get.

    :param own: [batch_size, symbols, F, K, num_rx_ant]
    :param others: likewise that of the streams that others want, or None
    :param received: [batch_size, symbols, F, num_rx_ant]
    :param real: whether real and imaginary parts stand one below the other, as Sionna has them
    """
    h = tf.linalg.matrix_transpose(own)
    if real:
        h, received = complex2real_matrix(h), complex2real_vector(received)
    if others is None and noise.covariance is None:
        variance = tf.cast(noise.variance, h.dtype.real_dtype)
        if real:
            variance = variance + tf.zeros([own.shape[-1]], variance.dtype)
            variance = tf.concat([variance, variance], -1) / 2
        scale = tf.cast(1 / tf.sqrt(variance), h.dtype)
        return Whitened(h * scale[..., None], received, scale, None)
    covariance = noise.among(own[..., :0, :] if others is None else others)
    if real:
        covariance = complex2real_covariance(covariance)
    inverse = inverse_factor(covariance)
    return Whitened(tf.matmul(inverse, tf.cast(h, inverse.dtype)), received, None, inverse)


def statistics(white: Whitened, *, ordered: bool = False, energy: bool = False) -> Statistics:
    r"""Statistics by the decomposition :math:`\mathbf{L}^{-1}\mathbf{H} = \mathbf{Q}\mathbf{R}`.

    The likelihood of y depends on :math:`\mathbf{Q}^{\mathsf{H}}\mathbf{L}^{-1}\mathbf{y}` and R
    alone (Hochwald and ten Brink, IEEE Trans. Commun. 51, 2003).

    :param ordered: whether columns stand in the order of their norms, the largest first
    :param energy: whether it is wanted
    """
    h, order = white.h, None
    if ordered:
        size = tf.reduce_sum(tf.abs(h) ** 2, axis=-2)
        order = tf.argsort(size, axis=-1, direction="DESCENDING")
        h = tf.gather(h, order, axis=-1, batch_dims=len(order.shape) - 1)
    q, r = tf.linalg.qr(h)
    y = through(white.received, white.filters(q))
    r = tf.cast(r, y.dtype)
    if not energy:
        return Statistics(y, r, order)
    seen = through(y, tf.linalg.matrix_transpose(tf.cast(q, y.dtype)))
    return Statistics(y, r, order, tf.reduce_sum(tf.square(tf.abs(white.y - seen)), -1))
