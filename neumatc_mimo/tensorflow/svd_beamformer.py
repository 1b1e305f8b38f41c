"""Beamforming along the strongest right singular vectors of one user's channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Unpack

import tensorflow as tf
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid

from neumatc_mimo.foundation.block_checks import check_streams
from neumatc_mimo.foundation.block_settings import ProofKeywords
from neumatc_mimo.tensorflow.common import Ask, SolverBlock, first_dimensions, partners
from neumatc_mimo.tensorflow.fitting import as_complex, check_shape, joint_size, spread
from neumatc_mimo.tensorflow.power import allocated, allocated_noise, find_allocation
from neumatc_mimo.tensorflow.products import products
from neumatc_mimo.tensorflow.ranks import Ranks
from neumatc_mimo.tensorflow.solver import Solver, counted
from neumatc_mimo.tensorflow.svd import SVD


class SVDBeamformer(SolverBlock):
    r"""SVD beamforming for multi-antenna users, one for each transmitter.

    With the downlink channel :math:`\mathbf{H} = \mathbf{U}\mathbf{S}\mathbf{V}^{\mathsf{H}}` of
    a subcarrier the streams are sent along the strongest right singular vectors,

    .. math:: \mathbf{x}_{\mathrm{precoded}} =
        [\mathbf{v}_1, \dots, \mathbf{v}_L]\,\mathbf{P}^{1/2}\,\mathbf{x},

    columns of unit norm with ``power="uniform"``; "waterfilling" divides the power L of a
    subcarrier for the largest rate, see :func:`~neumatc_mimo.tensorflow.power.waterfilling`. The
    phase of a vector is fixed by the vector itself, and the strongest comes first on each
    subcarrier, so that :class:`SVDCombiner` meets the same ones.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used, with one receiver for each transmitter
    :param solver: :class:`~neumatc_mimo.tensorflow.ScenarioModel` or ``Exact()``
    :param return_effective_channel: Indicates if the effective channel after precoding should be
        returned. Defaults to `False`.
    :param power: Power of the streams: "uniform", one each, or "waterfilling", which needs the
        noise power. The :class:`SVDCombiner` must have the same
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param ranks: Streams that each receiver gets, at most those of ``stream_management``, of which
        the first ones are sent; None for all
    :param settings: ``certify`` and the other settings of all blocks, see
        :class:`~neumatc_mimo.foundation.block_settings.ProofSettings`. Where the channel varies
        over OFDM symbols all is computed exactly.

    :input x: [batch_size, num_tx, num_streams, num_ofdm_symbols, fft_size], `tf.complex`.
        Resource grids to be precoded.
    :input h: [batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_ofdm_symbols, fft_size],
        `tf.complex`. Downlink channel.
    :input links: `None` (default) | [batch_size] | [batch_size, num_tx], `int`. Indices of the
        links, -1 for unknown. If `None`, the solver recognises links from ``h``.
    :input no: `None` (default) | [batch_size, num_rx, num_rx_ant] (or only the first n dims),
        `float`. Noise power at the receivers, as the combiner gets it; water-filling uses the mean
        over the antennas of a receiver. It has no effect on uniform powers.

    :output x_precoded: [batch_size, num_tx, num_tx_ant, num_ofdm_symbols, fft_size], `tf.complex`.
        Precoded resource grids.
    :output h_eff: [batch_size, num_rx, num_rx_ant, num_tx, num_streams, num_ofdm_symbols,
        num_effective_subcarriers], `tf.complex`. Only returned if
        ``return_effective_channel=True``. The effective channel after precoding.
    """

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        return_effective_channel: bool = False,
        power: Literal["uniform", "waterfilling"] = "uniform",
        precision: str | None = None,
        *,
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
        self._return_effective_channel = return_effective_channel
        self._receiver_of, _ = partners(stream_management)
        self._allocate = find_allocation(power)
        self._ranks = Ranks(stream_management, ranks)

    def call(
        self, x: tf.Tensor, h: tf.Tensor, links: Any = None, no: Any = None
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        """Precode the resource grids ``x``; inputs and outputs as in the class's description."""
        x, h = as_complex("x", x, self.cdtype), as_complex("h", h, self.cdtype)
        num_symbols, fft_size = self._check(x, h)
        links = self._check_links(links, self._num_tx)
        if self._allocate is not None and no is None:
            raise ValueError('no is missing, power="waterfilling" needs the noise power.')
        noise = first_dimensions(0.0 if no is None else no, self.rdtype)
        own_symbols = h.shape[-2]

        def core(
            ask: Ask, x: tf.Tensor, h: tf.Tensor, noise: tf.Tensor
        ) -> tuple[list[tf.Tensor], tf.Tensor]:
            (precoded, *seen), counts = self._precode(ask, x, h, noise, links)
            precoded = spread(precoded, {-2: num_symbols, -1: fft_size})
            return [precoded, *(spread(z, {-2: own_symbols}) for z in seen)], counts

        def first(*inputs: tf.Tensor) -> list[tf.Tensor]:
            x, h, noise = inputs
            return [x, h[..., :1, :], noise]

        outputs = self._served(core, [x, h, noise], self._shared(h, 4), first)
        return tuple(outputs) if self._return_effective_channel else outputs[0]

    def _precode(
        self,
        ask: Ask,
        x: tf.Tensor,
        h: tf.Tensor,
        noise: tf.Tensor,
        links: tf.Tensor | None,
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Precode, where h has one OFDM symbol for all, or as many as x.

        :return: precoded grids, and the effective channel, if wanted, and counts
        """
        precoded, seen, counts = [], [], counted()
        for tx, rx in enumerate(self._receiver_of):
            # [batch_size, symbols, fft_size, num_rx, num_rx_ant, num_tx_ant]
            rows = tf.transpose(h[:, :, :, tx], [0, 4, 5, 1, 2, 3])
            answer, made = ask(rows[:, :, :, rx], None, None if links is None else links[:, tx])
            counts += made
            v = answer.v
            rank = self._ranks.of(rx)
            if self._allocate is not None or rank < self._num_streams:
                own_noise = allocated_noise(noise, rx)
                amplitudes = tf.sqrt(allocated(self._allocate, answer.s, own_noise, rank))
                v *= tf.cast(amplitudes, v.dtype)[..., None, :]
            precoded.append(products(v, x[:, min(tx, x.shape[1] - 1)]))
            if self._return_effective_channel:
                rows, v = (tf.gather(z, self._effective, axis=2) for z in (rows, v))
                seen.append(tf.matmul(rows, v[:, :, :, None]))
        outputs = [tf.stack(precoded, axis=1)]
        if seen:
            # [batch_size, symbols, num_effective, num_rx, num_rx_ant, num_tx, num_streams]
            outputs.append(tf.transpose(tf.stack(seen, axis=5), [0, 3, 4, 5, 6, 1, 2]))
        return outputs, counts

    def _check(self, x: tf.Tensor, h: tf.Tensor) -> tuple[int, int]:
        """Numbers of OFDM symbols and subcarriers."""
        check_shape("h", h, (self._num_rx, None, self._num_tx, None, None, None))
        one_for_all = len(x.shape) == 5 and x.shape[1] == 1
        num_tx = 1 if one_for_all else self._num_tx
        check_shape("x", x, (num_tx, self._num_streams, None, None))
        check_streams(self._num_streams, h.shape[2], h.shape[4])
        if self._return_effective_channel and h.shape[-1] != self._fft_size:
            raise ValueError(
                f"h has the shape {h.shape.as_list()}: the effective channel needs all "
                f"{self._fft_size} subcarriers of the grid."
            )
        return (
            joint_size("OFDM symbols", x=(x, -2), h=(h, -2)),
            joint_size("subcarriers", x=(x, -1), h=(h, -1)),
        )
