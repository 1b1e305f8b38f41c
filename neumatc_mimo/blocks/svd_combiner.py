"""Combining along the strongest left singular vectors of one user's channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Unpack

import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.checks import check_shape, partners
from neumatc_mimo.blocks.fitting import spread
from neumatc_mimo.blocks.noise import receiver_noise
from neumatc_mimo.blocks.power import allocated, allocated_noise, find_allocation
from neumatc_mimo.blocks.ranks import Beams
from neumatc_mimo.blocks.receiver import ReceiveFilter, Receiver, ReceiverInputs
from neumatc_mimo.blocks.solver_block import TileAnswer
from neumatc_mimo.blocks.symbols import Symbols, members, sharing
from neumatc_mimo.blocks.tiles import among_effective
from neumatc_mimo.foundation.block_checks import check_streams
from neumatc_mimo.foundation.block_settings import BlockKeywords
from neumatc_mimo.kernels.lanes import Combined, Emitter
from neumatc_mimo.operations.svd import SVD, Triplets
from neumatc_mimo.solvers.base import Answers, Channels, Solver
from neumatc_mimo.tensors.mapped import mapped_alike


@dataclass(frozen=True, kw_only=True)
class CombinerInputs(ReceiverInputs):
    """What the combiner is called with.

    :param h: [batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_ofdm_symbols, fft_size]
    :param noise: [batch_size or 1, num_rx or 1, num_rx_ant or 1]
    """

    h: Tensor
    noise: Tensor

    def channel(self, rx: int, tx: int, symbol: int) -> Tensor:
        """[batch_size, fft_size, num_rx_ant, num_tx_ant]"""
        return self.h[:, rx, :, tx, :, symbol].permute(0, 3, 1, 2)

    def noise_at(self, rx: int) -> Tensor:
        """[batch_size or 1, num_rx_ant or 1]"""
        return self.noise[:, min(rx, self.noise.shape[1] - 1)]

    def noise_of(self, rx: int) -> Tensor:
        """[batch_size or 1, 1, num_rx_ant or 1, 1]"""
        return self.noise_at(rx)[:, None, :, None]


class SVDCombiner(Receiver):
    r"""Combining of the streams that :class:`SVDBeamformer` sent.

    With the downlink channel :math:`\mathbf{H} = \mathbf{U}\mathbf{S}\mathbf{V}^{\mathsf{H}}`

    .. math::
        \hat{\mathbf{x}} = \mathbf{S}^{-1}\mathbf{U}^{\mathsf{H}}\mathbf{y}, \qquad
        \sigma^2_{\mathrm{eff},k} = \sum_i |u_{ik}|^2 \sigma_i^2 / s_k^2
            + \sum_j |e_{kj}|^2, \qquad
        \mathbf{E} = \mathbf{S}^{-1}\mathbf{U}^{\mathsf{H}}\mathbf{H}\mathbf{V} - \mathbf{I}.

    :math:`\mathbf{E}` is the leakage between streams of unit power. It is computed with ``h``. So
    the error of an inexact result counts as noise. For an exact result it is zero.

    For streams with the powers :math:`p_k` (``power="waterfilling"``), the estimates are
    :math:`\mathbf{P}^{-1/2}\mathbf{S}^{-1}\mathbf{U}^{\mathsf{H}}\mathbf{y}`,

    .. math:: \sigma^2_{\mathrm{eff},k} = \frac{1}{p_k} \Bigl(\sum_i |u_{ik}|^2 \sigma_i^2 / s_k^2
            + \sum_j |e_{kj}|^2 p_j\Bigr).

    With several transmitters, the streams of the other transmitters also count as noise. They are
    sent along the right singular vectors of their own links: :math:`\mathbf{E}` has columns
    :math:`\mathbf{S}^{-1}\mathbf{U}^{\mathsf{H}}\mathbf{H}_{i}\mathbf{V}_{i}` for the channel
    :math:`\mathbf{H}_{i}` from each of them.

    The powers are computed from singular values and noise as in the beamformer. A stream without
    power on a subcarrier has :math:`\hat{x}_k = 0` and an infinite effective noise variance there:
    a demapper's log-likelihood ratios are zero.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used, with one receiver for each transmitter
    :param solver: The solver of the beamformer
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param device: Device for computation.
        If `None`, :attr:`~sionna.phy.config.Config.device` is used.
    :param power: Power of the streams as in the beamformer: "uniform" or "waterfilling"
    :param ranks: Streams of each receiver as in the beamformer
    :param settings: ``certify`` and the other settings of all blocks, see
        :class:`~neumatc_mimo.foundation.block_settings.BlockSettings`

    :input y: [batch_size, num_rx, num_rx_ant, num_ofdm_symbols, fft_size], `torch.complex`.
        Received OFDM resource grid after cyclic prefix removal and FFT.
    :input h: [batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_ofdm_symbols, fft_size],
        `torch.complex`. The full downlink channel, without precoding, on all subcarriers.
    :input no: [batch_size, num_rx, num_rx_ant] (or only the first n dims), `torch.float`. Variance
        of the AWGN.
    :input links: `None` (default) | [batch_size] | [batch_size, num_rx], `int`. Indices of the
        links, -1 for unknown. If `None`, the solver recognises links from ``h``.
    :input time: `None` (default) | `float`. Seconds from the start of the burst to the start of the
        slot, for models of moving users.

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

        from neumatc_mimo.blocks import SVDCombiner
        from neumatc_mimo.solvers.exact import Exact

        rg = ResourceGrid(num_ofdm_symbols=14, fft_size=64, subcarrier_spacing=30e3,
                          num_tx=1, num_streams_per_tx=2)
        combiner = SVDCombiner(rg, StreamManagement(np.ones([1, 1]), 2), Exact())
        y = torch.randn(8, 1, 4, 14, 64, dtype=torch.complex64)
        h = torch.randn(8, 1, 4, 1, 16, 14, 64, dtype=torch.complex64)
        x_hat, no_eff = combiner(y, h, 0.1)
        print(x_hat.shape, no_eff.shape)
        # torch.Size([8, 1, 2, 896]) torch.Size([8, 1, 2, 896])
    """

    _inputs = CombinerInputs

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        precision: str | None = None,
        device: str | None = None,
        *,
        power: Literal["uniform", "waterfilling"] = "uniform",
        ranks: Sequence[int] | None = None,
        **settings: Unpack[BlockKeywords],
    ) -> None:
        super().__init__(resource_grid, stream_management, solver, precision, device, **settings)
        _, self._transmitter_of = partners(stream_management)
        self._allocate = find_allocation(power)
        self._beams = Beams(stream_management, ranks)
        # The right singular vectors tell the leakage, which a certified link has once for all.
        self._both = SVD(self._num_streams_per_tx)
        self._operation = self._both
        if self._settings.certify == "link":
            self._operation = SVD(self._num_streams_per_tx, unused=("v",))

    def call(
        self,
        y: Tensor,
        h: Tensor,
        no: float | Tensor,
        links: Tensor | None = None,
        time: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Combine ``y``; inputs and outputs as in the class's description."""
        y, h = self._checked(y, h)
        noise = receiver_noise(no, y.shape[:3], self.dtype, self.device)
        y = mapped_alike(y, h, noise)
        items, links = self._items(y, h, noise, links)
        inputs = CombinerInputs(y=y, h=spread(h, items), noise=noise, links=links, time=time)
        result: tuple[Tensor, Tensor] = self._served(inputs)
        return result

    def _results(self, inputs: CombinerInputs) -> tuple[Tensor, Tensor]:
        """Combine where the links of some receivers are trusted."""
        groups = sharing(
            inputs.h,
            None,
            self._settings.time_varying,
            # What other transmitters send is seen through the channel given.
            trusted=inputs.trusted if self._num_rx == 1 else frozenset(),
            time=inputs.time,
        )
        return self._receive(inputs.y, groups, partial(self._filters, inputs))

    def _emitter(
        self, rx: int, y: Tensor, x_hat: Tensor, no_eff: Tensor, symbols: Symbols
    ) -> Combined | None:
        # Streams of other transmitters, and those of powers of their own, are PyTorch's.
        full = self._beams.is_full(y.shape[1])
        if self._num_rx > 1 or self._allocate is not None or not full:
            return None
        streams = range(x_hat.shape[1])
        return Combined(y, x_hat, no_eff, members(symbols), streams, self._places())

    def _filters(
        self, inputs: CombinerInputs, rx: int, symbol: int, emitter: Emitter | None
    ) -> Iterator[ReceiveFilter]:
        """Filters of a receiver in one OFDM symbol."""
        beams = _Beams(self._both, partial(self._sending, inputs, symbol))
        channels = self._channels(inputs, rx, symbol)
        borders = [stretch.grid for stretch in self._stretches]
        if isinstance(emitter, Combined):
            emitter = replace(emitter, noise=inputs.noise_at(rx))
        for part in self._answers(self._operation, channels, borders, emitter=emitter):
            if part.where is None:
                yield self._filter(inputs, rx, symbol, part, beams)
            else:
                yield self._single_filters(part, part.where, inputs.noise_at(rx))

    def _channels(self, inputs: CombinerInputs, rx: int, symbol: int) -> Channels:
        """The channel between a receiver and its transmitter."""
        return Channels(
            inputs.channel(rx, self._transmitter_of[rx], symbol),
            self._frequencies,
            links=inputs.links_of(rx),
            trusted=rx in inputs.trusted,
            time=self._moment(inputs.time, symbol),
        )

    def _sending(self, inputs: CombinerInputs, symbol: int, rx: int) -> Answers:
        """The answers that tell what is sent to a receiver."""
        settings, channels = self._settings, self._channels(inputs, rx, symbol)
        start = self._able(self._solver, channels).start
        return start(self._both, channels, settings.certify, settings.tolerance)

    def _filter(
        self, inputs: CombinerInputs, rx: int, symbol: int, part: TileAnswer, beams: _Beams
    ) -> ReceiveFilter:
        """The filter of a tile; what disturbs are noise, leakage and the streams to others."""
        tile, answer, noise = part.tile, part.answer, inputs.noise
        # A model serves combiners of other numbers of streams, too.
        name = f"leakage of {answer.s.shape[-1]} streams"
        leakage = part.keep(name, partial(_leakage, part, rx, beams))
        powers = self._powers(answer, noise, rx)
        no_eff = _received_noise(answer, inputs.noise_of(rx)) + _weighed(leakage, powers)
        for at in range(self._num_rx):
            if at == rx:
                continue
            sent = beams.to(at, tile)
            a = inputs.channel(rx, self._transmitter_of[at], symbol)[:, tile]
            gains = _gains(a, sent, answer).abs().square()
            no_eff += _weighed(gains, self._powers(sent, noise, at))
        after = answer.after
        if powers is not None:
            no_eff = torch.where(powers > 0, no_eff / powers, torch.inf)
            after = _rescaled(after, powers)
        effective = among_effective(tile, self._stretches)
        return ReceiveFilter(effective, answer.receiving, after, no_eff)

    def _single_filters(self, part: TileAnswer, where: Tensor, noise: Tensor) -> ReceiveFilter:
        """The filters of single subcarriers, which a kernel left.

        :param where: [num_items, fft_size] bool
        :param noise: [num_items or 1, num_rx_ant or 1]
        """
        answer, (item, _) = part.answer, where.nonzero(as_tuple=True)
        leaked = _gains(part.given[where][None], answer, answer)
        leaked.diagonal(dim1=-2, dim2=-1).sub_(1)
        behind = _received_noise(answer, noise.expand(len(where), -1)[item][None, ..., None])
        no_eff = behind + _weighed(leaked.abs().square(), None)
        effective = where[:, self._effective_ind]
        return ReceiveFilter(part.tile, answer.receiving, answer.after, no_eff, effective)

    def _powers(self, answer: Triplets, noise: Tensor, rx: int) -> Tensor | None:
        """Powers [batch_size, tile, num_streams] of the streams to a receiver; None for ones."""
        rank = self._beams.of(rx)
        if self._allocate is None and rank == self._num_streams_per_tx:
            return None
        return allocated(self._allocate, answer.s, allocated_noise(noise, rx), rank)

    def _checked(self, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """y and h as complex tensors that fit each other."""
        y, h = self._fitting(y, h, self._fft_size, ("y", "h"))
        check_shape("h", h, (None, None, None, self._num_tx, None, None, None))
        check_streams(self._num_streams_per_tx, h.shape[2], h.shape[4])
        return y, h


class _Beams:
    """What the transmitters send along in one OFDM symbol, each found when it is first asked for.

    :param operation: Gives the right singular vectors
    :param start: Starts the answers for the transmitter of a receiver
    """

    def __init__(self, operation: SVD, start: Callable[[int], Answers]) -> None:
        self._operation, self._start = operation, start
        self._started: dict[int, Answers] = {}

    def to(self, rx: int, tile: slice) -> Triplets:
        """What is sent to a receiver."""
        if rx not in self._started:
            self._started[rx] = self._start(rx)
        return self._operation.restricted(self._started[rx].tile(tile))


def _leakage(part: TileAnswer, rx: int, beams: _Beams, a: Tensor) -> Tensor:
    """Power gains between the streams to a receiver, [..., num_streams, num_streams].

    :param a: [num_items, tile, num_rx_ant, num_tx_ant]
    """
    answer = part.answer
    sent = beams.to(rx, part.tile) if answer.right is None else answer
    gains = _gains(a, sent, answer)
    gains.diagonal(dim1=-2, dim2=-1).sub_(1)
    return gains.abs().square()


def _received_noise(answer: Triplets, noise: Tensor) -> Tensor:
    """Noise behind a combiner, [batch_size, tile, num_streams].

    :param noise: [batch_size or 1, 1, num_rx_ant or 1, 1]
    """
    assert answer.left is not None
    received = (torch.view_as_real(answer.left).square().sum(-1) * noise).sum(-2)
    return answer.in_order(received) / answer.s.square()


def _gains(a: Tensor, sent: Triplets, answer: Triplets) -> Tensor:
    r""":math:`S^{-1} U^H A V` of streams sent along V, [..., num_streams, num_streams]."""
    return answer.after((a.contiguous() @ sent.v).mT @ answer.receiving).mT


def _weighed(gains: Tensor, powers: Tensor | None) -> Tensor:
    """Power of streams of these powers, or of ones, behind power gains, [..., num_streams]."""
    return (gains if powers is None else gains * powers[..., None, :]).sum(-1)


def _rescaled(after: Callable[[Tensor], Tensor], powers: Tensor) -> Callable[[Tensor], Tensor]:
    """``after``, and symbols of unit power from streams of these; zero from one without power."""
    factor = torch.where(powers > 0, powers.rsqrt(), 0)[..., None, :]
    return lambda z: after(z) * factor
