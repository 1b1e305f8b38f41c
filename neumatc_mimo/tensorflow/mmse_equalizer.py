"""Linear minimum-mean-square-error equalization."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
import tensorflow as tf
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LMMSEEqualizer, ResourceGrid

from neumatc_mimo.foundation.block_settings import ProofKeywords
from neumatc_mimo.tensorflow.common import InPrecision, SolverBlock, check_channel, first_dimensions
from neumatc_mimo.tensorflow.data_symbols import DataSymbols
from neumatc_mimo.tensorflow.pseudo_inverse import PseudoInverse
from neumatc_mimo.tensorflow.solver import Solver, counted


class MMSEEqualizer(SolverBlock):
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
    of noise and estimation errors between symbols, subcarriers or antennas, and with more streams
    than antennas, the equalization is that of Sionna's own block.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: :class:`~neumatc_mimo.tensorflow.ScenarioModel` or ``Exact()``
    :param whiten_interference: Accepted for compatibility; both values give the same result
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param settings: ``certify`` and what else all blocks take, see
        :class:`~neumatc_mimo.foundation.block_settings.ProofSettings`

    :input y: [batch_size, num_rx, num_rx_ant, num_ofdm_symbols, fft_size], `tf.complex`.
        Received OFDM resource grid after cyclic prefix removal and FFT.
    :input h_hat: [batch_size, num_rx, num_rx_ant, num_tx, num_streams_per_tx, num_ofdm_symbols,
        num_effective_subcarriers], `tf.complex`. Channel estimates for all streams.
    :input err_var: [Broadcastable to shape of ``h_hat``], `tf.float`. Variance of the channel
        estimation error.
    :input no: [batch_size, num_rx, num_rx_ant] (or only the first n dims), `tf.float`. Variance of
        the AWGN.
    :input links: `None` (default) | [batch_size] | [batch_size, num_rx], `int`. Indices of the
        links, -1 for unknown. If `None`, the solver recognises links from ``h_hat``.

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
        super().__init__(
            resource_grid,
            stream_management,
            solver,
            PseudoInverse(),
            effective=True,
            precision=precision,
            **settings,
        )
        self._sionna = InPrecision(
            lambda: LMMSEEqualizer(resource_grid, stream_management, whiten_interference),
            self.precision,
        )
        self._data_symbols = DataSymbols(resource_grid, stream_management)
        # Per receiver, positions of its own streams in [num_tx * num_streams].
        own = np.asarray(stream_management.stream_association).reshape(self._num_rx, -1)
        self._desired = [row.nonzero()[0] for row in own]
        self._has_undesired = [bool((row == 0).any()) for row in own]

    def call(
        self, y: tf.Tensor, h_hat: tf.Tensor, err_var: Any, no: Any, links: Any = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Equalize ``y``; inputs and outputs as in the class's description."""
        self._check(y, h_hat)
        links = self._check_links(links, self._num_rx)
        variance, conditions = self._variance(h_hat, err_var, no)
        jointly = self._num_tx * self._num_streams <= h_hat.shape[2]

        def once() -> tuple[Any, tf.Tensor]:
            return self._equalize(y, h_hat, variance, links)

        def each() -> tuple[Any, tf.Tensor]:
            number = tf.shape(h_hat)[0] * self._num_rx * self._num_symbols * len(self._effective)
            return self._sionna(y, h_hat, err_var, no), counted(exact=number)

        outputs: tuple[tf.Tensor, tf.Tensor]
        outputs = self._over_symbols(h_hat, conditions if jointly else None, once, each)
        return outputs

    def _equalize(
        self, y: tf.Tensor, h_hat: tf.Tensor, variance: tf.Tensor, links: tf.Tensor | None
    ) -> tuple[tuple[tf.Tensor, tf.Tensor], tf.Tensor]:
        """Equalize with the channel of the first OFDM symbol.

        :param variance: [batch_size, num_rx]
        """
        x_hat: list[tf.Tensor] = []
        no_eff: list[tf.Tensor] = []
        counts = counted()
        num_streams = self._num_tx * self._num_streams
        for rx in range(self._num_rx):
            # [batch_size, num_effective_subcarriers, num_tx * num_streams, num_rx_ant]
            h = tf.transpose(h_hat[:, rx, :, :, :, 0], [0, 4, 2, 3, 1])
            a = tf.reshape(h, [-1, len(self._effective), num_streams, h_hat.shape[2]])
            # A link of the desired streams alone tells nothing of the interference.
            strange = self._has_undesired[rx] and not self._solver.knows(
                self._operation, num_streams, h_hat.shape[2]
            )
            answers = self._exact if strange else self._answers
            link = None if links is None else links[:, rx]
            answer, made = answers(a, variance[:, rx], link)
            counts += made
            loss = answer.loss(variance[:, rx])
            # Of a stream that does not arrive nothing is known: zero, in infinite noise.
            gain = tf.math.divide_no_nan(tf.ones_like(loss), answer.gain)
            received = tf.gather(y[:, rx], self._effective, axis=-1)
            received = tf.transpose(received, [0, 3, 2, 1])  # [batch_size, F, symbols, antennas]
            streams = tf.matmul(tf.matmul(received, answer.w), answer.mixing)
            streams *= tf.cast(gain, streams.dtype)[:, :, None]
            for into, z in ((x_hat, streams), (no_eff, (loss / answer.gain)[:, :, None])):
                z = tf.gather(z, self._desired[rx], axis=-1)
                into.append(tf.transpose(z, [0, 3, 2, 1]))
        noise = tf.tile(tf.stack(no_eff, axis=1), [1, 1, 1, self._num_symbols, 1])
        return (self._data_symbols(tf.stack(x_hat, axis=1)), self._data_symbols(noise)), counts

    def _variance(
        self, h_hat: tf.Tensor, err_var: Any, no: Any
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Variance of noise and estimation errors [batch_size, num_rx], and what has to be true
        for it to hold for all symbols, subcarriers and antennas.
        """
        error = tf.cast(tf.convert_to_tensor(err_var), self.rdtype)
        if error.shape.rank is None or error.shape.rank > 7:
            raise ValueError(
                f"err_var has the shape {error.shape}, one that can be broadcast to {h_hat.shape} "
                "is needed."
            )
        error = error[(*(None,) * (7 - error.shape.rank), ...)]
        noise = first_dimensions(no, self.rdtype)
        conditions = []
        if any(error.shape[dim] != 1 for dim in (2, 5, 6)):
            conditions.append(tf.reduce_all(error == error[:, :, :1, :, :, :1, :1]))
        if noise.shape[2] != 1:
            conditions.append(tf.reduce_all(noise == noise[:, :, :1]))
        # Only the variance of each entry is known: the errors of all streams add up.
        times = (self._num_tx // error.shape[3]) * (self._num_streams // error.shape[4])
        total = tf.reduce_sum(error[:, :, 0, :, :, 0, 0], [2, 3]) * times + noise[:, :, 0]
        return tf.broadcast_to(total, [tf.shape(h_hat)[0], self._num_rx]), conditions

    def _check(self, y: tf.Tensor, h_hat: tf.Tensor) -> None:
        streams = (self._num_tx, self._num_streams, self._num_symbols, len(self._effective))
        check_channel("h_hat", h_hat, (self._num_rx, None, *streams))
        check_channel("y", y, (self._num_rx, h_hat.shape[2], self._num_symbols, self._fft_size))
