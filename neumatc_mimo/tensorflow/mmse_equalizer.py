"""Linear minimum-mean-square-error equalization."""

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
from neumatc_mimo.tensorflow.pseudo_inverse import Filter, PseudoInverse
from neumatc_mimo.tensorflow.solver import Solver, counted
from neumatc_mimo.tensorflow.symbols import constant

# Of the strongest antenna's noise, what the others have at least.
_LEAST_SHARE = 1e-12


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
    of noise and estimation errors between symbols, subcarriers or antennas (which is whitened), and
    with more streams than antennas, all of it is computed exactly.

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
        num_effective_subcarriers], `tf.complex`. Channel estimates for all streams. One item,
        symbol or subcarrier of ``y`` or ``h_hat`` holds for all.
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
        # Per receiver, positions of its own streams in [num_tx * num_streams].
        own = np.asarray(stream_management.stream_association)
        own = own.reshape(int(stream_management.num_rx), -1)
        self._desired = [row.nonzero()[0] for row in own]
        self._has_undesired = [bool((row == 0).any()) for row in own]
        super().__init__(
            resource_grid,
            stream_management,
            solver,
            PseudoInverse(interference=any(self._has_undesired)),
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
            alike = [*shared, *constant(variance, (3,) if self._is_exact else (2, 3, 4))]

        def first(*inputs: tf.Tensor) -> list[tf.Tensor]:
            y, h_hat, variance = inputs
            some = variance[:, :, :, :1] if self._is_exact else variance[:, :, :1, :1, :1]
            return [y, h_hat[..., :1, :], some]

        x_hat, no_eff = self._served(core, [y, h_hat, variance], alike, first)
        return x_hat, no_eff

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
            if noise.shape[-1] == 1:
                able, noise = self._able(ask, rx, a), noise[..., 0]
                answer, made = able(a, noise, None if links is None else links[:, rx])
            else:
                answer, received, made = self._in_coloured_noise(ask, a, received, noise)
            counts += made
            # Of a stream that does not arrive nothing is known: zero, in infinite noise.
            arrives = answer.gain > 0
            gain = tf.where(arrives, answer.gain, 1)
            factor = tf.where(arrives, answer.column / gain, 0)
            left = tf.where(arrives, answer.loss / gain, float("inf"))
            streams = _products(received, answer)
            streams *= tf.cast(factor, streams.dtype)[:, :, :, None]
            streams = _by_symbols(streams)
            # [batch_size, num_ofdm_symbols, num_effective_subcarriers]
            left = tf.broadcast_to(left, tf.shape(streams))
            for into, z in ((x_hat, streams), (no_eff, left)):
                z = tf.gather(z, self._desired[rx], axis=-1)
                into.append(tf.transpose(z, [0, 3, 1, 2]))
        sizes = {-2: self._num_symbols, -1: len(self._effective)}
        outputs = [self._data_symbols(spread(tf.stack(z, axis=1), sizes)) for z in (x_hat, no_eff)]
        return outputs, counts

    def _in_coloured_noise(
        self, ask: Ask, a: tf.Tensor, received: tf.Tensor, noise: tf.Tensor
    ) -> tuple[Filter, tf.Tensor, tf.Tensor]:
        """Filters of whitened symbols, these, and counts: a model has no such results."""
        white, strongest = _white(noise)
        seen = a * tf.cast(white, a.dtype)[..., None, :]
        received *= tf.cast(white, a.dtype)

        def precisely() -> tf.Tensor:
            # Products rounded to single precision tear users in one place apart.
            factor, _ = _white(tf.cast(noise, tf.float64))
            return tf.cast(a, tf.complex128) * tf.cast(factor, tf.complex128)[..., None, :]

        if ask == self._plainly:
            answer, made = self._plainly(seen, strongest, None)
        else:
            answer, made = self._exactly(seen, strongest, None, precisely)
        return answer, received, made

    def _able(self, ask: Ask, rx: int, a: tf.Tensor) -> Ask:
        """The solver, or the exact computation where a model has no such results."""
        num_streams, num_rx_ant = a.shape[3:]
        if ask != self._query:
            return ask
        # A link of the desired streams alone tells nothing of the interference.
        strange = self._has_undesired[rx] and not self._solver.knows(
            self._operation, num_streams, num_rx_ant
        )
        return self._exactly if strange or num_streams > num_rx_ant else ask

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


def _white(noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Factors that make the noise as strong at all antennas, and its power then.

    :param noise: [batch_size, symbols, F, num_rx_ant], each or 1
    """
    strongest = tf.stop_gradient(tf.reduce_max(noise, -1, keepdims=True))
    share = noise / tf.where(strongest > 0, strongest, 1)
    share = tf.where(strongest > 0, share, 1)
    # An antenna without noise outweighs the others by so much that they do not count.
    return tf.math.rsqrt(tf.maximum(share, _LEAST_SHARE)), strongest[..., 0]


def _products(received: tf.Tensor, answer: Filter) -> tf.Tensor:
    """Received symbols [batch_size, symbols, F, num_rx_ant] through filters [batch_size, symbols or
    1, F, ...], as [batch_size, 1, F, symbols, K] or [batch_size, symbols, F, 1, K].
    """
    rows = received[:, :, :, None]
    if answer.w.shape[1] == 1:
        # One filter for all symbols, which are the rows of a matrix.
        rows = tf.transpose(received, [0, 2, 1, 3])[:, None]
    return tf.matmul(tf.matmul(rows, answer.w), answer.mixing)


def _by_symbols(streams: tf.Tensor) -> tf.Tensor:
    """The products of :func:`_products` as [batch_size, symbols, F, K]."""
    if streams.shape[1] == 1:
        return tf.transpose(streams[:, 0], [0, 2, 1, 3])
    return streams[:, :, :, 0]
