"""Combining along the strongest left singular vectors of one user's channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Unpack

import tensorflow as tf
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid

from neumatc_mimo.foundation.block_checks import check_streams
from neumatc_mimo.foundation.block_settings import ProofKeywords
from neumatc_mimo.tensorflow.common import Ask, SolverBlock, first_dimensions, partners
from neumatc_mimo.tensorflow.data_symbols import DataSymbols
from neumatc_mimo.tensorflow.fitting import as_complex, check_shape, spread
from neumatc_mimo.tensorflow.operation import power as squared
from neumatc_mimo.tensorflow.power import allocated, allocated_noise, find_allocation
from neumatc_mimo.tensorflow.products import products
from neumatc_mimo.tensorflow.ranks import Ranks
from neumatc_mimo.tensorflow.solver import Solver, counted
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
    :param stream_management: StreamManagement to be used, with one receiver for each transmitter
    :param solver: The solver of the beamformer
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param power: Power of the streams as in the beamformer: "uniform" or "waterfilling"
    :param ranks: Streams of each receiver as in the beamformer
    :param settings: ``certify`` and the other settings of all blocks, see
        :class:`~neumatc_mimo.foundation.block_settings.ProofSettings`. Where the channel varies
        over OFDM symbols all is computed exactly.

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
        ranks: Sequence[int] | None = None,
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
        self._ranks = Ranks(stream_management, ranks)
        self._data_symbols = DataSymbols(resource_grid, stream_management)

    def call(
        self, y: tf.Tensor, h: tf.Tensor, no: Any, links: Any = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Combine ``y``; inputs and outputs as in the class's description."""
        y, h = as_complex("y", y, self.cdtype), as_complex("h", h, self.cdtype)
        self._check(y, h)
        links = self._check_links(links, self._num_rx)
        noise = first_dimensions(no, self.rdtype)

        def core(
            ask: Ask, y: tf.Tensor, h: tf.Tensor, noise: tf.Tensor
        ) -> tuple[list[tf.Tensor], tf.Tensor]:
            return self._combine(ask, y, h, noise, links)

        def first(*inputs: tf.Tensor) -> list[tf.Tensor]:
            y, h, noise = inputs
            return [y, h[..., :1, :], noise]

        x_hat, no_eff = self._served(core, [y, h, noise], self._shared(h, 4), first)
        return x_hat, no_eff

    def _combine(
        self,
        ask: Ask,
        y: tf.Tensor,
        h: tf.Tensor,
        noise: tf.Tensor,
        links: tf.Tensor | None,
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Combine, where h has one OFDM symbol for all, or as many as y."""
        # [batch_size, symbols, fft_size, num_rx, num_tx, num_rx_ant, num_tx_ant]
        channels = tf.transpose(h, [0, 5, 6, 1, 3, 2, 4])
        triplets: list[Triplets] = []
        powers: list[tf.Tensor] = []
        counts = counted()
        for rx, tx in enumerate(self._transmitter_of):
            link = None if links is None else links[:, rx]
            answer, made = ask(channels[:, :, :, rx, tx], None, link)
            counts += made
            triplets.append(answer)
            powers.append(self._powers(answer.s, noise, rx))
        x_hat: list[tf.Tensor] = []
        no_eff: list[tf.Tensor] = []
        for rx, answer in enumerate(triplets):
            # S^{-1} U^H, [batch_size, symbols, fft_size, num_streams, num_rx_ant]
            heard = answer.s > 0
            weight = tf.where(heard, 1 / tf.where(heard, answer.s, 1), 0)
            combiner = tf.linalg.adjoint(answer.u) * tf.cast(weight, y.dtype)[..., None]
            own_noise = noise[:, min(rx, noise.shape[1] - 1), None, None, None]
            # Amplitudes before squares, which a weak channel's would overflow.
            total = tf.reduce_sum((tf.abs(combiner) * tf.sqrt(own_noise)) ** 2, -1)
            for other, (sent, p) in enumerate(zip(triplets, powers, strict=True)):
                through = channels[:, :, :, rx, self._transmitter_of[other]]
                gains = tf.matmul(tf.matmul(combiner, through), sent.v)
                if other == rx:
                    gains -= tf.eye(self._num_streams, dtype=gains.dtype)
                total += tf.reduce_sum(squared(gains) * p[..., None, :], -1)
            p = powers[rx]
            sent_at_all = (p > 0) & heard
            safe = tf.where(sent_at_all, p, 1)
            scale = tf.where(sent_at_all, tf.math.rsqrt(safe), 0)
            combiner *= tf.cast(scale, combiner.dtype)[..., None]
            # Silent streams carry no symbol: zero, in infinite noise.
            left = tf.where(sent_at_all, total / safe, float("inf"))
            streams = products(combiner, y[:, min(rx, y.shape[1] - 1)])
            left = tf.transpose(left, [0, 3, 1, 2])
            for into, z in ((x_hat, streams), (no_eff, tf.broadcast_to(left, tf.shape(streams)))):
                into.append(spread(z, {-2: self._num_symbols, -1: self._fft_size}))
        outputs = [
            self._data_symbols(tf.gather(tf.stack(z, axis=1), self._effective, axis=-1))
            for z in (x_hat, no_eff)
        ]
        return outputs, counts

    def _powers(self, s: tf.Tensor, noise: tf.Tensor, rx: int) -> tf.Tensor:
        """Powers of the streams to a receiver, [batch_size, symbols, fft_size, num_streams]."""
        return allocated(self._allocate, s, allocated_noise(noise, rx), self._ranks.of(rx))

    def _check(self, y: tf.Tensor, h: tf.Tensor) -> None:
        """Refuse y and h that do not fit the grid, in which one symbol or subcarrier may hold for
        all.
        """
        check_shape("h", h, (self._num_rx, None, self._num_tx, None, None, None))
        check_shape("y", y, (None, h.shape[2], None, None))
        of_y = {1: self._num_rx, 3: self._num_symbols, 4: self._fft_size}
        of_h = {5: self._num_symbols, 6: self._fft_size}
        for name, z, sizes in (("y", y, of_y), ("h", h, of_h)):
            wanted: list[int | None] = [None] * (len(z.shape) - 1)
            for dim, size in sizes.items():
                wanted[dim - 1] = 1 if z.shape[dim] == 1 else size
            check_shape(name, z, wanted)
        check_streams(self._num_streams, h.shape[2], h.shape[4])
