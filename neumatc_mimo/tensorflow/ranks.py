"""How many streams each receiver gets, and which columns of precoding matrices carry them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from sionna.phy.mimo import StreamManagement

from neumatc_mimo.foundation.block_checks import checked_ranks
from neumatc_mimo.tensorflow.solver import counted
from neumatc_mimo.tensorflow.svd import SVD


class Ranks:
    """Fewer streams than a receiver has antennas.

    :param stream_management: of the block
    :param ranks: Streams of each receiver from each of its transmitters, as many as those of
        ``stream_management`` at most: of these the first ones are sent; None for all

    :raises ValueError: if there are not as many ranks as receivers, or a rank is beyond its limits
    """

    def __init__(self, stream_management: StreamManagement, ranks: Sequence[int] | None) -> None:
        self._receivers: list[list[int]] = np.asarray(stream_management.precoding_ind).tolist()
        num_streams = int(stream_management.num_streams_per_tx)
        # That a receiver may get from each of its transmitters.
        self.most = num_streams // len(self._receivers[0])
        self._ranks = checked_ranks(ranks, int(stream_management.num_rx), self.most)

    def of(self, rx: int) -> int:
        """Streams of a receiver."""
        return self._ranks[rx]

    def sent(self, tx: int) -> list[int]:
        """Streams of a transmitter that are sent."""
        return [
            number * self.most + i
            for number, rx in enumerate(self._receivers[tx])
            for i in range(self._ranks[rx])
        ]


class Modes(Ranks):
    r"""Fewer streams than antennas, of precoders that give each row of a channel a stream.

    A receiver then has a row for each of its streams: what it hears along the left singular vectors
    of its strongest singular values, :math:`s_i \mathbf{v}_i^{\mathsf{H}}` (Boccardi and Huang,
    ICASSP 2007: multiuser eigenmode transmission).
    """

    def check(self, num_rx_ant: int) -> None:
        """Refuse receivers of too few antennas."""
        if num_rx_ant < self.most:
            self.check_every(num_rx_ant)

    def check_every(self, num_rx_ant: int) -> None:
        """Refuse receivers of another number of antennas than streams."""
        if num_rx_ant != self.most:
            num = len(self._receivers[0])
            raise ValueError(
                f"{num} receivers of {num_rx_ant} antennas make {num * num_rx_ant} rows of a "
                f"transmitter's channel, but it has {num * self.most} streams."
            )

    def is_full(self, num_rx_ant: int) -> bool:
        """Whether there is one stream for each antenna of every receiver."""
        return num_rx_ant == self.most and all(rank == self.most for rank in self._ranks)

    def most_sent(self) -> int:
        """The most streams of a transmitter."""
        return max(len(self.sent(tx)) for tx in range(len(self._receivers)))

    def rows(self, h: tf.Tensor, tx: int, *, plainly: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Rows of the streams of a transmitter that are sent, [batch_size, symbols, fft_size,
        num_sent, num_tx_ant], and counts.

        :param h: of all receivers, [batch_size, symbols, fft_size, num_rx, num_rx_ant, num_tx_ant]
        :param plainly: in the precision given, which may be too little
        """
        h = tf.gather(h, self._receivers[tx], axis=3)
        num_rx, num_rx_ant, num_tx_ant = h.shape[3:]
        if self.is_full(num_rx_ant):
            return tf.reshape(h, [-1, *h.shape[1:3], num_rx * num_rx_ant, num_tx_ant]), counted()
        operation = SVD(min(self.most, num_tx_ant))
        found, doubtful = (operation.plain if plainly else operation.exact)(h, None)
        modes = tf.linalg.adjoint(found.v * tf.cast(found.s, h.dtype)[..., None, :])
        # More streams than antennas of a transmitter: nothing is heard of the others.
        missing = self.most - operation.num_streams
        modes = tf.pad(modes, [[0, 0]] * 4 + [[0, missing], [0, 0]])
        flat = tf.reshape(modes, [-1, *h.shape[1:3], num_rx * self.most, num_tx_ant])
        counts = counted(refined=tf.math.count_nonzero(doubtful))
        return tf.gather(flat, self.sent(tx), axis=3), counts

    def of_streams(self, matrix: tf.Tensor, tx: int) -> tf.Tensor:
        """Columns of a matrix [..., num_sent] in the order of the streams: zeros for those that are
        not sent.
        """
        sent, num = self.sent(tx), len(self._receivers[tx]) * self.most
        if len(sent) == num:
            return matrix
        place = [sent.index(stream) if stream in sent else len(sent) for stream in range(num)]
        padded = tf.concat([matrix, tf.zeros_like(matrix[..., :1])], axis=-1)
        return tf.gather(padded, place, axis=-1)
