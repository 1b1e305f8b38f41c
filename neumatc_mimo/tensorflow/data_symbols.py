"""Data symbols of the streams, in the order of the transmitters."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid


class DataSymbols:
    """The data symbols of all transmitters' streams, from the streams of all receivers.

    :param resource_grid: ResourceGrid with its pilot pattern
    :param stream_management: StreamManagement

    :input z: [batch_size, num_rx, num_streams_per_rx, num_ofdm_symbols, num_effective_subcarriers,
        ...]

    :output: [batch_size, num_tx, num_streams_per_tx, num_data_symbols, ...]
    """

    def __init__(self, resource_grid: ResourceGrid, stream_management: StreamManagement) -> None:
        pattern = resource_grid.pilot_pattern
        mask = np.asarray(pattern.mask)
        self._shape = mask.shape[:2]
        mask = mask.reshape(*self._shape, -1)
        # A stable sort keeps the data symbols, whose mask is zero, in their order.
        order = mask.argsort(-1, kind="stable")[..., : int(pattern.num_data_symbols)]
        streams = np.asarray(stream_management.stream_ind).reshape(*self._shape, 1)
        # Places in [num_rx * num_streams_per_rx, num_ofdm_symbols * num_effective_subcarriers]
        self._places = (streams * mask.shape[-1] + order).ravel()
        self._num_symbols = order.shape[-1]

    def __call__(self, z: tf.Tensor) -> tf.Tensor:
        values = z.shape[5:]
        flat = tf.reshape(z, [-1, int(np.prod(z.shape[1:5])), *values])
        shape = [-1, *self._shape, self._num_symbols, *values]
        return tf.reshape(tf.gather(flat, self._places, axis=1), shape)
