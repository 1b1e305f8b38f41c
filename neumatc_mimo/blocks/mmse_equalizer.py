"""Linear minimum-mean-square-error equalization."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.common import (
    check_complex,
    check_finite,
    check_noise,
    check_shape,
    collapse,
    split,
    take,
)
from neumatc_mimo.blocks.receiver import Combiner, Receiver
from neumatc_mimo.kernels.applied import Applied
from neumatc_mimo.operations.base import Tolerance
from neumatc_mimo.operations.pseudo_inverse import Filter, PseudoInverse
from neumatc_mimo.solvers.base import Counts, Solver, tiles
from neumatc_mimo.solvers.exact import Exact
from neumatc_mimo.tensors.tracing import is_traced


class MMSEEqualizer(Receiver):
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

    An error variance that is the same for all antennas and subcarriers adds to the noise power, and
    the solver serves both.

    Undesired streams, of transmitters that other receivers serve, are rows of :math:`\mathbf{A}`
    like the desired ones: the joint filter's columns of the desired streams are what whitening the
    interference gives, because :math:`\mathbf{G}_d\mathbf{G}_d^{\mathsf{H}} +
    \mathbf{G}_u\mathbf{G}_u^{\mathsf{H}} = \mathbf{G}\mathbf{G}^{\mathsf{H}}`. A model answers
    where its links have all of a receiver's streams, desired and undesired, in any order; a link of
    the desired ones alone tells nothing of the interference, and the joint filter is then computed.

    With noise or estimation errors that differ between the antennas or subcarriers, and with more
    interfering streams than antennas, the filter is computed exactly whatever the solver, and
    :attr:`stats` counts it. All of it is done once for OFDM symbols of the same channel and the
    same variances, see :class:`ZFPrecoder`.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: ScenarioModel or any other solver, such as ``Exact()``
    :param whiten_interference: Accepted for compatibility; both values give the same result
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param device: Device for computation.
        If `None`, :attr:`~sionna.phy.config.Config.device` is used.
    :param certify: "link" (recognised links carry the certificate made in training), "call" (prove
        each call) or `None` (pure query, compiles and captures)
    :param tolerance: What a certificate asks for; `None` is 40 dB and a range error of 1e-2
    :param time_varying: Whether the channel differs between OFDM symbols; `None` finds out
    :param trust: "estimate" (default): matrices of the channel that the block is given; "model": of
        the links that ``links`` names, whatever it is given, see :class:`SolverBlock`

    :input y: [batch_size, num_rx, num_rx_ant, num_ofdm_symbols, fft_size], `torch.complex`.
        Received OFDM resource grid after cyclic prefix removal and FFT.
    :input h_hat: [batch_size, num_rx, num_rx_ant, num_tx, num_streams_per_tx, num_ofdm_symbols,
        num_effective_subcarriers], `torch.complex`. Channel estimates for all streams.
    :input err_var: [Broadcastable to shape of ``h_hat``], `torch.float`. Variance of the channel
        estimation error.
    :input no: [batch_size, num_rx, num_rx_ant] (or only the first n dims), `torch.float`. Variance
        of the AWGN.
    :input links: `None` (default) | [batch_size] | [batch_size, num_rx], `int`. Indices of the
        links, -1 for unknown. If `None`, the solver recognises links from ``h_hat``.
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
        *,
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
        del whiten_interference
        self._operation = PseudoInverse()
        # Per receiver, positions of its own and of the other streams in [num_tx * num_streams].
        num_rx = stream_management.num_rx
        own = stream_management.stream_association.reshape(num_rx, -1)
        self._desired = [row.nonzero()[0].tolist() for row in own]
        self._undesired = [(row == 0).nonzero()[0].tolist() for row in own]

    def call(
        self,
        y: Tensor,
        h_hat: Tensor,
        err_var: float | Tensor,
        no: float | Tensor,
        links: Tensor | None = None,
        time: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Equalize ``y``; inputs and outputs as in the class's description."""
        self._check(y, h_hat)
        links = self._check_links(links, h_hat.shape[0], h_hat.shape[1])
        variance = self._variance(h_hat, err_var, no)
        noise = variance if self._trust == "estimate" else self._variance(h_hat, 0.0, no)
        result: tuple[Tensor, Tensor] = self._in_parts(
            partial(self._equalize, time), links, y, h_hat, noise, variance
        )
        return result

    def _equalize(
        self,
        time: float | None,
        trusted: frozenset[int],
        links: Tensor | None,
        y: Tensor,
        h_hat: Tensor,
        noise: Tensor,
        variance: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Equalize where the links of some receivers are trusted, whose channels have no error.

        :param noise: Variance of the noise alone, shape as ``variance``
        :param variance: Of noise and estimation errors, see :meth:`_variance`
        """
        errors = None if len(trusted) == self._num_rx else variance
        groups = self._groups(h_hat, errors, trusted=trusted, time=time)

        def combiners(rx: int, symbol: int) -> Iterator[Combiner]:
            # [batch_size, num_rx_ant, num_tx * num_streams, num_effective_subcarriers]
            h = h_hat[:, rx, ..., symbol, :].flatten(2, 3)
            # [batch_size or 1, num_rx_ant or 1, num_effective_subcarriers or 1]
            var = noise if rx in trusted else variance
            var = var[:, min(rx, var.shape[1] - 1)]
            var = var[:, :, min(symbol, var.shape[2] - 1)]
            jointly = var.shape[1] == 1 and h.shape[2] <= h.shape[1]
            if rx in trusted and not (jointly and self._is_known(rx, h)):
                raise ValueError(
                    'trust="model" needs noise that is equal at all antennas and links of all '
                    "streams, interfering ones included, or links of -1."
                )
            if jointly:
                moment = self._moment(time, symbol)
                parts = self._filters(h, var[:, 0], links, rx, rx in trusted, moment)
                own = self._desired[rx]
            else:
                parts = self._coloured_filters(h, var, rx)
                own = list(range(len(self._desired[rx])))
            for tile, filters, applied in parts:
                loss = filters.loss
                gain = (1 - loss).reciprocal()
                matrix = filters.w if applied is None else applied
                after = partial(_streams, filters.scaled(gain).after, own)
                yield Combiner(tile, matrix, after, take(loss * gain, -1, own))

        return self._receive(y, groups, combiners)

    def _is_known(self, rx: int, h: Tensor) -> bool:
        """Whether the solver may have links of all streams that a receiver gets.

        :param h: [batch_size, num_rx_ant, num_tx * num_streams, num_effective_subcarriers]
        """
        if not self._undesired[rx]:
            return True
        return self._solver.knows(self._operation, h.shape[2], h.shape[1])

    def _filters(
        self, h: Tensor, variance: Tensor, links: Tensor | None, rx: int, trusted: bool, time: float
    ) -> Iterator[tuple[slice, Filter, Applied | None]]:
        """Yield tiles with the filters of all streams, and products with them where they are not
        evaluated.

        :param h: [batch_size, num_rx_ant, num_tx * num_streams, num_effective_subcarriers]
        :param variance: [batch_size or 1, num_effective_subcarriers or 1]
        :param links: [batch_size, num_rx] or None
        """
        a = h.permute(0, 3, 2, 1)
        no = variance.expand(a.shape[0], -1)
        no = no[:, 0] if no.shape[1] == 1 else no
        link = None if links is None else links[:, rx]
        solver = self._solver if self._is_known(rx, h) else Exact()
        for part in self._answers(
            self._operation,
            a,
            no,
            link,
            self._effective_frequencies,
            [effective for effective, _ in self._runs],
            products=True,
            trusted=trusted,
            time=time,
            solver=solver,
        ):
            yield part.tile, part.answer, part.applied

    def _coloured_filters(
        self, h: Tensor, variance: Tensor, rx: int
    ) -> Iterator[tuple[slice, Filter, Applied | None]]:
        """The same of the desired streams, in noise that differs between antennas and interference,
        computed exactly.

        :param variance: [batch_size or 1, num_rx_ant or 1, num_effective_subcarriers or 1]
        """
        desired, undesired = self._desired[rx], self._undesired[rx]
        # [batch_size, num_effective_subcarriers, num_streams, num_rx_ant], the desired first
        a = take(h, 2, desired + undesired).permute(0, 3, 2, 1)
        # [batch_size or 1, num_effective_subcarriers, num_rx_ant or 1]
        noise = variance.expand(-1, -1, a.shape[1]).mT
        filters_of = self._jointly if a.shape[2] <= a.shape[3] else self._whitened
        for tile in split(tiles(a), [effective for effective, _ in self._runs]):
            filters = filters_of(a[:, tile].contiguous(), noise[:, tile], len(desired))
            if not is_traced():
                check_finite(a, filters.x.sum())
            yield tile, filters, None
        self._count(Counts(exact=a.shape[0] * a.shape[1]))

    def _jointly(self, a: Tensor, noise: Tensor, num_desired: int) -> Filter:
        r"""Filter of the first streams in the interference of the others and noise that differs
        between antennas.

        The filter of all streams at once inverts the same covariance of y, and its columns for the
        desired ones are those wanted: nothing of num_rx_ant x num_rx_ant is factored.

        :param a: [batch_size, tile, num_streams, num_rx_ant]
        :param noise: [batch_size or 1, tile, num_rx_ant]
        """
        scale = noise.rsqrt()[:, :, None]
        filters = self._operation.solve(a * scale, 1.0)
        x = filters.x[..., :num_desired]
        w = scale.mT * filters.w
        return filters._replace(w=w, mixing=x, x=x[..., :num_desired, :])

    def _whitened(self, a: Tensor, noise: Tensor, num_desired: int) -> Filter:
        r"""The same for more streams than antennas, through the covariance S = L L^H of noise and
        interference.

        The whitened channel is :math:`L^{-1} G`, with a noise power of one; its filter applies to
        :math:`L^{-1} y`, hence :math:`W = L^{-\mathsf{T}} W'`. S is factored once where it is
        constant over neighbouring subcarriers.
        """
        # [batch_size, tile, num_rx_ant, num_undesired]
        undesired = a[:, :, num_desired:].mT
        diagonal = noise.expand(-1, -1, a.shape[3])
        new = _new(undesired, diagonal)
        if new is not None:
            undesired, diagonal = undesired[:, new], diagonal[:, new]
        covariance = undesired @ undesired.mH
        covariance.diagonal(dim1=-2, dim2=-1).add_(diagonal)
        factor, _ = torch.linalg.cholesky_ex(covariance, check_errors=False)
        if new is not None:
            factor = factor[:, new.cumsum(0) - 1]
        white = torch.linalg.solve_triangular(factor, a[:, :, :num_desired].mT, upper=False)
        filters = self._operation.solve(white.mT, 1.0)
        w = torch.linalg.solve_triangular(factor.mT, filters.w, upper=True)
        return filters._replace(w=w)

    def _variance(self, h_hat: Tensor, err_var: float | Tensor, no: float | Tensor) -> Tensor:
        """Variance of noise and estimation errors, dimensions of size one where it is constant.

        [batch_size, num_rx, num_rx_ant, num_ofdm_symbols, num_effective_subcarriers], each or 1.
        """
        num_tx, num_streams = h_hat.shape[3:5]
        error = torch.as_tensor(err_var, dtype=self.dtype, device=self.device)
        try:
            error.broadcast_to(h_hat.shape)
        except RuntimeError:
            raise ValueError(
                f"err_var has the shape {list(error.shape)}, one that can be broadcast to "
                f"{list(h_hat.shape)} is needed."
            ) from None
        error = error[(None,) * (7 - error.dim())]
        for dim in (2, 5, 6):
            error = collapse(error, dim)
        # Only the variance of each entry is known: the errors of all streams add up.
        error = error.expand(-1, -1, -1, num_tx, num_streams, -1, -1).sum((3, 4))
        if not is_traced() and not bool((error >= 0).all()):
            raise ValueError("err_var has negative entries or NaN, it is a variance.")
        noise = check_noise(no, h_hat.shape[:3], self.dtype, self.device)
        return error + collapse(noise, 2)[..., None, None]

    def _check(self, y: Tensor, h_hat: Tensor) -> None:
        check_complex(y=y, h_hat=h_hat)
        streams, symbols = (self._num_tx, self._num_streams_per_tx), self._num_symbols
        check_shape(
            "h_hat", h_hat, (None, self._num_rx, None, *streams, symbols, self._num_effective)
        )
        check_shape("y", y, (*h_hat.shape[:3], symbols, self._fft_size))
        num_streams, num_rx_ant = self._num_streams_per_rx, h_hat.shape[2]
        if num_streams > num_rx_ant:
            raise ValueError(
                f"{num_streams} streams are more than the {num_rx_ant} antennas of a receiver."
            )


def _new(*values: Tensor) -> Tensor | None:
    """Subcarriers that differ from their lower neighbour, bool; None where all of them do.

    :param values: [batch_size or 1, num_subcarriers, ...]
    """
    if is_traced():
        return None
    changes = [(v[:, 1:] != v[:, :-1]).flatten(2).any(-1).any(0) for v in values]
    new = torch.nn.functional.pad(torch.stack(changes).any(0), (1, 0), value=True)
    return None if bool(new.all()) else new


def _streams(after: Callable[[Tensor], Tensor], own: list[int], z: Tensor) -> Tensor:
    """Symbols of a receiver's own streams, of all that a joint filter gives."""
    return take(after(z), -1, own)
