"""Zero-forcing equalization."""

from __future__ import annotations

import tensorflow as tf

from neumatc_mimo.tensorflow.common import Ask
from neumatc_mimo.tensorflow.equalizer import Equalizer
from neumatc_mimo.tensorflow.products import through
from neumatc_mimo.tensorflow.receiver import Seen


class ZFEqualizer(Equalizer):
    r"""Zero-forcing equalization for OFDM MIMO transmissions.

    A drop-in for :class:`~sionna.phy.ofdm.ZFEqualizer` of Sionna 1.2 with the same outputs. For the
    channel :math:`\mathbf{H}` [num_rx_ant, K] of a receiver's desired streams, and the covariance
    :math:`\mathbf{S}` of noise, estimation errors and undesired streams,

    .. math::
        \hat{\mathbf{x}} = \mathbf{G}\mathbf{y}, \qquad
        \mathbf{G} = (\mathbf{H}^{\mathsf{H}}\mathbf{H})^{-1}\mathbf{H}^{\mathsf{H}}, \qquad
        \sigma^2_{\mathrm{eff},k} = [\mathbf{G}\mathbf{S}\mathbf{G}^{\mathsf{H}}]_{kk}.

    A model answers whatever the noise.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: :class:`~neumatc_mimo.tensorflow.ScenarioModel` or ``Exact()``
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
        neighbours each: resource blocks. Hermitian and positive semidefinite.

    :output x_hat: [batch_size, num_tx, num_streams, num_data_symbols], `tf.complex`.
        Estimated symbols.
    :output no_eff: [batch_size, num_tx, num_streams, num_data_symbols], `tf.float`.
        Effective noise variance for each estimated symbol.
    :raises ValueError: If a receiver gets more streams than it has antennas
    """

    def _streams(self, ask: Ask, seen: Seen) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        own = self._wanted(seen.rx, seen.a)
        num_streams, num_rx_ant = own.shape[3:]
        if num_streams > num_rx_ant:
            raise ValueError(
                f"{num_streams} streams are more than the {num_rx_ant} antennas of a receiver."
            )
        answer, made = ask(own, None, seen.links)
        w = tf.matmul(answer.w, answer.mixing)
        w *= tf.cast(answer.column, w.dtype)[..., None, :]
        return through(seen.received, w), self._behind(seen, w), made
