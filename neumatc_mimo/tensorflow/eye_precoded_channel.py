"""Effective channel without precoding: the power of each antenna."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import PrecodedChannel, RemoveNulledSubcarriers, ResourceGrid

from neumatc_mimo.foundation.block_checks import check_type
from neumatc_mimo.tensorflow.fitting import as_complex, check_shape
from neumatc_mimo.tensorflow.stream_power import leading


class EyePrecodedChannel(PrecodedChannel):
    r"""Effective channel after power allocation without precoding.

    A drop-in for :class:`~sionna.phy.ofdm.EyePrecodedChannel` of Sionna 1.2 with the same call and
    output,

    .. math::
        \widetilde{\mathbf{H}}_{i,j} = \mathbf{H}_{i,j}
        \mathrm{diag}(\sqrt{p_{j,1}}, \sqrt{p_{j,2}}, \dots),

    a factor of each entry in the place of a product with the identity.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used, of as many streams as a
        transmitter has antennas
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.

    :input h: [batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_ofdm_symbols, fft_size],
        `tf.complex`. Actual channel realizations.
    :input tx_power: [batch_size, num_tx, num_streams_per_tx, num_ofdm_symbols, fft_size] (or only
        the first n dims), `tf.float`. Power of each stream for each transmitter.

    :output h_eff: [batch_size, num_rx, num_rx_ant, num_tx, num_streams_per_tx, num_ofdm_symbols,
        num_effective_subcarriers], `tf.complex`. The effective channel after power allocation,
        without nulled subcarriers.
    """

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        precision: str | None = None,
    ) -> None:
        check_type("resource_grid", resource_grid, ResourceGrid)
        check_type("stream_management", stream_management, StreamManagement)
        super().__init__(resource_grid, stream_management, precision=precision)
        # Sionna does not tell it the precision.
        self._remove_nulled_scs = RemoveNulledSubcarriers(resource_grid, precision=self.precision)
        self._streams = (
            int(stream_management.num_tx),
            int(stream_management.num_streams_per_tx),
        )
        self._num_rx = int(stream_management.num_rx)
        self._effective = np.asarray(resource_grid.effective_subcarrier_ind)

    def call(self, h: tf.Tensor, tx_power: Any) -> tf.Tensor:
        """Effective channel; inputs and outputs as in the class's description."""
        h = as_complex("h", h, self.cdtype)
        fft_size = int(self._resource_grid.fft_size)
        check_shape("h", h, (self._num_rx, None, *self._streams, None, fft_size))
        power = tf.cast(tf.convert_to_tensor(tx_power), self.rdtype)
        power = leading("tx_power", power, (*self._streams, *h.shape[5:]))
        if power.shape[-1] > 1:
            power = tf.gather(power, self._effective, axis=-1)
        seen = tf.gather(h, self._effective, axis=-1)
        return seen * tf.cast(tf.sqrt(power), seen.dtype)[:, None, None]
