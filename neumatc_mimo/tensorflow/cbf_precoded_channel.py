"""Effective channel after conjugate beamforming."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid

from neumatc_mimo.tensorflow.common import Ask
from neumatc_mimo.tensorflow.matrix_precoded_channel import MatrixPrecodedChannel
from neumatc_mimo.tensorflow.operation import largest, magnitude, over
from neumatc_mimo.tensorflow.solver import Exact, counted


class CBFPrecodedChannel(MatrixPrecodedChannel):
    r"""Effective channel after conjugate beamforming: matched filters.

    A drop-in for :class:`~sionna.phy.ofdm.CBFPrecodedChannel` of Sionna 1.2 with the same call and
    output, :math:`\widetilde{\mathbf{H}}_{i,j} = \mathbf{H}_{i,j}\mathbf{G}_{j}
    \mathrm{diag}(\sqrt{p_{j,1}}, \sqrt{p_{j,2}}, \dots)` with
    :math:`\mathbf{g}_k = \mathbf{h}_k^{\mathsf{H}} / \lVert\mathbf{h}_k\rVert_2` for the rows of
    the channel knowledge, once for all OFDM symbols of the same channel. No solver is needed.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param time_varying: Whether channels differ between OFDM symbols; `None` finds out

    :input h: [batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_ofdm_symbols, fft_size],
        `tf.complex`. Actual channel realizations.
    :input tx_power: [batch_size, num_tx, num_streams_per_tx, num_ofdm_symbols, fft_size] (or only
        the first n dims), `tf.float`. Power of each stream for each transmitter.
    :input h_hat: `None` (default) | as ``h``. Channel knowledge based on which the precoding is
        computed; ``h`` if `None`. An input may have one item or symbol, which is then used for all.

    :output h_eff: [batch_size, num_rx, num_rx_ant, num_tx, num_streams_per_tx, num_ofdm_symbols,
        num_effective_subcarriers], `tf.complex`. The effective channel after precoding, without
        nulled subcarriers.
    """

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        precision: str | None = None,
        *,
        time_varying: bool | None = None,
    ) -> None:
        pair = (resource_grid, stream_management)
        super().__init__(*pair, Exact(), precision, time_varying=time_varying)

    def call(self, h: tf.Tensor, tx_power: Any, h_hat: tf.Tensor | None = None) -> tf.Tensor:
        """Effective channel; inputs and outputs as in the class's description."""
        return self._effective_channel(h, tx_power, h_hat)

    def _check_antennas(self, known: tf.Tensor, alpha: tf.Tensor | None) -> None:
        # Any number of streams: each has a filter of its own.
        self._modes.check_every(known.shape[2])

    def _matrix(
        self, ask: Ask, rows: tf.Tensor, no: tf.Tensor | None, links: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        del ask, no, links
        # In a unit that leaves squares of a channel of -150 dB.
        own = rows[..., None, :]
        own = over(own, magnitude(largest(own)))[..., 0, :]
        size = tf.reduce_sum(tf.square(tf.abs(own)), -1)
        # A row of zeros stays one, as in Sionna.
        some = size > 0
        unit = tf.where(some, tf.math.rsqrt(tf.where(some, size, 1)), 0)
        matrix = tf.linalg.adjoint(own * tf.cast(unit, own.dtype)[..., None])
        return matrix, counted(exact=tf.size(size[..., 0]))
