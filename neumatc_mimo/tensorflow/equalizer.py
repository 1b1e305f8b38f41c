"""What all equalizers share."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from neumatc_mimo.tensorflow.common import Ask
from neumatc_mimo.tensorflow.receiver import Receiver, Seen


class Equalizer(Receiver):
    """Base of the equalizers; a subclass gives :meth:`_streams`, arguments are those of
    :class:`~neumatc_mimo.tensorflow.receiver.Receiver`.
    """

    def call(
        self,
        y: tf.Tensor,
        h_hat: tf.Tensor,
        err_var: Any,
        no: Any,
        links: Any = None,
        noise_covariance: Any = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Equalize ``y``; inputs and outputs as in the class's description."""
        given = (y, h_hat, err_var, no, links, noise_covariance)
        x_hat, no_eff = self._received(self._estimates, *given)
        return x_hat, no_eff

    def _streams(self, ask: Ask, seen: Seen) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Estimates of the streams that a receiver is to get, [batch_size, symbols, F, K], the
        noise behind them, likewise or of one symbol, and counts.
        """
        raise NotImplementedError

    def _estimates(self, ask: Ask, seen: Seen) -> tuple[list[tf.Tensor], tf.Tensor]:
        streams, left, made = self._streams(ask, seen)
        return [streams, tf.broadcast_to(left, tf.shape(streams))], made

    def _behind(self, seen: Seen, w: tf.Tensor) -> tf.Tensor:
        """Power of noise and of others' streams behind filters w [batch_size, symbols, F,
        num_rx_ant, K], [batch_size, symbols, F, K].
        """
        behind = seen.noise.behind(w)
        others = self._unwanted(seen.rx, seen.a)
        if others is None:
            return behind
        return behind + tf.reduce_sum(tf.square(tf.abs(tf.matmul(others, w))), -2)
