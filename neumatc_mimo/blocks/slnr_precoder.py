"""Precoding for the largest signal-to-leakage-and-noise ratios."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Unpack

from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid

from neumatc_mimo.blocks.noisy_precoder import NoisyPrecoder
from neumatc_mimo.blocks.ranks import Ranks
from neumatc_mimo.blocks.registry import register
from neumatc_mimo.foundation.block_settings import BlockKeywords
from neumatc_mimo.operations.base import Operation
from neumatc_mimo.operations.slnr import SLNR
from neumatc_mimo.solvers.base import Solver


@register(name=SLNR.name)
class SLNRPrecoder(NoisyPrecoder):
    r"""Precoding of users with several antennas for the largest signal-to-leakage-and-noise ratios.

    For every transmitter the channels to its receivers are collected in :math:`\mathbf{H}` as in
    :class:`ZFPrecoder`, a receiver's antennas in consecutive rows :math:`\mathbf{H}_k`. Each
    receiver gets as many streams as it has antennas, or fewer, its strongest first, along the
    directions that maximise

    .. math:: \mathrm{SLNR} = \frac{\lVert \mathbf{H}_k \mathbf{g} \rVert^2}
              {\sum_{j \ne k} \lVert \mathbf{H}_j \mathbf{g} \rVert^2 + \sigma^2} \quad
              \text{with}\quad \lVert \mathbf{g} \rVert = 1,

    see :class:`~neumatc_mimo.operations.slnr.SLNR`. For receivers with one antenna these are the
    directions of regularised zero forcing. Sionna has no such block. It follows the same
    conventions as the other precoders.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: ScenarioModel or any other solver, such as ``Exact()``
    :param return_effective_channel: Indicates if the effective channel after precoding should be
        returned. Defaults to `False`.
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param device: Device for computation.
        If `None`, :attr:`~sionna.phy.config.Config.device` is used.
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

        from neumatc_mimo.blocks import SLNRPrecoder
        from neumatc_mimo.solvers.exact import Exact

        rg = ResourceGrid(num_ofdm_symbols=14, fft_size=64, subcarrier_spacing=30e3,
                          num_tx=1, num_streams_per_tx=4)
        precoder = SLNRPrecoder(rg, StreamManagement(np.ones([2, 1]), 4), Exact())
        x = torch.randn(2, 1, 4, 14, 64, dtype=torch.complex64)
        h = torch.randn(2, 2, 2, 1, 16, 1, 64, dtype=torch.complex64)
        h = h.expand(-1, -1, -1, -1, -1, 14, -1)
        print(precoder(x, h, 0.1).shape)
        # torch.Size([2, 1, 16, 14, 64])
    """

    _figure: ClassVar[str] = "SLNR"

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        return_effective_channel: bool = False,
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
        self._streams = Ranks(stream_management, ranks)

    def _operation_for(self, num_rx_ant: int) -> Operation:
        return SLNR(antennas_per_user=num_rx_ant)
