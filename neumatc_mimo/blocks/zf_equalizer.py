"""Zero-forcing equalization."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from neumatc_mimo.blocks.checks import check_antennas
from neumatc_mimo.blocks.equalizer import Equalizer, EqualizerInputs
from neumatc_mimo.blocks.receiver import ReceiveFilter, as_it_is
from neumatc_mimo.blocks.registry import register_equalizer
from neumatc_mimo.blocks.symbols import Symbols, members
from neumatc_mimo.kernels.lanes import Emitter, Forced
from neumatc_mimo.tensors.differentiated import is_differentiated


@register_equalizer(name="zf")
class ZFEqualizer(Equalizer):
    r"""Zero-forcing equalization for OFDM MIMO transmissions.

    A drop-in for :class:`~sionna.phy.ofdm.ZFEqualizer` with the same outputs. For the channel
    :math:`\mathbf{H}` [num_rx_ant, K] of a receiver's desired streams, and the covariance
    :math:`\mathbf{S}` of noise, estimation errors and undesired streams,

    .. math::
        \hat{\mathbf{x}} = \mathbf{G}\mathbf{y}, \qquad
        \mathbf{G} = (\mathbf{H}^{\mathsf{H}}\mathbf{H})^{-1}\mathbf{H}^{\mathsf{H}}, \qquad
        \sigma^2_{\mathrm{eff},k} = [\mathbf{G}\mathbf{S}\mathbf{G}^{\mathsf{H}}]_{kk}

    (Björnson, Hoydis and Sanguinetti, Massive MIMO Networks, 2017, Eq. (4.10)). The matrix of the
    solver is :math:`\mathbf{A} = \mathbf{H}^{\mathsf{T}}`, the downlink channel. A model of the
    pseudo-inverse can be queried for any noise. G is computed once for all OFDM symbols with the
    same channel and the same variances.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: ScenarioModel or any other solver, such as ``Exact()``
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

    :raises ValueError: If a receiver gets more streams than it has antennas

    .. rubric:: Examples

    .. code-block:: python

        import numpy as np
        import torch
        from sionna.phy.mimo import StreamManagement
        from sionna.phy.ofdm import ResourceGrid

        from neumatc_mimo.blocks import ZFEqualizer
        from neumatc_mimo.solvers.exact import Exact

        rg = ResourceGrid(num_ofdm_symbols=14, fft_size=64, subcarrier_spacing=30e3,
                          num_tx=4, num_streams_per_tx=1)
        sm = StreamManagement(np.ones([1, 4]), 1)
        equalizer = ZFEqualizer(rg, sm, Exact())
        y = torch.randn(2, 1, 16, 14, 64, dtype=torch.complex64)
        h_hat = torch.randn(2, 1, 16, 4, 1, 14, 64, dtype=torch.complex64)
        x_hat, no_eff = equalizer(y, h_hat, 0., 0.1)
        print(x_hat.shape, no_eff.shape)
        # torch.Size([2, 4, 1, 896]) torch.Size([2, 4, 1, 896])
    """

    def _emitter(
        self, rx: int, y: Tensor, x_hat: Tensor, no_eff: Tensor, symbols: Symbols
    ) -> Forced:
        return Forced(y, x_hat, no_eff, members(symbols), self._desired[rx], self._places())

    def _filters(
        self, inputs: EqualizerInputs, rx: int, symbol: int, emitter: Emitter | None
    ) -> Iterator[ReceiveFilter]:
        """Filters of the streams that a receiver is to get in one OFDM symbol."""
        a, variance = self._wanted(inputs, rx, symbol), inputs.noise_of(rx, symbol)
        # Then what lies behind a filter is known from X alone.
        white = variance.shape[1] == 1 and not self._undesired[rx] and inputs.covariance is None
        channels = self._asked(
            inputs, rx, symbol, a, products=white and not is_differentiated(inputs.y)
        )
        noise = variance[:, 0]
        if not white:
            emitter = None
        elif isinstance(emitter, Forced):
            # Rows of the matrices are the streams wanted.
            emitter = replace(emitter, noise=noise, streams=range(a.shape[2]))
        for part in self._answers(self._operation, channels, self._borders(), emitter=emitter):
            answer = part.answer
            if white:
                here = noise if noise.shape[-1] == 1 else noise[:, part.tile]
                if part.where is not None:
                    here = noise.expand(part.where.shape)[part.where][None]
                matrix = answer.w if part.applied is None else part.applied
                no_eff = answer.column_power * here[..., None]
                yield ReceiveFilter(part.tile, matrix, answer.after, no_eff, part.where)
            else:
                w = answer.dense
                behind = self._behind(inputs, rx, symbol, part.tile, w)
                yield ReceiveFilter(part.tile, w, as_it_is, behind)

    def _checked(self, y: Tensor, h_hat: Tensor) -> tuple[Tensor, Tensor]:
        y, h_hat = super()._checked(y, h_hat)
        check_antennas(self._num_streams_per_rx, y.shape[2], "a receiver")
        return y, h_hat
