"""Effective channel after zero-forcing precoding."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from neumatc_mimo.tensorflow.common import Ask
from neumatc_mimo.tensorflow.matrix_precoded_channel import MatrixPrecodedChannel
from neumatc_mimo.tensorflow.zf_precoder import check_antennas, unit_columns


class ZFPrecodedChannel(MatrixPrecodedChannel):
    r"""Effective channel after zero-forcing precoding, plain or regularised.

    A drop-in for :class:`~sionna.phy.ofdm.RZFPrecodedChannel` of Sionna 1.2 with the same output,
    as :class:`LMMSEPostEqualizationSINR` takes it. For transmitter j, the precoder
    :math:`\mathbf{G}_j` of :class:`ZFPrecoder` for the channel knowledge ``h_hat`` and the channel
    :math:`\mathbf{H}_{i,j}` to receiver i

    .. math::
        \widetilde{\mathbf{H}}_{i,j} = \mathbf{H}_{i,j}\mathbf{G}_{j}
        \mathrm{diag}(\sqrt{p_{j,1}}, \sqrt{p_{j,2}}, \dots).

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: :class:`~neumatc_mimo.tensorflow.ScenarioModel` or ``Exact()``
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param ranks: Streams that each receiver gets, at most those of ``stream_management``, of which
        the first ones are sent; None for all
    :param settings: ``certify`` and the other settings of all blocks, see
        :class:`~neumatc_mimo.foundation.block_settings.ProofSettings`

    :input h: [batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_ofdm_symbols, fft_size],
        `tf.complex`. Actual channel realizations.
    :input tx_power: [batch_size, num_tx, num_streams_per_tx, num_ofdm_symbols, fft_size] (or only
        the first n dims), `tf.float`. Power of each stream for each transmitter.
    :input h_hat: `None` (default) | as ``h``. Channel knowledge based on which the precoding is
        computed; ``h`` if `None`. An input may have one item or symbol, which is then used for all.
    :input alpha: `0.` (default) | [batch_size, num_tx, num_ofdm_symbols, fft_size] (or only the
        first n dims), `float`. Regularization parameter, a noise power.
    :input links: `None` (default) | [batch_size] | [batch_size, num_tx], `int`. Indices of the
        links, -1 for unknown. If `None`, the solver recognises links from the channel knowledge.

    :output h_eff: [batch_size, num_rx, num_rx_ant, num_tx, num_streams_per_tx, num_ofdm_symbols,
        num_effective_subcarriers], `tf.complex`. The effective channel after precoding, without
        nulled subcarriers.
    """

    def call(
        self,
        h: tf.Tensor,
        tx_power: Any,
        h_hat: tf.Tensor | None = None,
        alpha: Any = 0.0,
        links: Any = None,
    ) -> tf.Tensor:
        """Effective channel; inputs and outputs as in the class's description."""
        return self._effective_channel(h, tx_power, h_hat, alpha, links)

    def _check_antennas(self, known: tf.Tensor, alpha: tf.Tensor | None) -> None:
        check_antennas(self._modes.most_sent(), known.shape[4], alpha)

    def _matrix(
        self, ask: Ask, rows: tf.Tensor, no: tf.Tensor | None, links: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        answer, made = ask(rows, no, links)
        return tf.matmul(answer.w, unit_columns(answer)), made
