"""Effective channel of streams that are not precoded."""

from __future__ import annotations

import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import PrecodedChannel, ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.checks import as_complex, check_shape
from neumatc_mimo.blocks.stream_power import stream_power
from neumatc_mimo.foundation.block_checks import check_type
from neumatc_mimo.foundation.display import Displayed, Facts


class EyePrecodedChannel(Displayed, PrecodedChannel):
    r"""Effective channel of streams that are not precoded, one for each transmit antenna.

    A drop-in for :class:`~sionna.phy.ofdm.EyePrecodedChannel` with the same call and output,

    .. math::
        \widetilde{\mathbf{H}}_{i,j} = \mathbf{H}_{i,j}
        \mathrm{diag}(\sqrt{p_{j,1}}, \sqrt{p_{j,2}}, \dots),

    computed as a factor of each entry, without a product with the identity.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used, with as many streams as a transmitter has
        antennas
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param device: Device for computation.
        If `None`, :attr:`~sionna.phy.config.Config.device` is used.

    :input h: [batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_ofdm_symbols, fft_size],
        `torch.complex`. Actual channel realizations.
    :input tx_power: [batch_size, num_tx, num_streams_per_tx, num_ofdm_symbols, fft_size] (or only
        the first n dims), `torch.float`. Power of each stream for each transmitter.

    :output h_eff: [batch_size, num_rx, num_rx_ant, num_tx, num_streams_per_tx, num_ofdm_symbols,
        num_effective_subcarriers], `torch.complex`. The effective channel after power
        allocation, without nulled subcarriers.

    .. rubric:: Examples

    .. code-block:: python

        import numpy as np
        import torch
        from sionna.phy.mimo import StreamManagement
        from sionna.phy.ofdm import LMMSEPostEqualizationSINR, ResourceGrid

        from neumatc_mimo.blocks import EyePrecodedChannel

        rg = ResourceGrid(num_ofdm_symbols=14, fft_size=64, subcarrier_spacing=30e3,
                          num_tx=1, num_streams_per_tx=4)
        sm = StreamManagement(np.ones([2, 1]), 4)
        h = torch.randn(2, 2, 2, 1, 4, 14, 64, dtype=torch.complex64)
        h_eff = EyePrecodedChannel(rg, sm)(h, torch.ones(2, 1, 4))
        sinr = LMMSEPostEqualizationSINR(rg, sm)(h_eff, torch.tensor(0.1))
        print(h_eff.shape, sinr.shape)
        # torch.Size([2, 2, 2, 1, 4, 14, 64]) torch.Size([2, 14, 64, 2, 2])
    """

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        precision: str | None = None,
        device: str | None = None,
    ) -> None:
        check_type("resource_grid", resource_grid, ResourceGrid)
        check_type("stream_management", stream_management, StreamManagement)
        super().__init__(resource_grid, stream_management, precision, device)
        self._num_rx = int(stream_management.num_rx)
        self._num_tx = int(stream_management.num_tx)
        self._num_streams = int(stream_management.num_streams_per_tx)
        effective = torch.as_tensor(resource_grid.effective_subcarrier_ind, dtype=torch.int64)
        self.register_buffer("_effective_ind", effective.to(self.device), persistent=False)

    def call(self, h: Tensor, tx_power: Tensor) -> Tensor:
        """Effective channel; inputs and outputs as in the class's description."""
        h = as_complex("h", h, self.cdtype)
        fft_size = int(self._resource_grid.fft_size)
        streams = (self._num_tx, self._num_streams)
        check_shape("h", h, (None, self._num_rx, None, *streams, None, fft_size))
        shape = (len(h), *streams, *h.shape[-2:])
        power = stream_power(tx_power, shape, self.dtype, self.device)
        if h.stride(-2) == 0 and power.shape[-2] == 1:
            # One symbol stands for all.
            h_eff = self._scaled(h[..., :1, :], power)
            return h_eff.expand(*h_eff.shape[:-2], h.shape[-2], -1)
        return self._scaled(h, power)

    def _scaled(self, h: Tensor, power: Tensor) -> Tensor:
        """Effective subcarriers of streams of these powers."""
        h = h.index_select(-1, self._effective_ind)
        if power.shape[-1] > 1:
            power = power.index_select(-1, self._effective_ind)
        return h * power.sqrt()[:, None, None]

    def facts(self) -> Facts:
        values = {
            "transmitters": f"{self._num_tx} of {self._num_streams} antennas",
            "receivers": f"{self._num_rx}",
            "precision": f"{self.precision} on {self.device}",
        }
        return Facts("", values)
