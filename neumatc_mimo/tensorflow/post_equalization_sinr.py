"""Signal-to-interference-and-noise ratios of the streams behind LMMSE equalization."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from neumatc_mimo.tensorflow.common import Ask
from neumatc_mimo.tensorflow.fitting import check_shape, joint_items, joint_size, spread
from neumatc_mimo.tensorflow.pseudo_inverse import Filter
from neumatc_mimo.tensorflow.receiver import Receiver, Seen
from neumatc_mimo.tensorflow.stream_power import leading
from neumatc_mimo.tensorflow.sufficient_statistics import whitened


class LMMSEPostEqualizationSINR(Receiver):
    r"""SINR of every stream after LMMSE equalization.

    A drop-in for :class:`~sionna.phy.ofdm.LMMSEPostEqualizationSINR` of Sionna 1.2 with the same
    outputs, for effective channels of any precoder. With the channel :math:`\mathbf{H}`
    [num_rx_ant, K] of the streams that a receiver is to get, that of the others,
    :math:`\mathbf{U}`, and a filter :math:`\mathbf{F}` [K, num_rx_ant]

    .. math::
        \mathrm{SINR}_k = \frac{|[\mathbf{F}\mathbf{H}]_{kk}|^2}
            {\sum_{j \ne k} |[\mathbf{F}\mathbf{H}]_{kj}|^2
            + \sum_j |[\mathbf{F}\mathbf{U}]_{kj}|^2
            + [\mathbf{F}\mathbf{S}\mathbf{F}^{\mathsf{H}}]_{kk}}, \qquad
        \mathbf{F} = \mathbf{H}^{\mathsf{H}}(\mathbf{H}\mathbf{H}^{\mathsf{H}} + \mathbf{S})^{-1}.

    :math:`\mathbf{S}` is the covariance of the noise, and with ``interference_whitening`` that of
    the undesired streams, too, which then count twice, as in Sionna.

    Where the noise is the same at all antennas and nothing is whitened the filter is the solver's.
    All else is computed exactly, in double precision.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: :class:`~neumatc_mimo.tensorflow.ScenarioModel` or ``Exact()``
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param settings: ``certify`` and the other settings of all blocks, see
        :class:`~neumatc_mimo.foundation.block_settings.ProofSettings`

    :input h_eff: [batch_size, num_rx, num_rx_ant, num_tx, num_streams_per_tx, num_ofdm_symbols,
        num_effective_subcarriers], `tf.complex`. Effective channel after precoding.
    :input no: [batch_size, num_rx, num_rx_ant, num_ofdm_symbols, num_effective_subcarriers] (or
        only the first n dims), `tf.float`. Noise variance.
    :input h_eff_hat: `None` (default) | as ``h_eff``. Estimated effective channel, which is then
        the one that counts, as in Sionna.
    :input interference_whitening: `True` (default) | `bool`. Whether undesired streams are
        whitened.
    :input links: `None` (default) | [batch_size] | [batch_size, num_rx], `int`. Indices of the
        links, -1 for unknown. If `None`, the solver recognises links from the channel.
    :input noise_covariance: `None` (default) | [..., num_rx_ant, num_rx_ant], `tf.complex`.
        Covariance of noise that is correlated between antennas, beside that of ``no``, as of
        :class:`MMSEEqualizer`.

    :output sinr: [batch_size, num_ofdm_symbols, num_effective_subcarriers, num_rx,
        num_streams_per_rx], `tf.float`. SINR after equalization.
    """

    def call(
        self,
        h_eff: tf.Tensor,
        no: Any,
        h_eff_hat: tf.Tensor | None = None,
        interference_whitening: bool = True,
        links: Any = None,
        noise_covariance: Any = None,
    ) -> tf.Tensor:
        """SINRs; inputs and outputs as in the class's description."""
        h = self._channel("h_eff", h_eff)
        if h_eff_hat is not None:
            estimate = self._channel("h_eff_hat", h_eff_hat)
            check_shape("h_eff_hat", estimate, (*h.shape[1:5], None, None))
            sizes = {0: joint_items(h, estimate)}
            for what, dim in (("OFDM symbols", 5), ("subcarriers", 6)):
                sizes[dim] = joint_size(what, h_eff=(h, dim), h_eff_hat=(estimate, dim))
            h = spread(estimate, sizes)

        def at(ask: Ask, seen: Seen) -> tuple[list[tf.Tensor], tf.Tensor]:
            ratio, made = self._ratios(ask, seen, interference_whitening)
            return [ratio], made

        def finish(found: tf.Tensor) -> tf.Tensor:
            return tf.transpose(found, [0, 2, 3, 1, 4])

        given = (h, self._noise(no, h), links, noise_covariance)
        (sinr,) = self._at_receivers(at, finish, *given)
        return sinr

    def _asks_for_white(self) -> bool:
        return not self._is_exact

    def _ratios(self, ask: Ask, seen: Seen, whitening: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """SINRs [batch_size, symbols, F, K] at a receiver, and counts."""
        own, others = self._wanted(seen.rx, seen.a), self._unwanted(seen.rx, seen.a)
        noise = seen.noise
        whitens = whitening and others is not None
        if noise.variance.shape[-1] == 1 and not whitens and noise.covariance is None:
            power = noise.variance[..., 0]
            whom = self._knowing(ask, own.shape[3] <= own.shape[4])
            answer, made = whom(own, power, seen.links)
            return _ratio(own, others, answer, noise.variance), made
        own = tf.cast(own, tf.complex128)
        white = whitened(own, others if whitens else None, own[..., 0, :], noise)
        rows = tf.linalg.matrix_transpose(white.h)
        others = None if others is None else white.rows(tf.cast(others, own.dtype))
        one = tf.ones_like(tf.math.real(rows[..., :1, 0]))
        answer, made = self._in_white_noise(ask, rows)
        return tf.cast(_ratio(rows, others, answer, one), self.rdtype), made

    def _noise(self, no: Any, h: tf.Tensor) -> tf.Tensor:
        """Noise variance [batch_size, num_rx, num_rx_ant, num_ofdm_symbols,
        num_effective_subcarriers], each or 1.
        """
        sizes = (self._num_rx, h.shape[2], self._num_symbols, len(self._effective))
        return leading("no", tf.cast(tf.convert_to_tensor(no), self.rdtype), sizes)


def _ratio(a: tf.Tensor, others: tf.Tensor | None, answer: Filter, noise: tf.Tensor) -> tf.Tensor:
    """SINRs behind filters of channels [batch_size, symbols, F, streams, num_rx_ant].

    :param noise: [batch_size, symbols, F, 1]
    """
    w = tf.matmul(answer.w, answer.mixing)
    # Ratios do not depend on the size of a filter, which is beyond what can be squared.
    size = tf.stop_gradient(tf.norm(tf.abs(w), axis=-2, keepdims=True))
    w /= tf.cast(tf.where(size > 0, size, 1), w.dtype)
    gains = tf.square(tf.abs(tf.matmul(a, w)))
    signal = tf.linalg.diag_part(gains)
    rest = tf.reduce_sum(gains - tf.linalg.diag(signal), -2)
    rest += tf.reduce_sum(tf.square(tf.abs(w)), -2) * noise
    if others is not None:
        rest += tf.reduce_sum(tf.square(tf.abs(tf.matmul(others, w))), -2)
    return tf.math.divide_no_nan(signal, rest)
