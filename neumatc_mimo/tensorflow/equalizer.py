"""What all equalizers share: their inputs, and which streams each receiver wants."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
import tensorflow as tf
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid

from neumatc_mimo.foundation.block_settings import ProofKeywords
from neumatc_mimo.tensorflow.common import Ask, SolverBlock, first_dimensions
from neumatc_mimo.tensorflow.data_symbols import DataSymbols
from neumatc_mimo.tensorflow.fitting import as_complex, check_shape, spread
from neumatc_mimo.tensorflow.pseudo_inverse import PseudoInverse
from neumatc_mimo.tensorflow.solver import Solver, counted
from neumatc_mimo.tensorflow.symbols import constant


class Equalizer(SolverBlock):
    """Base of the equalizers; a subclass gives :meth:`_streams`.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: :class:`~neumatc_mimo.tensorflow.ScenarioModel` or ``Exact()``
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param settings: ``certify`` and the other settings of all blocks, see
        :class:`~neumatc_mimo.foundation.block_settings.ProofSettings`
    """

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        precision: str | None = None,
        **settings: Unpack[ProofKeywords],
    ) -> None:
        # Per receiver, positions of its own streams in [num_tx * num_streams], and of the others.
        own = np.asarray(stream_management.stream_association)
        own = own.reshape(int(stream_management.num_rx), -1)
        self._desired = [row.nonzero()[0] for row in own]
        self._undesired = [(row == 0).nonzero()[0] for row in own]
        super().__init__(
            resource_grid,
            stream_management,
            solver,
            PseudoInverse(interference=any(len(row) for row in self._undesired)),
            effective=True,
            precision=precision,
            **settings,
        )
        self._data_symbols = DataSymbols(resource_grid, stream_management)

    def call(
        self, y: tf.Tensor, h_hat: tf.Tensor, err_var: Any, no: Any, links: Any = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Equalize ``y``; inputs and outputs as in the class's description."""
        y, h_hat = as_complex("y", y, self.cdtype), as_complex("h_hat", h_hat, self.cdtype)
        self._check(y, h_hat)
        variance = self._variance(h_hat, err_var, no)
        links = self._check_links(links, self._num_rx)

        def core(
            ask: Ask, y: tf.Tensor, h_hat: tf.Tensor, variance: tf.Tensor
        ) -> tuple[list[tf.Tensor], tf.Tensor]:
            return self._equalize(ask, y, h_hat, variance, links)

        shared = self._shared(h_hat, 2)
        alike = None
        if shared is not None:
            alike = [*shared, *constant(variance, (2, 3, 4) if self._asks_for_white() else (3,))]

        def first(*inputs: tf.Tensor) -> list[tf.Tensor]:
            y, h_hat, variance = inputs
            white = variance[:, :, :1, :1, :1]
            some = white if self._asks_for_white() else variance[:, :, :, :1]
            return [y, h_hat[..., :1, :], some]

        x_hat, no_eff = self._served(core, [y, h_hat, variance], alike, first)
        return x_hat, no_eff

    def _asks_for_white(self) -> bool:
        """Whether the solver is asked for filters in white noise alone."""
        return False

    def _streams(
        self,
        ask: Ask,
        rx: int,
        a: tf.Tensor,
        received: tf.Tensor,
        noise: tf.Tensor,
        links: tf.Tensor | None,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Estimates of the streams that a receiver is to get, [batch_size, symbols, F, K], the
        noise behind them, likewise or of one symbol, and counts.

        :param a: [batch_size, symbols, F, num_tx * num_streams, num_rx_ant]
        :param received: [batch_size, symbols, F, num_rx_ant]
        :param noise: variance, [batch_size, symbols, F, num_rx_ant], each or 1
        :param links: [batch_size] or None
        """
        raise NotImplementedError

    def _equalize(
        self,
        ask: Ask,
        y: tf.Tensor,
        h_hat: tf.Tensor,
        variance: tf.Tensor,
        links: tf.Tensor | None,
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Equalize, where h_hat and the variance have one OFDM symbol for all, or as many as y.

        :param variance: [batch_size, num_rx, num_rx_ant, num_ofdm_symbols,
            num_effective_subcarriers], each or 1
        """
        x_hat: list[tf.Tensor] = []
        no_eff: list[tf.Tensor] = []
        counts = counted()
        num_streams = self._num_tx * self._num_streams
        for rx in range(self._num_rx):
            # [batch_size, symbols, num_effective_subcarriers, num_tx * num_streams, num_rx_ant]
            h = tf.transpose(h_hat[:, rx], [0, 4, 5, 2, 3, 1])
            a = tf.reshape(h, [-1, *h.shape[1:3], num_streams, h_hat.shape[2]])
            received = tf.gather(y[:, min(rx, y.shape[1] - 1)], self._effective, axis=-1)
            received = tf.transpose(received, [0, 2, 3, 1])
            noise = tf.transpose(variance[:, min(rx, variance.shape[1] - 1)], [0, 2, 3, 1])
            own = None if links is None else links[:, rx]
            streams, left, made = self._streams(ask, rx, a, received, noise, own)
            counts += made
            # [batch_size, num_ofdm_symbols, num_effective_subcarriers, K]
            left = tf.broadcast_to(left, tf.shape(streams))
            for into, z in ((x_hat, streams), (no_eff, left)):
                into.append(tf.transpose(z, [0, 3, 1, 2]))
        sizes = {-2: self._num_symbols, -1: len(self._effective)}
        outputs = [self._data_symbols(spread(tf.stack(z, axis=1), sizes)) for z in (x_hat, no_eff)]
        return outputs, counts

    def _wanted(self, rx: int, a: tf.Tensor) -> tf.Tensor:
        """Rows of the streams that a receiver is to get."""
        if not len(self._undesired[rx]):
            return a
        return tf.gather(a, self._desired[rx], axis=-2)

    def _behind(self, rx: int, a: tf.Tensor, w: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Power of noise and of others' streams behind filters w [batch_size, symbols, F,
        num_rx_ant, K], [batch_size, symbols, F, K].
        """
        amplitude = tf.abs(w) * tf.sqrt(noise)[..., None]
        behind = tf.reduce_sum(tf.square(amplitude), -2)
        if not len(self._undesired[rx]):
            return behind
        gains = tf.matmul(tf.gather(a, self._undesired[rx], axis=-2), w)
        return behind + tf.reduce_sum(tf.square(tf.abs(gains)), -2)

    def _variance(self, h_hat: tf.Tensor, err_var: Any, no: Any) -> tf.Tensor:
        """Variance of noise and estimation errors, [batch_size, num_rx, num_rx_ant,
        num_ofdm_symbols, num_effective_subcarriers], each or 1.
        """
        error = tf.cast(tf.convert_to_tensor(err_var), self.rdtype)
        if error.shape.rank is None or error.shape.rank > 7:
            raise ValueError(
                f"err_var has the shape {error.shape}, one that can be broadcast to {h_hat.shape} "
                "is needed."
            )
        error = error[(*(None,) * (7 - error.shape.rank), ...)]
        if any(
            size not in (1, full)
            for size, full in zip(error.shape[1:], h_hat.shape[1:], strict=True)
        ):
            raise ValueError(
                f"err_var has the shape {error.shape}, one that can be broadcast to {h_hat.shape} "
                "is needed."
            )
        noise = first_dimensions(no, self.rdtype)
        # Only the variance of each entry is known: the errors of all streams add up.
        times = (self._num_tx // error.shape[3]) * (self._num_streams // error.shape[4])
        return tf.reduce_sum(error, [3, 4]) * times + noise[..., None, None]

    def _check(self, y: tf.Tensor, h_hat: tf.Tensor) -> None:
        """Refuse y and h_hat that do not fit the grid, in which one symbol or subcarrier may hold
        for all.
        """
        check_shape(
            "h_hat", h_hat, (self._num_rx, None, self._num_tx, self._num_streams, None, None)
        )
        sizes = (self._num_symbols, len(self._effective))
        given = [
            1 if h_hat.shape[dim] == 1 else size for dim, size in zip((5, 6), sizes, strict=True)
        ]
        check_shape("h_hat", h_hat, (*h_hat.shape[1:5], *given))
        one_symbol = len(y.shape) == 5 and y.shape[3] == 1
        one_receiver = len(y.shape) == 5 and y.shape[1] == 1
        check_shape(
            "y",
            y,
            (
                1 if one_receiver else self._num_rx,
                h_hat.shape[2],
                1 if one_symbol else self._num_symbols,
                self._fft_size,
            ),
        )


def through(received: tf.Tensor, *matrices: tf.Tensor) -> tf.Tensor:
    """Received symbols [batch_size, symbols, F, num_rx_ant] through products of matrices
    [batch_size, symbols or 1, F, ...], as [batch_size, symbols, F, K].
    """
    rows = received[:, :, :, None]
    shared = matrices[0].shape[1] == 1
    if shared:
        # One filter for all symbols, which are the rows of a matrix.
        rows = tf.transpose(received, [0, 2, 1, 3])[:, None]
    for matrix in matrices:
        rows = tf.matmul(rows, matrix)
    return tf.transpose(rows[:, 0], [0, 2, 1, 3]) if shared else rows[:, :, :, 0]
