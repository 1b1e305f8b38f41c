"""Combining along the strongest left singular vectors of one user's channel."""

from __future__ import annotations

from typing import Any, Literal, Unpack

import tensorflow as tf
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid

from neumatc_mimo.foundation.block_checks import check_streams
from neumatc_mimo.foundation.block_settings import ProofKeywords
from neumatc_mimo.tensorflow.common import (
    SolverBlock,
    check_channel,
    first_dimensions,
    for_symbols,
    partners,
    symbols_first,
    symbols_last,
)
from neumatc_mimo.tensorflow.data_symbols import DataSymbols
from neumatc_mimo.tensorflow.operation import power as squared
from neumatc_mimo.tensorflow.power import allocated_noise, find_allocation
from neumatc_mimo.tensorflow.solver import Answers, Solver, counted
from neumatc_mimo.tensorflow.svd import SVD, Triplets


class SVDCombiner(SolverBlock):
    r"""Combining of the streams that :class:`SVDBeamformer` sent.

    With the downlink channel :math:`\mathbf{H} = \mathbf{U}\mathbf{S}\mathbf{V}^{\mathsf{H}}` and
    streams of the powers :math:`p_k`

    .. math::
        \hat{\mathbf{x}} = \mathbf{P}^{-1/2}\mathbf{S}^{-1}\mathbf{U}^{\mathsf{H}}\mathbf{y}, \qquad
        \sigma^2_{\mathrm{eff},k} = \frac{1}{p_k} \Bigl(\sum_i |u_{ik}|^2 \sigma_i^2 / s_k^2
            + \sum_j |e_{kj}|^2 p_j\Bigr), \qquad
        \mathbf{E} = \mathbf{S}^{-1}\mathbf{U}^{\mathsf{H}}\mathbf{H}\mathbf{V} - \mathbf{I}.

    :math:`\mathbf{E}` is the leakage between streams. It is measured with ``h``, so an inexact
    answer of the solver counts as noise. With several transmitters the streams of the others count
    likewise: :math:`\mathbf{E}` has columns :math:`\mathbf{S}^{-1}\mathbf{U}^{\mathsf{H}}
    \mathbf{H}_{i}\mathbf{V}_{i}` for the channel :math:`\mathbf{H}_{i}` from each of them. A stream
    without power has :math:`\hat{x}_k = 0` and an infinite effective noise variance.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used, of one receiver for each transmitter
    :param solver: The solver of the beamformer
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param power: Power of the streams as in the beamformer: "uniform" or "waterfilling"
    :param settings: ``certify`` and what else all blocks take, see
        :class:`~neumatc_mimo.foundation.block_settings.ProofSettings`. Where the channel
        varies over OFDM symbols all is computed exactly.

    :input y: [batch_size, num_rx, num_rx_ant, num_ofdm_symbols, fft_size], `tf.complex`.
        Received OFDM resource grid after cyclic prefix removal and FFT.
    :input h: [batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_ofdm_symbols, fft_size],
        `tf.complex`. The full downlink channel, without precoding, on all subcarriers.
    :input no: [batch_size, num_rx, num_rx_ant] (or only the first n dims), `tf.float`. Variance of
        the AWGN.
    :input links: `None` (default) | [batch_size] | [batch_size, num_rx], `int`. Indices of the
        links, -1 for unknown. If `None`, the solver recognises links from ``h``.

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
        precision: str | None = None,
        *,
        power: Literal["uniform", "waterfilling"] = "uniform",
        **settings: Unpack[ProofKeywords],
    ) -> None:
        super().__init__(
            resource_grid,
            stream_management,
            solver,
            SVD(int(stream_management.num_streams_per_tx)),
            effective=False,
            precision=precision,
            **settings,
        )
        _, self._transmitter_of = partners(stream_management)
        self._allocate = find_allocation(power)
        self._data_symbols = DataSymbols(resource_grid, stream_management)

    def call(
        self, y: tf.Tensor, h: tf.Tensor, no: Any, links: Any = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Combine ``y``; inputs and outputs as in the class's description."""
        self._check(y, h)
        links = self._check_links(links, self._num_rx)
        noise = first_dimensions(no, self.rdtype)

        def once() -> tuple[Any, tf.Tensor]:
            (x_hat, no_eff), counts = self._combine(self._answers, y, h[..., :1, :], noise, links)
            return (x_hat, tf.tile(no_eff, [1, 1, 1, self._num_symbols, 1])), counts

        def each() -> tuple[Any, tf.Tensor]:
            repeated = for_symbols(noise, self._num_symbols)
            streams, counts = self._combine(
                self._exact, symbols_first(y), symbols_first(h), repeated, None
            )
            return tuple(symbols_last(z, self._num_symbols) for z in streams), counts

        x_hat, no_eff = self._over_symbols(h, [], once, each)
        return self._data_symbols(x_hat), self._data_symbols(no_eff)

    def _combine(
        self,
        answers: Answers,
        y: tf.Tensor,
        h: tf.Tensor,
        noise: tf.Tensor,
        links: tf.Tensor | None,
    ) -> tuple[tuple[tf.Tensor, tf.Tensor], tf.Tensor]:
        """Combine with a channel of one OFDM symbol.

        :param h: [batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, 1, fft_size]

        :return: x_hat [batch_size, num_rx, num_streams, symbols, num_effective], no_eff [..., 1,
            num_effective], and counts
        """
        # [batch_size, fft_size, num_rx, num_tx, num_rx_ant, num_tx_ant]
        channels = tf.transpose(h[..., 0, :], [0, 5, 1, 3, 2, 4])
        triplets: list[Triplets] = []
        powers: list[tf.Tensor] = []
        counts = counted()
        for rx, tx in enumerate(self._transmitter_of):
            link = None if links is None else links[:, rx]
            answer, made = answers(channels[:, :, rx, tx], None, link)
            counts += made
            triplets.append(answer)
            powers.append(self._powers(answer.s, noise, rx))
        x_hat: list[tf.Tensor] = []
        no_eff: list[tf.Tensor] = []
        for rx, answer in enumerate(triplets):
            # S^{-1} U^H, [batch_size, fft_size, num_streams, num_rx_ant]
            combiner = tf.linalg.adjoint(answer.u) / tf.cast(answer.s, y.dtype)[..., None]
            own_noise = noise[:, min(rx, noise.shape[1] - 1), None, None]
            total = tf.reduce_sum(squared(combiner) * own_noise, -1)
            for other, (sent, p) in enumerate(zip(triplets, powers, strict=True)):
                through = channels[:, :, rx, self._transmitter_of[other]]
                gains = tf.matmul(tf.matmul(combiner, through), sent.v)
                if other == rx:
                    gains -= tf.eye(self._num_streams, dtype=y.dtype)
                total += tf.reduce_sum(squared(gains) * p[..., None, :], -1)
            p, zero = powers[rx], tf.zeros_like(powers[rx])
            safe = tf.where(p > 0, p, 1)
            received = tf.matmul(combiner, tf.transpose(y[:, rx], [0, 3, 1, 2]))
            scale = tf.where(p > 0, tf.math.rsqrt(safe), zero)
            streams = received * tf.cast(scale, y.dtype)[..., None]
            noise_after = tf.where(p > 0, total / safe, zero + float("inf"))
            for into, z in ((x_hat, streams), (no_eff, noise_after[..., None])):
                z = tf.gather(z, self._effective, axis=1)
                into.append(tf.transpose(z, [0, 2, 3, 1]))
        return (tf.stack(x_hat, axis=1), tf.stack(no_eff, axis=1)), counts

    def _powers(self, s: tf.Tensor, noise: tf.Tensor, rx: int) -> tf.Tensor:
        """Powers of the streams to a receiver, [batch_size, fft_size, num_streams]."""
        if self._allocate is None:
            return tf.ones_like(s)
        return self._allocate(s, allocated_noise(noise, rx))

    def _check(self, y: tf.Tensor, h: tf.Tensor) -> None:
        grid = (self._num_symbols, self._fft_size)
        check_channel("h", h, (self._num_rx, None, self._num_tx, None, *grid))
        check_channel("y", y, (self._num_rx, h.shape[2], *grid))
        check_streams(self._num_streams, h.shape[2], h.shape[4])
