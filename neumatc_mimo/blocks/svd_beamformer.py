"""Beamforming along the strongest right singular vectors of one user's channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Unpack

from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.checks import check_antennas, partners
from neumatc_mimo.blocks.fitting import joint_sizes
from neumatc_mimo.blocks.matrix_precoder import ChannelKnowledge, MatrixPrecoder
from neumatc_mimo.blocks.noise import receiver_noise
from neumatc_mimo.blocks.power import allocated, allocated_noise, find_allocation
from neumatc_mimo.blocks.ranks import Beams
from neumatc_mimo.blocks.symbols import Symbols, members
from neumatc_mimo.foundation.block_settings import BlockKeywords
from neumatc_mimo.kernels.lanes import Precoded
from neumatc_mimo.operations.svd import SVD, Triplets
from neumatc_mimo.solvers.base import Solver


class SVDBeamformer(MatrixPrecoder):
    r"""SVD beamforming for multi-antenna users, one for each transmitter.

    With the downlink channel :math:`\mathbf{H} = \mathbf{U}\mathbf{S}\mathbf{V}^{\mathsf{H}}` of
    a subcarrier the streams are sent along the strongest right singular vectors,

    .. math:: \mathbf{x}_{\mathrm{precoded}} = [\mathbf{v}_1, \dots, \mathbf{v}_L]\,\mathbf{x},

    columns of unit norm, or, with ``power="waterfilling"``, along
    :math:`[\mathbf{v}_1, \dots, \mathbf{v}_L]\,\mathbf{P}^{1/2}` with

    .. math:: p_k = \Bigl(\mu - \frac{\sigma^2}{s_k^2}\Bigr)^+, \qquad \sum_k p_k = L,

    the powers of the largest rate (Telatar, 1999; see
    :func:`~neumatc_mimo.blocks.power.waterfilling`). They are divided among the streams of each
    subcarrier. So every subcarrier has the power L, as with uniform powers and with all other
    precoders here and in Sionna. (Water-filling over streams and subcarriers together gains little
    more if the noise is low, and its spectrum is not flat.) Streams follow the singular vectors
    along the frequency. At the centre of the band they are the strongest ones, in this order, and
    from there they are continuous. With :class:`SVDCombiner` and the same ``solver`` at the
    receiver, the streams do not interfere.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used, with one receiver for each transmitter
    :param solver: ScenarioModel or any other solver, such as ``Exact()``
    :param return_effective_channel: Indicates if the effective channel after precoding should be
        returned. Defaults to `False`.
    :param power: Power of the streams: "uniform", one each, or "waterfilling", which needs the
        noise power. The :class:`SVDCombiner` must have the same
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param device: Device for computation.
        If `None`, :attr:`~sionna.phy.config.Config.device` is used.
    :param ranks: Number of streams that each receiver gets, at most as many as in
        ``stream_management``. The first ones are sent. `None`: all
    :param settings: ``certify`` and the other settings of all blocks, see
        :class:`~neumatc_mimo.foundation.block_settings.BlockSettings`

    :input x: [batch_size, num_tx, num_streams, num_ofdm_symbols, fft_size], `torch.complex`.
        Resource grids to be precoded.
    :input h: [batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_ofdm_symbols, fft_size],
        `torch.complex`. Downlink channel.
    :input links: `None` (default) | [batch_size] | [batch_size, num_tx], `int`. Indices of the
        links, -1 for unknown. If `None`, the solver recognises links from ``h``.
    :input time: `None` (default) | `float`. Seconds from the start of the burst to the start of the
        slot, for models of moving users.
    :input no: `None` (default) | [batch_size, num_rx, num_rx_ant] (or only the first n dims),
        `float`. Noise power at the receivers, as the combiner gets it; water-filling uses the mean
        over the antennas of a receiver. It has no effect on uniform powers.

    :output x_precoded: [batch_size, num_tx, num_tx_ant, num_ofdm_symbols, fft_size],
        `torch.complex`. Precoded resource grids.
    :output h_eff: [batch_size, num_rx, num_rx_ant, num_tx, num_streams, num_ofdm_symbols,
        num_effective_subcarriers], `torch.complex`. Only returned if
        ``return_effective_channel=True``. The effective channel after precoding.

    .. rubric:: Examples

    .. code-block:: python

        import numpy as np
        import torch
        from sionna.phy.mimo import StreamManagement
        from sionna.phy.ofdm import ResourceGrid

        from neumatc_mimo.blocks import SVDBeamformer
        from neumatc_mimo.solvers.exact import Exact

        rg = ResourceGrid(num_ofdm_symbols=14, fft_size=64, subcarrier_spacing=30e3,
                          num_tx=1, num_streams_per_tx=2)
        beamformer = SVDBeamformer(rg, StreamManagement(np.ones([1, 1]), 2), Exact())
        x = torch.randn(8, 1, 2, 14, 64, dtype=torch.complex64)
        h = torch.randn(8, 1, 4, 1, 16, 14, 64, dtype=torch.complex64)
        print(beamformer(x, h).shape)
        # torch.Size([8, 1, 16, 14, 64])
    """

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        return_effective_channel: bool = False,
        power: Literal["uniform", "waterfilling"] = "uniform",
        precision: str | None = None,
        device: str | None = None,
        *,
        ranks: Sequence[int] | None = None,
        **settings: Unpack[BlockKeywords],
    ) -> None:
        super().__init__(
            resource_grid,
            stream_management,
            solver,
            return_effective_channel,
            precision,
            device,
            **settings,
        )
        self._beams = Beams(stream_management, ranks)
        self._streams = self._beams
        self._allocate = find_allocation(power)
        self._receiver_of, _ = partners(stream_management)
        self._operation = SVD(self._num_streams_per_tx, unused=("u",))

    def call(
        self,
        x: Tensor,
        h: Tensor,
        links: Tensor | None = None,
        no: float | Tensor | None = None,
        time: float | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Precode the resource grids ``x``; inputs and outputs as in the class's description."""
        x, h = self._checked(x, h)
        noise = self._power_noise(no, (joint_sizes(x=x, h=h).items, *h.shape[1:3]))
        return self._precoded(x, h, noise=noise, links=links, time=time)

    def _power_noise(self, no: float | Tensor | None, shape: Sequence[int]) -> Tensor | None:
        """The noise power that the powers of the streams follow; None where they follow none.

        :param shape: [batch_size, num_rx, num_rx_ant]
        """
        if self._allocate is None:
            return None
        if no is None:
            raise ValueError('no is missing, power="waterfilling" needs the noise power.')
        return receiver_noise(no, shape, self.dtype, self.device)

    def _amplitudes(self, answer: Triplets, inputs: ChannelKnowledge, tx: int) -> Tensor | None:
        if self._allocate is None or inputs.noise is None:
            return None
        rx = self._receiver_of[tx]
        noise, rank = allocated_noise(inputs.noise, rx), self._beams.of(rx)
        return allocated(self._allocate, answer.s, noise, rank).sqrt()

    def _emitter(
        self, out: Tensor, x: Tensor, symbols: Symbols, effective: Tensor | None
    ) -> Precoded | None:
        if self._allocate is not None:
            return None
        return Precoded(x, out, members(symbols), effective)

    def _factors(self, answer: Triplets, x: Tensor) -> tuple[Any, Tensor]:
        return answer.right, answer.before(x)

    def _matrix(self, answer: Triplets) -> Tensor:
        return answer.v

    def _check_streams(self, h: Tensor) -> None:
        check_antennas(self._num_streams_per_tx, h.shape[2], "the receiver")
