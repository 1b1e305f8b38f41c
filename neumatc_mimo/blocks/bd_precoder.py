"""Block-diagonalising precoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.matrix_precoder import MatrixPrecoder
from neumatc_mimo.blocks.ranks import Ranks
from neumatc_mimo.blocks.registry import register
from neumatc_mimo.blocks.symbols import Symbols, members
from neumatc_mimo.foundation.block_settings import BlockKeywords
from neumatc_mimo.kernels.lanes import Precoded
from neumatc_mimo.operations.base import Operation
from neumatc_mimo.operations.block_diagonalization import BlockDiagonalization
from neumatc_mimo.solvers.base import Solver


@register(name=BlockDiagonalization.name)
class BDPrecoder(MatrixPrecoder):
    r"""Block diagonalisation: zero forcing between receivers, not between a receiver's antennas.

    For every transmitter the channels to its receivers are collected in :math:`\mathbf{H}` as in
    :class:`ZFPrecoder`, a receiver's antennas in consecutive rows :math:`\mathbf{H}_k`. Each
    receiver gets as many streams as it has antennas, or fewer, its strongest first, along

    .. math:: \mathbf{G}_k \quad\text{with}\quad \mathbf{H}_j \mathbf{G}_k = \mathbf{0}
              \quad (j \ne k), \qquad \mathbf{G}_k^{\mathsf{H}} \mathbf{G}_k = \mathbf{I},

    the right singular vectors of :math:`\mathbf{H}_k` within the null space of the other receivers'
    channels, see :class:`~neumatc_mimo.operations.block_diagonalization.BlockDiagonalization`. For
    receivers with one antenna it is zero forcing, up to phases. Sionna has no such block. It
    follows the same conventions as the other precoders.

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
    :input links: `None` (default) | [batch_size] | [batch_size, num_tx], `int`. Indices of the
        links, -1 for unknown. If `None`, the solver recognises links from ``h``.
    :input time: `None` (default) | `float`. Seconds from the start of the burst to the start of the
        slot, for models of moving users.

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

        from neumatc_mimo.blocks import BDPrecoder
        from neumatc_mimo.solvers.exact import Exact

        rg = ResourceGrid(num_ofdm_symbols=14, fft_size=64, subcarrier_spacing=30e3,
                          num_tx=1, num_streams_per_tx=4)
        precoder = BDPrecoder(rg, StreamManagement(np.ones([2, 1]), 4), Exact())
        x = torch.randn(2, 1, 4, 14, 64, dtype=torch.complex64)
        h = torch.randn(2, 2, 2, 1, 16, 1, 64, dtype=torch.complex64)
        h = h.expand(-1, -1, -1, -1, -1, 14, -1)
        print(precoder(x, h).shape)
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

    def call(
        self, x: Tensor, h: Tensor, links: Tensor | None = None, time: float | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Precode the resource grids ``x``; inputs and outputs as in the class's description."""
        x, h = self._checked(x, h)
        return self._precoded(x, h, links=links, time=time)

    def _emitter(
        self, out: Tensor, x: Tensor, symbols: Symbols, effective: Tensor | None
    ) -> Precoded:
        return Precoded(x, out, members(symbols), effective)

    def _operation_for(self, num_rx_ant: int) -> Operation:
        return BlockDiagonalization(num_rx_ant)
