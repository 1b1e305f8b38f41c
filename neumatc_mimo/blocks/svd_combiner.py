"""Combining along the strongest left singular vectors of one user's channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.common import (
    TileAnswer,
    check_complex,
    check_noise,
    check_shape,
    moved,
    partners,
)
from neumatc_mimo.blocks.power import allocated_noise, find_allocation
from neumatc_mimo.blocks.receiver import Combiner, Receiver
from neumatc_mimo.foundation.block_checks import check_streams
from neumatc_mimo.operations.base import Tolerance
from neumatc_mimo.operations.svd import SVD, Triplets
from neumatc_mimo.solvers.base import Answers, Channels, Solver


class SVDCombiner(Receiver):
    r"""Combining of the streams that :class:`SVDBeamformer` sent.

    With the downlink channel :math:`\mathbf{H} = \mathbf{U}\mathbf{S}\mathbf{V}^{\mathsf{H}}`

    .. math::
        \hat{\mathbf{x}} = \mathbf{S}^{-1}\mathbf{U}^{\mathsf{H}}\mathbf{y}, \qquad
        \sigma^2_{\mathrm{eff},k} = \sum_i |u_{ik}|^2 \sigma_i^2 / s_k^2
            + \sum_j |e_{kj}|^2, \qquad
        \mathbf{E} = \mathbf{S}^{-1}\mathbf{U}^{\mathsf{H}}\mathbf{H}\mathbf{V} - \mathbf{I}.

    :math:`\mathbf{E}` is the leakage between streams of unit power. It is measured with ``h``, so
    an inexact answer of the solver counts as noise; it vanishes for an exact one.

    Streams of the powers :math:`p_k` (``power="waterfilling"``) come with
    :math:`\mathbf{P}^{-1/2}\mathbf{S}^{-1}\mathbf{U}^{\mathsf{H}}\mathbf{y}`,

    .. math:: \sigma^2_{\mathrm{eff},k} = \frac{1}{p_k} \Bigl(\sum_i |u_{ik}|^2 \sigma_i^2 / s_k^2
            + \sum_j |e_{kj}|^2 p_j\Bigr).

    With several transmitters the streams of the others, which they send along the right singular
    vectors of their own links, count likewise: :math:`\mathbf{E}` has columns
    :math:`\mathbf{S}^{-1}\mathbf{U}^{\mathsf{H}}\mathbf{H}_{i}\mathbf{V}_{i}` for the channel
    :math:`\mathbf{H}_{i}` from each of them.

    The powers follow from singular values and noise here as in the beamformer. A stream without
    power on a subcarrier has :math:`\hat{x}_k = 0` and an infinite effective noise variance there:
    a demapper's log-likelihood ratios are zero.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used, of one receiver for each transmitter
    :param solver: The solver of the beamformer
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param device: Device for computation.
        If `None`, :attr:`~sionna.phy.config.Config.device` is used.
    :param power: Power of the streams as in the beamformer: "uniform" or "waterfilling"
    :param certify: "link" (recognised links carry the certificate made in training), "call" (prove
        each call) or `None` (pure query, compiles and captures)
    :param tolerance: What a certificate asks for; `None` is 40 dB and a range error of 1e-2
    :param time_varying: Whether the channel differs between OFDM symbols; `None` finds out
    :param trust: "estimate" (default): matrices of the channel that the block is given; "model": of
        the links that ``links`` names, whatever it is given, see :class:`SolverBlock`

    :input y: [batch_size, num_rx, num_rx_ant, num_ofdm_symbols, fft_size], `torch.complex`.
        Received OFDM resource grid after cyclic prefix removal and FFT.
    :input h: [batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_ofdm_symbols, fft_size],
        `torch.complex`. The full downlink channel, without precoding, on all subcarriers.
    :input no: [batch_size, num_rx, num_rx_ant] (or only the first n dims), `torch.float`. Variance
        of the AWGN.
    :input links: `None` (default) | [batch_size] | [batch_size, num_rx], `int`. Indices of the
        links, -1 for unknown. If `None`, the solver recognises links from ``h``.
    :input time: `None` (default) | `float`. Seconds from a burst's begin to that of the slot, for
        models of moving users.

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

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        precision: str | None = None,
        device: str | None = None,
        *,
        power: Literal["uniform", "waterfilling"] = "uniform",
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
        time_varying: bool | None = None,
        trust: str = "estimate",
    ) -> None:
        super().__init__(
            resource_grid,
            stream_management,
            solver,
            precision,
            device,
            certify=certify,
            tolerance=tolerance,
            time_varying=time_varying,
            trust=trust,
        )
        _, self._transmitter_of = partners(stream_management)
        self._allocate = find_allocation(power)
        # The right singular vectors tell the leakage, which a certified link has once for all.
        self._both = SVD(self._num_streams_per_tx)
        self._operation = self._both
        if certify == "link":
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
        self._check(y, h)
        noise = check_noise(no, h.shape[:3], self.dtype, self.device)
        links = self._check_links(links, h.shape[0], self._num_rx)
        result: tuple[Tensor, Tensor] = self._in_parts(
            partial(self._combine, time), links, y, h, noise
        )
        return result

    def _combine(
        self,
        time: float | None,
        trusted: frozenset[int],
        links: Tensor | None,
        y: Tensor,
        h: Tensor,
        noise: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Combine where the links of some receivers are trusted.

        :param noise: [batch_size or 1, num_rx or 1, num_rx_ant or 1]
        """
        # What other transmitters send is seen through the channel given.
        known = trusted if self._num_rx == 1 else frozenset()
        groups = self._groups(h, trusted=known, time=time)
        runs = [(grid, effective) for effective, grid in self._runs]

        def combiners(rx: int, symbol: int) -> Iterator[Combiner]:
            moment = self._moment(time, symbol)

            def channel(tx: int, at: int = rx) -> Tensor:
                return h[:, at, :, tx, :, symbol].permute(0, 3, 1, 2)

            def link(at: int) -> Tensor | None:
                return None if links is None else links[:, at]

            whole: dict[int, Answers] = {}

            def sent_to(at: int, tile: slice) -> Triplets:
                """What the transmitter of a receiver sends along."""
                if at not in whole:
                    a = channel(self._transmitter_of[at], at)
                    channels = Channels(
                        a, self._frequencies, None, link(at), trusted=at in trusted, time=moment
                    )
                    start = self._solver.start
                    whole[at] = start(self._both, channels, self._certify, self._tolerance)
                return self._both.restricted(whole[at].tile(tile))

            def leakage_at(part: TileAnswer, a: Tensor) -> Tensor:
                answer = part.answer
                sent = sent_to(rx, part.tile) if answer.right is None else answer
                gains = _gains(a, sent, answer)
                gains.diagonal(dim1=-2, dim2=-1).sub_(1)
                return gains.abs().square()

            a = channel(self._transmitter_of[rx])
            # [batch_size or 1, 1, num_rx_ant or 1, 1]
            own_noise = noise[:, min(rx, noise.shape[1] - 1), None, :, None]
            others = [at for at in range(self._num_rx) if at != rx]
            for part in self._answers(
                self._operation,
                a,
                None,
                link(rx),
                self._frequencies,
                [grid for grid, _ in runs],
                trusted=rx in trusted,
                time=moment,
            ):
                tile, answer = part.tile, part.answer
                # A model serves combiners of other numbers of streams, too.
                name = f"leakage of {answer.s.shape[-1]} streams"
                leakage = part.keep(name, make=partial(leakage_at, part))
                received = (torch.view_as_real(answer.left).square().sum(-1) * own_noise).sum(-2)
                powers = self._powers(answer, noise, rx)
                no_eff = answer.in_order(received) / answer.s.square() + _weighed(leakage, powers)
                for at in others:
                    sent = sent_to(at, tile)
                    gains = _gains(channel(self._transmitter_of[at])[:, tile], sent, answer)
                    no_eff += _weighed(gains.abs().square(), self._powers(sent, noise, at))
                after = answer.after
                if powers is not None:
                    no_eff = torch.where(powers > 0, no_eff / powers, torch.inf)
                    after = _rescaled(after, powers)
                yield Combiner(moved(tile, runs), answer.receiving, after, no_eff)

        return self._receive(y, groups, combiners)

    def _powers(self, answer: Triplets, noise: Tensor, rx: int) -> Tensor | None:
        """Powers [batch_size, tile, num_streams] of the streams to a receiver; None for ones."""
        if self._allocate is None:
            return None
        return self._allocate(answer.s, allocated_noise(noise, rx))

    def _check(self, y: Tensor, h: Tensor) -> None:
        check_complex(y=y, h=h)
        num_streams = self._num_streams_per_tx
        grid = (self._num_symbols, self._fft_size)
        check_shape("h", h, (None, self._num_rx, None, self._num_tx, None, *grid))
        check_shape("y", y, (h.shape[0], self._num_rx, h.shape[2], *grid))
        check_streams(num_streams, h.shape[2], h.shape[4])


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
