"""Linear minimum-mean-square-error equalization."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Unpack

import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.coloured_noise import coloured_filters
from neumatc_mimo.blocks.equalizer import Equalizer, EqualizerInputs
from neumatc_mimo.blocks.receiver import ReceiveFilter
from neumatc_mimo.blocks.registry import register_equalizer
from neumatc_mimo.blocks.symbols import Symbols, members
from neumatc_mimo.blocks.tiles import take
from neumatc_mimo.foundation.block_settings import BlockKeywords
from neumatc_mimo.kernels.applied import Applied
from neumatc_mimo.kernels.lanes import Emitter, Received
from neumatc_mimo.operations.pseudo_inverse import Filter
from neumatc_mimo.solvers.base import Channels, Counts, Solver, warn_of_lost
from neumatc_mimo.solvers.exact import Exact
from neumatc_mimo.tensors.differentiated import is_differentiated
from neumatc_mimo.tensors.tracing import is_traced


@register_equalizer(name="lmmse")
class MMSEEqualizer(Equalizer):
    r"""Linear MMSE equalization for OFDM MIMO transmissions.

    A drop-in for :class:`~sionna.phy.ofdm.LMMSEEqualizer` with the same outputs. For the uplink
    channel :math:`\mathbf{G}` [num_rx_ant, K] of a receiver the matrix of the solver is
    :math:`\mathbf{A} = \mathbf{G}^{\mathsf{T}}`, the downlink channel. With
    :math:`\mathbf{X} = (\mathbf{A}\mathbf{A}^{\mathsf{H}} + \sigma^2\mathbf{I})^{-1}`,
    :math:`\mathbf{W} = \mathbf{A}^{\mathsf{H}}\mathbf{X}` and
    :math:`d_k = 1 - \sigma^2 X_{kk}`,

    .. math::
        \hat{x}_k = (\mathbf{W}^{\mathsf{T}}\mathbf{y})_k / d_k, \qquad
        \sigma^2_{\mathrm{eff},k} = \sigma^2 X_{kk} / d_k .

    If the error variance is the same for all antennas and subcarriers, it is added to the noise
    power that the solver gets.

    Undesired streams (those for other receivers) are rows of :math:`\mathbf{A}`, too. The joint
    filter's columns for the desired streams are equal to the result of whitening the interference,
    because :math:`\mathbf{G}_d\mathbf{G}_d^{\mathsf{H}} + \mathbf{G}_u\mathbf{G}_u^{\mathsf{H}} =
    \mathbf{G}\mathbf{G}^{\mathsf{H}}`. A model is queried if its links contain all of a receiver's
    streams, desired and undesired, in any order. Otherwise the joint filter is computed exactly.

    If the noise is correlated between the antennas, with the covariance matrix :math:`\mathbf{S}`
    (``noise_covariance``), the filter is that of the channel :math:`\mathbf{L}^{-1}\mathbf{G}` with
    :math:`\mathbf{L}\mathbf{L}^{\mathsf{H}} = \mathbf{S} + \sigma^2\mathbf{I}`, for
    :math:`\mathbf{L}^{-1}\mathbf{y}`.

    With noise or estimation errors that differ between the antennas or subcarriers, with correlated
    noise, and with more interfering streams than antennas, the filter is computed exactly with
    every solver, and :attr:`stats` counts it. All of this is done once for all OFDM symbols with
    the same channel and the same variances, see :class:`ZFPrecoder`.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: ScenarioModel or any other solver, such as ``Exact()``
    :param whiten_interference: Accepted for compatibility; both values give the same result
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
        Covariance of noise that is correlated between antennas, in addition to ``no``. The leading
        dimensions can be broadcast to [batch_size, num_rx, num_ofdm_symbols,
        num_effective_subcarriers]. Along the subcarriers there may be fewer matrices: each is then
        used for a group of neighbouring subcarriers, such as a resource block. The matrices must be
        Hermitian and positive semidefinite, and positive definite together with ``no``.

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

        from neumatc_mimo.blocks import MMSEEqualizer
        from neumatc_mimo.solvers.exact import Exact

        rg = ResourceGrid(num_ofdm_symbols=14, fft_size=64, subcarrier_spacing=30e3,
                          num_tx=4, num_streams_per_tx=1)
        equalizer = MMSEEqualizer(rg, StreamManagement(np.ones([1, 4]), 1), Exact())
        y = torch.randn(2, 1, 16, 14, 64, dtype=torch.complex64)
        h_hat = torch.randn(2, 1, 16, 4, 1, 14, 64, dtype=torch.complex64)
        x_hat, no_eff = equalizer(y, h_hat, 0., 0.1)
        print(x_hat.shape, no_eff.shape)
        # torch.Size([2, 4, 1, 896]) torch.Size([2, 4, 1, 896])
    """

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        whiten_interference: bool = True,
        precision: str | None = None,
        device: str | None = None,
        **settings: Unpack[BlockKeywords],
    ) -> None:
        super().__init__(resource_grid, stream_management, solver, precision, device, **settings)
        del whiten_interference

    def _emitter(
        self, rx: int, y: Tensor, x_hat: Tensor, no_eff: Tensor, symbols: Symbols
    ) -> Received:
        return Received(y, x_hat, no_eff, members(symbols), self._desired[rx], self._places())

    def _filters(
        self, inputs: EqualizerInputs, rx: int, symbol: int, emitter: Emitter | None
    ) -> Iterator[ReceiveFilter]:
        """Filters of the streams that a receiver is to get in one OFDM symbol."""
        h, variance = inputs.channel(rx, symbol), inputs.noise_of(rx, symbol)
        covariance = inputs.covariance_of(rx, symbol)
        white = covariance is None and variance.shape[1] == 1
        jointly = white and h.shape[2] <= h.shape[1]
        if rx in inputs.trusted and not (jointly and self._is_known(rx, h)):
            raise ValueError(
                'trust="model" needs noise that is equal at all antennas and links of all '
                "streams, interfering ones included, or links of -1."
            )
        if not jointly:
            yield from self._coloured(rx, h, variance, covariance, emitter)
            return
        channels = self._channels(inputs, rx, symbol)
        solver = self._solver if self._is_known(rx, h) else Exact()
        for part in self._answers(self._operation, channels, self._borders(), solver, emitter):
            matrix = part.answer.w if part.applied is None else part.applied
            made = _unbiased(part.tile, part.answer, matrix, self._desired[rx])
            yield made._replace(where=part.where)

    def _coloured(
        self,
        rx: int,
        h: Tensor,
        variance: Tensor,
        covariance: Tensor | None,
        emitter: Emitter | None,
    ) -> Iterator[ReceiveFilter]:
        """Filters in noise that differs between antennas, or is correlated between them, and among
        more streams than antennas.
        """
        desired, undesired = self._desired[rx], self._undesired[rx]
        counts, lost = Counts(), 0
        looking = self._settings.certify is not None and not is_traced()
        given = (h, variance, desired, undesired, self._borders(), counts, emitter)
        for part in coloured_filters(*given, looking=looking, covariance=covariance):
            answer = part.found.answer
            made = _unbiased(part.tile, answer, answer.w, range(len(desired)))
            yield made._replace(where=part.where)
            lost += part.found.lost
        warn_of_lost(self._warned, lost, counts.exact, h.dtype)
        self._count(counts)

    def _channels(self, inputs: EqualizerInputs, rx: int, symbol: int) -> Channels:
        """What the solver is asked: the channels of all streams that a receiver gets."""
        a = inputs.channel(rx, symbol).permute(0, 3, 2, 1)
        no = inputs.noise_of(rx, symbol)[:, 0].expand(len(a), -1)
        no = no[:, 0] if no.shape[1] == 1 else no
        return self._asked(inputs, rx, symbol, a, no, products=not is_differentiated(inputs.y))

    def _is_known(self, rx: int, h: Tensor) -> bool:
        """Whether the solver may have links of all streams that a receiver gets.

        :param h: [batch_size, num_rx_ant, num_tx * num_streams, num_effective_subcarriers]
        """
        if not self._undesired[rx]:
            return True
        return self._solver.knows(self._operation, h.shape[2], h.shape[1])


def _unbiased(
    tile: slice, filters: Filter, matrix: Tensor | Applied, streams: Sequence[int]
) -> ReceiveFilter:
    """Filters with a gain of one for some of their streams, and the noise behind them.

    :param matrix: ``filters.w``, or products with it
    """
    loss = filters.loss
    factor = (1 - loss if filters.gain is None else filters.gain).reciprocal()
    no_eff = take(loss * factor, -1, streams)
    if filters.gain is not None:
        # Of a stream that does not arrive nothing is known: zero, in infinite noise.
        factor = torch.where(filters.gain > 0, factor, 0.0)
    after = partial(_only, streams, filters.scaled(factor).after)
    return ReceiveFilter(tile, matrix, after, no_eff)


def _only(streams: Sequence[int], after: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """Symbols of some streams, of all that a joint filter gives."""
    return take(after(z), -1, streams)
