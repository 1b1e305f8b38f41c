"""Effective channel after block-diagonalising precoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.bd_precoder import BDPrecoder
from neumatc_mimo.blocks.matrix_precoded_channel import MatrixPrecodedChannel
from neumatc_mimo.blocks.registry import register_channel
from neumatc_mimo.foundation.block_settings import BlockKeywords
from neumatc_mimo.operations.block_diagonalization import BlockDiagonalization
from neumatc_mimo.solvers.base import Solver


@register_channel(name=BlockDiagonalization.name)
class BDPrecodedChannel(MatrixPrecodedChannel):
    r"""Effective channel after block diagonalisation:
    :math:`\widetilde{\mathbf{H}}_{i,j} = \mathbf{H}_{i,j}\mathbf{G}_{j}
    \mathrm{diag}(\sqrt{p_{j,1}}, \sqrt{p_{j,2}}, \dots)` for the precoder
    :math:`\mathbf{G}_j` of :class:`BDPrecoder`.

    Sionna has no such block. It follows the conventions of
    :class:`~sionna.phy.ofdm.PrecodedChannel`.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: ScenarioModel or any other solver, such as ``Exact()``
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param device: Device for computation.
        If `None`, :attr:`~sionna.phy.config.Config.device` is used.
    :param ranks: Number of streams that each receiver gets, at most as many as in
        ``stream_management``. The first ones are sent. `None`: all
    :param settings: ``certify`` and the other settings of all blocks, see
        :class:`~neumatc_mimo.foundation.block_settings.BlockSettings`

    :input h: [batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_ofdm_symbols, fft_size],
        `torch.complex`. Actual channel realizations.
    :input tx_power: [batch_size, num_tx, num_streams_per_tx, num_ofdm_symbols, fft_size] (or only
        the first n dims), `torch.float`. Power of each stream for each transmitter.
    :input h_hat: `None` (default) | as ``h``. Channel knowledge based on which the precoding is
        computed; ``h`` if `None`.
    :input links: `None` (default) | [batch_size] | [batch_size, num_tx], `int`. Indices of the
        links, -1 for unknown. If `None`, the solver recognises links from the channel knowledge.
    :input time: `None` (default) | `float`. Seconds from the start of the burst to the start of the
        slot, for models of moving users.

    :output h_eff: [batch_size, num_rx, num_rx_ant, num_tx, num_streams_per_tx, num_ofdm_symbols,
        num_effective_subcarriers], `torch.complex`. The effective channel after precoding, without
        nulled subcarriers.

    .. rubric:: Examples

    .. code-block:: python

        import numpy as np
        import torch
        from sionna.phy.mimo import StreamManagement
        from sionna.phy.ofdm import LMMSEPostEqualizationSINR, ResourceGrid

        from neumatc_mimo.blocks import BDPrecodedChannel
        from neumatc_mimo.solvers.exact import Exact

        rg = ResourceGrid(num_ofdm_symbols=14, fft_size=64, subcarrier_spacing=30e3,
                          num_tx=1, num_streams_per_tx=4)
        sm = StreamManagement(np.ones([2, 1]), 4)
        h = torch.randn(2, 2, 2, 1, 16, 14, 64, dtype=torch.complex64)
        h_eff = BDPrecodedChannel(rg, sm, Exact())(h, torch.ones(2, 1, 4))
        sinr = LMMSEPostEqualizationSINR(rg, sm)(h_eff, torch.tensor(0.1))
        print(h_eff.shape, sinr.shape)
        # torch.Size([2, 2, 2, 1, 4, 14, 64]) torch.Size([2, 14, 64, 2, 2])
    """

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        precision: str | None = None,
        device: str | None = None,
        *,
        ranks: Sequence[int] | None = None,
        **settings: Unpack[BlockKeywords],
    ) -> None:
        pair = (resource_grid, stream_management)
        super().__init__(
            BDPrecoder(*pair, solver, False, precision, device, ranks=ranks, **settings)
        )

    def call(
        self,
        h: Tensor,
        tx_power: Tensor,
        h_hat: Tensor | None = None,
        links: Tensor | None = None,
        time: float | None = None,
    ) -> Tensor:
        """Effective channel; inputs and outputs as in the class's description."""
        h, h_hat, _ = self._channels(h, h_hat)
        return self._effective(h, tx_power, h_hat, links=links, time=time)
