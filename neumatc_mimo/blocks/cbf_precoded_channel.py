"""Effective channel after conjugate beamforming."""

from __future__ import annotations

from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.matrix_precoded_channel import MatrixPrecodedChannel
from neumatc_mimo.blocks.operation_precoder import OperationPrecoder
from neumatc_mimo.blocks.registry import register_channel
from neumatc_mimo.operations.matched_filter import MatchedFilter
from neumatc_mimo.solvers.exact import Exact


@register_channel(name=MatchedFilter.name)
class CBFPrecodedChannel(MatrixPrecodedChannel):
    r"""Effective channel after conjugate beamforming (CBF), the matched filter.

    A drop-in for :class:`~sionna.phy.ofdm.CBFPrecodedChannel` with the same call and output,
    :math:`\widetilde{\mathbf{H}}_{i,j} = \mathbf{H}_{i,j}\mathbf{G}_{j}
    \mathrm{diag}(\sqrt{p_{j,1}}, \sqrt{p_{j,2}}, \dots)` with :math:`\mathbf{g}_k =
    \mathbf{h}_k^{\mathsf{H}} / \lVert\mathbf{h}_k\rVert_2` for the rows of the channel knowledge,
    once for all OFDM symbols of the same channel. No solver is needed, because the matched filter
    takes less time than a query.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param device: Device for computation.
        If `None`, :attr:`~sionna.phy.config.Config.device` is used.
    :param time_varying: Whether channels differ between OFDM symbols. `None`: the block finds out

    :input h: [batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_ofdm_symbols, fft_size],
        `torch.complex`. Actual channel realizations.
    :input tx_power: [batch_size, num_tx, num_streams_per_tx, num_ofdm_symbols, fft_size] (or only
        the first n dims), `torch.float`. Power of each stream for each transmitter.
    :input h_hat: `None` (default) | as ``h``. Channel knowledge based on which the precoding is
        computed; ``h`` if `None`.

    :output h_eff: [batch_size, num_rx, num_rx_ant, num_tx, num_streams_per_tx, num_ofdm_symbols,
        num_effective_subcarriers], `torch.complex`. The effective channel after precoding, without
        nulled subcarriers.

    .. rubric:: Examples

    .. code-block:: python

        import numpy as np
        import torch
        from sionna.phy.mimo import StreamManagement
        from sionna.phy.ofdm import LMMSEPostEqualizationSINR, ResourceGrid

        from neumatc_mimo.blocks import CBFPrecodedChannel

        rg = ResourceGrid(num_ofdm_symbols=14, fft_size=64, subcarrier_spacing=30e3,
                          num_tx=1, num_streams_per_tx=4)
        sm = StreamManagement(np.ones([4, 1]), 4)
        h = torch.randn(2, 4, 1, 1, 16, 14, 64, dtype=torch.complex64)
        h_eff = CBFPrecodedChannel(rg, sm)(h, torch.ones(2, 1, 4))
        sinr = LMMSEPostEqualizationSINR(rg, sm)(h_eff, torch.tensor(0.1))
        print(h_eff.shape, sinr.shape)
        # torch.Size([2, 4, 1, 1, 4, 14, 64]) torch.Size([2, 14, 64, 4, 1])
    """

    asks_solver = False

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        precision: str | None = None,
        device: str | None = None,
        *,
        time_varying: bool | None = None,
    ) -> None:
        super().__init__(
            OperationPrecoder(
                resource_grid,
                stream_management,
                Exact(),
                MatchedFilter(),
                False,
                precision,
                device,
                certify=None,
                time_varying=time_varying,
            )
        )

    def call(self, h: Tensor, tx_power: Tensor, h_hat: Tensor | None = None) -> Tensor:
        """Effective channel; inputs and outputs as in the class's description."""
        h, h_hat, _ = self._channels(h, h_hat)
        return self._effective(h, tx_power, h_hat)

    def _check_antennas(self, h: Tensor, no: Tensor | None) -> None:
        """Any number of streams: each has a filter of its own."""
