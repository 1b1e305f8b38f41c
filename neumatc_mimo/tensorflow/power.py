"""Division of the transmit power among the streams of one user."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

# Powers [..., num_streams] from singular values and noise power.
Allocation = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def waterfilling(s: tf.Tensor, no: tf.Tensor) -> tf.Tensor:
    """Powers of the streams for the largest rate on one subcarrier, see
    :func:`neumatc_mimo.blocks.power.waterfilling`.

    :param s: [..., num_streams] singular values, strongest first
    :param no: noise power, broadcastable to ``s`` with a last dimension of one

    :return: [..., num_streams], their sum is the number of streams
    """
    info, num_streams = np.finfo(s.dtype.as_numpy_dtype), s.shape[-1]
    ratio = tf.minimum(no / tf.maximum(s**2, info.tiny), info.max / num_streams)
    # Relative to the strongest stream: in a weak channel the ratios dwarf the powers.
    excess = ratio - ratio[..., :1]
    count = np.arange(1, num_streams + 1)
    level = (num_streams + tf.cumsum(excess, axis=-1)) / count
    # Streams with power are the first: the last of these tells the level.
    active = level > excess
    last = tf.reduce_sum(tf.cast(active, tf.int32), -1, keepdims=True) == count
    own = tf.reduce_sum(tf.where(last, level, tf.zeros_like(level)), -1, keepdims=True)
    return tf.maximum(own - excess, 0)


def allocated(allocate: Allocation | None, s: tf.Tensor, no: tf.Tensor, rank: int) -> tf.Tensor:
    """Powers [..., num_streams] of the first ``rank`` streams, ones where no allocation is made of
    as much power; zeros for the others.

    :param s: [..., num_streams] singular values, strongest first
    :param no: as of an allocation
    """
    sent = s[..., :rank]
    powers = tf.ones_like(sent) if allocate is None else allocate(sent, no)
    return tf.pad(powers, [[0, 0]] * (len(s.shape) - 1) + [[0, s.shape[-1] - rank]])


_ALLOCATIONS: dict[str, Allocation | None] = {"uniform": None, "waterfilling": waterfilling}


def find_allocation(power: str) -> Allocation | None:
    """The allocation of a name; None is that of unit power for each stream.

    :raises ValueError: if there is none of this name
    """
    if power not in _ALLOCATIONS:
        known = " or ".join(f'"{name}"' for name in _ALLOCATIONS)
        raise ValueError(f"power is {power!r}, it must be {known}.")
    return _ALLOCATIONS[power]


def allocated_noise(no: tf.Tensor, rx: int) -> tf.Tensor:
    """The noise power of a receiver that an allocation is made for, [batch_size or 1, 1, 1, 1].

    Transmitter and receiver have to agree on it: the mean over the receive antennas.

    :param no: [batch_size or 1, num_rx or 1, num_rx_ant or 1]
    """
    return tf.reduce_mean(no[:, min(rx, no.shape[1] - 1)], -1)[:, None, None, None]
