"""Precoding for the largest sum rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid

from neumatc_mimo.blocks.noisy_precoder import NoisyPrecoder
from neumatc_mimo.blocks.ranks import Together
from neumatc_mimo.blocks.registry import register
from neumatc_mimo.foundation.block_settings import BlockKeywords
from neumatc_mimo.operations.base import Operation
from neumatc_mimo.operations.user_wmmse import UserWMMSE
from neumatc_mimo.operations.wmmse import WMMSE
from neumatc_mimo.solvers.base import Solver


@register(name=WMMSE.name)
class WMMSEPrecoder(NoisyPrecoder):
    r"""Precoding of the users' streams for the largest sum rate, by weighted minimum mean squared
    errors.

    For every transmitter the channels to its receivers are collected in :math:`\mathbf{H}` as in
    :class:`ZFPrecoder`, and :math:`\mathbf{G}` maximises

    .. math:: \sum_k \log_2 (1 + \mathrm{SINR}_k) \quad\text{with}\quad
              \lVert\mathbf{G}\rVert_F^2 = K

    on every subcarrier, see :class:`~neumatc_mimo.operations.wmmse.WMMSE`: the total power of all
    streams is that of zero forcing, divided among them for the largest rate. Interference between
    transmitters is not taken into account. Sionna has no such block. It follows the same
    conventions as the other precoders.

    Each row of :math:`\mathbf{H}` is a separate user. With fewer streams than antennas, each
    receiver equalizes all of its antennas together, and the rate is that of these receivers, see
    :class:`~neumatc_mimo.operations.user_wmmse.UserWMMSE`; this is computed exactly with every
    solver.

    The iteration takes much longer than applying its result. So a model's query saves more time
    here than for other precoders.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: ScenarioModel or any other solver, such as ``Exact()``
    :param return_effective_channel: Indicates if the effective channel after precoding should be
        returned. Defaults to `False`.
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param device: Device for computation.
        If `None`, :attr:`~sionna.phy.config.Config.device` is used.
    :param num_iterations: Iterations at most
    :param ranks: Number of streams that each receiver gets, at most as many as in
        ``stream_management``. The first ones are sent. `None`: all
    :param settings: ``certify`` and the other settings of all blocks, see
        :class:`~neumatc_mimo.foundation.block_settings.BlockSettings`

    :input x: [batch_size, num_tx, num_streams_per_tx, num_ofdm_symbols, fft_size], `torch.complex`.
        Resource grids to be precoded.
    :input h: [batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_ofdm_symbols, fft_size],
        `torch.complex`. Channel knowledge based on which the precoding is computed.
    :input no: [batch_size] | [batch_size, num_tx, num_ofdm_symbols, fft_size] (or broadcastable),
        `float`. Noise power at a user, above zero.
    :input links: `None` (default) | [batch_size] | [batch_size, num_tx], `int`. Indices of the
        links, -1 for unknown. If `None`, the solver recognises links from ``h``.

    :output x_precoded: [batch_size, num_tx, num_tx_ant, num_ofdm_symbols, fft_size],
        `torch.complex`. Precoded resource grids.
    :output h_eff: [batch_size, num_rx, num_rx_ant, num_tx, num_streams_per_tx, num_ofdm_symbols,
        num_effective_subcarriers], `torch.complex`. Only returned if
        ``return_effective_channel=True``.

    .. rubric:: Examples

    .. code-block:: python

        import numpy as np
        import torch
        from sionna.phy.mimo import StreamManagement
        from sionna.phy.ofdm import ResourceGrid

        from neumatc_mimo.blocks import WMMSEPrecoder
        from neumatc_mimo.solvers.exact import Exact

        rg = ResourceGrid(num_ofdm_symbols=14, fft_size=64, subcarrier_spacing=30e3,
                          num_tx=1, num_streams_per_tx=4)
        precoder = WMMSEPrecoder(rg, StreamManagement(np.ones([4, 1]), 4), Exact())
        x = torch.randn(2, 1, 4, 14, 64, dtype=torch.complex64)
        h = torch.randn(2, 4, 1, 1, 16, 1, 64, dtype=torch.complex64)
        h = h.expand(-1, -1, -1, -1, -1, 14, -1)
        print(precoder(x, h, 0.1).shape)
        # torch.Size([2, 1, 16, 14, 64])
    """

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        return_effective_channel: bool = False,
        precision: str | None = None,
        device: str | None = None,
        *,
        num_iterations: int = 60,
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
        self._operation = WMMSE(num_iterations=num_iterations)
        self._together = Together(stream_management, ranks)
        self._streams = self._together
        self._num_iterations = num_iterations

    def _operation_of(self, tx: int, num_rx_ant: int) -> Operation:
        streams = self._together
        if streams.is_full(num_rx_ant):
            return self._operation
        ranks, num = streams.of_transmitter(tx), self._num_iterations
        return UserWMMSE(num_rx_ant, ranks, streams.most, num_iterations=num)
