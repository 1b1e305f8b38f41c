"""Matched filters."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from neumatc_mimo.blocks.equalizer import Equalizer, EqualizerInputs
from neumatc_mimo.blocks.receiver import ReceiveFilter
from neumatc_mimo.blocks.registry import register_equalizer
from neumatc_mimo.kernels.lanes import Emitter


@register_equalizer(name="mf")
class MFEqualizer(Equalizer):
    r"""Matched-filter equalization for OFDM MIMO transmissions.

    A drop-in for :class:`~sionna.phy.ofdm.MFEqualizer` with the same outputs. For the channel
    :math:`\mathbf{H}` [num_rx_ant, K] of a receiver's desired streams, and the covariance
    :math:`\mathbf{S}` of noise, estimation errors and undesired streams,

    .. math::
        \hat{\mathbf{x}} = \mathbf{G}\mathbf{y}, \qquad
        \mathbf{G} = \mathrm{diag}(\mathbf{H}^{\mathsf{H}}\mathbf{H})^{-1}
            \mathbf{H}^{\mathsf{H}}, \qquad
        \sigma^2_{\mathrm{eff},k} = \sum_{j \ne k} |[\mathbf{G}\mathbf{H}]_{kj}|^2
            + [\mathbf{G}\mathbf{S}\mathbf{G}^{\mathsf{H}}]_{kk}

    (Björnson, Hoydis and Sanguinetti, Massive MIMO Networks, 2017, Eq. (4.11)). G is computed once
    for all OFDM symbols with the same channel and the same variances.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: ScenarioModel or any other solver, such as ``Exact()``. The matrices of this
        block are cheap, so they are always computed exactly: from the given channel, or from the
        links' own channels with ``trust="model"``
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param device: Device for computation.
        If `None`, :attr:`~sionna.phy.config.Config.device` is used.
    :param settings: ``certify`` and the other settings of all blocks, see
        :class:`~neumatc_mimo.foundation.block_settings.BlockSettings`

    :input y: [batch_size, num_rx, num_rx_ant, num_ofdm_symbols, fft_size], `torch.complex`.
        Received OFDM resource grid after cyclic prefix removal and FFT.
    :input h_hat: [batch_size, num_rx, num_rx_ant, num_tx, num_streams_per_tx, num_ofdm_symbols,
        num_effective_subcarriers], `torch.complex`. Channel estimates for all streams. ``y`` or
        ``h_hat`` may have one item or symbol, which is then used for all.
    :input err_var: [Broadcastable to shape of ``h_hat``], `torch.float`. Variance of the channel
        estimation error.
    :input no: [batch_size, num_rx, num_rx_ant] (or only the first n dims), `torch.float`. Variance
        of the AWGN.
    :input links: `None` (default) | [batch_size] | [batch_size, num_rx], `int`. Indices of the
        links, -1 for unknown. If `None`, the solver recognises links from ``h_hat``.
    :input time: `None` (default) | `float`. Seconds from the start of the burst to the start of the
        slot, for models of moving users.
    :input noise_covariance: `None` (default) | [..., num_rx_ant, num_rx_ant], `torch.complex`.
        Covariance of noise that is correlated between antennas, in addition to ``no``, as for
        :class:`MMSEEqualizer`.

    :output x_hat: [batch_size, num_tx, num_streams, num_data_symbols], `torch.complex`.
        Estimated symbols.
    :output no_eff: [batch_size, num_tx, num_streams, num_data_symbols], `torch.float`.
        Effective noise variance for each estimated symbol.

    .. rubric:: Examples

    .. code-block:: python

        import numpy as np
        import torch
        from sionna.phy.mimo import StreamManagement
        from sionna.phy.ofdm import ResourceGrid

        from neumatc_mimo.blocks import MFEqualizer
        from neumatc_mimo.solvers.exact import Exact

        rg = ResourceGrid(num_ofdm_symbols=14, fft_size=64, subcarrier_spacing=30e3,
                          num_tx=4, num_streams_per_tx=1)
        sm = StreamManagement(np.ones([1, 4]), 1)
        equalizer = MFEqualizer(rg, sm, Exact())
        y = torch.randn(2, 1, 16, 14, 64, dtype=torch.complex64)
        h_hat = torch.randn(2, 1, 16, 4, 1, 14, 64, dtype=torch.complex64)
        x_hat, no_eff = equalizer(y, h_hat, 0., 0.1)
        print(x_hat.shape, no_eff.shape)
        # torch.Size([2, 4, 1, 896]) torch.Size([2, 4, 1, 896])
    """

    def _filters(
        self, inputs: EqualizerInputs, rx: int, symbol: int, emitter: Emitter | None
    ) -> Iterator[ReceiveFilter]:
        """Filters of the streams that a receiver is to get in one OFDM symbol."""
        for tile, a in self._own_channels(inputs, rx, symbol):
            # Columns of unit norm: squares of a channel of -150 dB would vanish.
            size = torch.linalg.vector_norm(torch.view_as_real(a.resolve_conj()), dim=(-2, -1))
            w = (a * size.reciprocal()[..., None]).conj().resolve_conj().mT
            gains = (a @ w) / size[..., None, :]
            leaked = torch.view_as_real(gains).square().sum(-1)
            leaked = leaked - torch.diag_embed(leaked.diagonal(dim1=-2, dim2=-1))
            behind = self._behind(inputs, rx, symbol, tile, w, of_unit_norm=True)
            noise = behind / size.square()
            yield ReceiveFilter(tile, w, partial(_over, size), leaked.sum(-2) + noise)


def _over(size: Tensor, z: Tensor) -> Tensor:
    """Symbols [..., num_streams] over the norms of their channels."""
    return z / size[:, :, None]
