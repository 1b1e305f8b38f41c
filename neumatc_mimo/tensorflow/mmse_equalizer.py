"""Linear minimum-mean-square-error equalization."""

from __future__ import annotations

from typing import Unpack

import tensorflow as tf
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid

from neumatc_mimo.foundation.block_settings import ProofKeywords
from neumatc_mimo.tensorflow.common import Ask
from neumatc_mimo.tensorflow.equalizer import Equalizer
from neumatc_mimo.tensorflow.noise import Noise
from neumatc_mimo.tensorflow.products import through
from neumatc_mimo.tensorflow.pseudo_inverse import Filter
from neumatc_mimo.tensorflow.receiver import Seen
from neumatc_mimo.tensorflow.solver import Solver

# Of the strongest antenna's noise, what the others have at least.
_LEAST_SHARE = 1e-12


class MMSEEqualizer(Equalizer):
    r"""Linear MMSE equalization for OFDM MIMO transmissions.

    A drop-in for :class:`~sionna.phy.ofdm.LMMSEEqualizer` of Sionna 1.2 with the same outputs. For
    the uplink channel :math:`\mathbf{G}` [num_rx_ant, K] of a receiver the matrix of the solver is
    :math:`\mathbf{A} = \mathbf{G}^{\mathsf{T}}`, the downlink channel. With
    :math:`\mathbf{X} = (\mathbf{A}\mathbf{A}^{\mathsf{H}} + \sigma^2\mathbf{I})^{-1}`,
    :math:`\mathbf{W} = \mathbf{A}^{\mathsf{H}}\mathbf{X}` and
    :math:`d_k = 1 - \sigma^2 X_{kk}`,

    .. math::
        \hat{x}_k = (\mathbf{W}^{\mathsf{T}}\mathbf{y})_k / d_k, \qquad
        \sigma^2_{\mathrm{eff},k} = \sigma^2 X_{kk} / d_k .

    Rows of :math:`\mathbf{A}` are all streams that a receiver gets, undesired ones included: their
    joint filter has in its columns what whitening the interference gives. A model answers where its
    links have all of these streams. Where the channel differs between OFDM symbols, or the variance
    of noise and estimation errors between symbols, subcarriers or antennas (which is whitened), and
    with more streams than antennas, all of it is computed exactly.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: :class:`~neumatc_mimo.tensorflow.ScenarioModel` or ``Exact()``
    :param whiten_interference: Accepted for compatibility; both values give the same result
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param settings: ``certify`` and the other settings of all blocks, see
        :class:`~neumatc_mimo.foundation.block_settings.ProofSettings`

    :input y: [batch_size, num_rx, num_rx_ant, num_ofdm_symbols, fft_size], `tf.complex`.
        Received OFDM resource grid after cyclic prefix removal and FFT.
    :input h_hat: [batch_size, num_rx, num_rx_ant, num_tx, num_streams_per_tx, num_ofdm_symbols,
        num_effective_subcarriers], `tf.complex`. Channel estimates for all streams. ``y`` or
        ``h_hat`` may have one item, symbol or subcarrier, which is then used for all.
    :input err_var: [Broadcastable to shape of ``h_hat``], `tf.float`. Variance of the channel
        estimation error.
    :input no: [batch_size, num_rx, num_rx_ant] (or only the first n dims), `tf.float`. Variance of
        the AWGN.
    :input links: `None` (default) | [batch_size] | [batch_size, num_rx], `int`. Indices of the
        links, -1 for unknown. If `None`, the solver recognises links from ``h_hat``.
    :input noise_covariance: `None` (default) | [..., num_rx_ant, num_rx_ant], `tf.complex`.
        Covariance of noise that is correlated between antennas, beside that of ``no``; leading
        dimensions can be broadcast to [batch_size, num_rx, num_ofdm_symbols,
        num_effective_subcarriers]. Fewer matrices along the subcarriers hold for as many
        neighbours each: resource blocks. Hermitian and positive semidefinite, and definite together
        with ``no``; where it is not definite, results are not finite.

    :output x_hat: [batch_size, num_tx, num_streams, num_data_symbols], `tf.complex`.
        Estimated symbols.
    :output no_eff: [batch_size, num_tx, num_streams, num_data_symbols], `tf.float`.
        Effective noise variance for each estimated symbol.
    """

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        whiten_interference: bool = True,
        precision: str | None = None,
        **settings: Unpack[ProofKeywords],
    ) -> None:
        super().__init__(resource_grid, stream_management, solver, precision, **settings)
        del whiten_interference

    def _asks_for_white(self) -> bool:
        return not self._is_exact

    def _streams(self, ask: Ask, seen: Seen) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        rx, a, noise, links, received = seen
        if noise.covariance is not None:
            answer, made = self._in_correlated_noise(ask, a, noise)
        elif noise.variance.shape[-1] == 1:
            answer, made = self._able(ask, rx, a)(a, noise.variance[..., 0], links)
        else:
            answer, received, made = self._in_coloured_noise(ask, a, received, noise.variance)
        # Of a stream that does not arrive nothing is known: zero, in infinite noise.
        arrives = answer.gain > 0
        gain = tf.where(arrives, answer.gain, 1)
        factor = tf.where(arrives, answer.column / gain, 0)
        left = tf.where(arrives, answer.loss / gain, float("inf"))
        streams = through(received, answer.w, answer.mixing)
        streams *= tf.cast(factor, streams.dtype)
        desired = self._desired[rx]
        return tf.gather(streams, desired, axis=-1), tf.gather(left, desired, axis=-1), made

    def _in_correlated_noise(
        self, ask: Ask, a: tf.Tensor, noise: Noise
    ) -> tuple[Filter, tf.Tensor]:
        r"""Filters of symbols as they are received, and counts: a model has no such results.

        For :math:`S = L L^{\mathsf{H}}` the filter W' of the channel :math:`L^{-1} G` applies to
        :math:`L^{-1} y`, hence :math:`W = L^{-\mathsf{T}} W'`. All of it in double precision: a
        strong direction of the noise leaves few digits in single.
        """
        whitening = noise.whitening()
        white = tf.matmul(tf.cast(a, whitening.dtype), whitening, transpose_b=True)
        answer, made = self._in_white_noise(ask, white)
        answer = answer._replace(w=tf.matmul(whitening, answer.w, transpose_a=True))
        return answer if a.dtype == whitening.dtype else self._operation.narrow(answer), made

    def _in_coloured_noise(
        self, ask: Ask, a: tf.Tensor, received: tf.Tensor, noise: tf.Tensor
    ) -> tuple[Filter, tf.Tensor, tf.Tensor]:
        """Filters of whitened symbols, these, and counts: a model has no such results."""
        white, strongest = _white(noise)
        seen = a * tf.cast(white, a.dtype)[..., None, :]
        received *= tf.cast(white, a.dtype)

        def precisely() -> tf.Tensor:
            # Products rounded to single precision tear users in one place apart.
            factor, _ = _white(tf.cast(noise, tf.float64))
            return tf.cast(a, tf.complex128) * tf.cast(factor, tf.complex128)[..., None, :]

        if ask == self._plainly:
            answer, made = self._plainly(seen, strongest, None)
        else:
            answer, made = self._exactly(seen, strongest, None, precisely)
        return answer, received, made

    def _able(self, ask: Ask, rx: int, a: tf.Tensor) -> Ask:
        """The solver, or the exact computation where a model has no such results."""
        num_streams, num_rx_ant = a.shape[3:]
        # A link of the desired streams alone tells nothing of the interference.
        strange = bool(len(self._undesired[rx])) and not self._solver.knows(
            self._operation, num_streams, num_rx_ant
        )
        return self._knowing(ask, not strange and num_streams <= num_rx_ant)


def _white(noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Factors that make the noise as strong at all antennas, and its power then.

    :param noise: [batch_size, symbols, F, num_rx_ant], each or 1
    """
    strongest = tf.stop_gradient(tf.reduce_max(noise, -1, keepdims=True))
    share = noise / tf.where(strongest > 0, strongest, 1)
    share = tf.where(strongest > 0, share, 1)
    # An antenna without noise outweighs the others by so much that they do not count.
    return tf.math.rsqrt(tf.maximum(share, _LEAST_SHARE)), strongest[..., 0]
