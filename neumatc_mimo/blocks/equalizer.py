"""What all equalizers and detectors share: their inputs, and which streams each receiver wants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, TypeVar, Unpack

import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.checks import check_finite, check_shape
from neumatc_mimo.blocks.fitting import spread
from neumatc_mimo.blocks.inputs import Inputs, by_trust
from neumatc_mimo.blocks.noise import error_and_noise, uniform
from neumatc_mimo.blocks.noise_covariance import NoiseCovariance, checked_covariance
from neumatc_mimo.blocks.operators import NoKernelError, kernels_alone
from neumatc_mimo.blocks.qam_demapper import QAMDemapper
from neumatc_mimo.blocks.receiver import ReceiveFilter, Receiver, ReceiverInputs
from neumatc_mimo.blocks.symbols import Symbols, sharing
from neumatc_mimo.blocks.tiles import cut, take
from neumatc_mimo.foundation.block_settings import BlockKeywords
from neumatc_mimo.kernels.lanes import Emitter
from neumatc_mimo.operations.pseudo_inverse import PseudoInverse
from neumatc_mimo.solvers.base import Channels, Counts, Solver, tiles
from neumatc_mimo.tensors.mapped import mapped_alike
from neumatc_mimo.tensors.tracing import is_traced


@dataclass(frozen=True, kw_only=True)
class UplinkInputs(Inputs):
    """Channels of all streams to all receivers, and what disturbs there.

    :param h_hat: [batch_size, num_rx, num_rx_ant, num_tx, num_streams_per_tx, num_ofdm_symbols,
        num_effective_subcarriers]
    :param noise: Variance of the noise alone, [batch_size, num_rx, num_rx_ant, num_ofdm_symbols,
        num_effective_subcarriers], each or 1
    :param variance: Of noise and estimation errors, likewise
    :param covariance: Of noise that is correlated between antennas, beside it, [batch_size or 1,
        num_rx or 1, num_ofdm_symbols or 1, num_groups, num_rx_ant, num_rx_ant]; None for none
    """

    symbols = "h_hat"

    h_hat: Tensor
    noise: Tensor
    variance: Tensor
    covariance: Tensor | None = None

    def channel(self, rx: int, symbol: int) -> Tensor:
        """[batch_size, num_rx_ant, num_tx * num_streams, num_effective_subcarriers]"""
        return self.h_hat[:, rx, ..., symbol, :].flatten(2, 3)

    def noise_of(self, rx: int, symbol: int) -> Tensor:
        """[batch_size or 1, num_rx_ant or 1, num_effective_subcarriers or 1]: without estimation
        errors at a receiver whose links are trusted.
        """
        var = self.noise if rx in self.trusted else self.variance
        var = var[:, min(rx, var.shape[1] - 1)]
        return var[:, :, min(symbol, var.shape[2] - 1)]

    def covariance_of(self, rx: int, symbol: int) -> Tensor | None:
        """[batch_size or 1, num_groups, num_rx_ant, num_rx_ant]"""
        matrix = self.covariance
        if matrix is None:
            return None
        return matrix[:, min(rx, matrix.shape[1] - 1), min(symbol, matrix.shape[2] - 1)]

    def correlated_noise(self, rx: int, symbol: int) -> NoiseCovariance | None:
        """All of the noise at a receiver, where it is correlated between antennas."""
        matrix = self.covariance_of(rx, symbol)
        if matrix is None:
            return None
        return NoiseCovariance(matrix, self.noise_of(rx, symbol), self.h_hat.shape[-1])

    def shared(self) -> list[Tensor]:
        """What filters depend on beside the channel, [..., num_ofdm_symbols or 1, n]."""
        if self.covariance is None:
            return [self.variance]
        return [self.variance, self.covariance.permute(0, 1, 4, 5, 2, 3)]


@dataclass(frozen=True, kw_only=True)
class EqualizerInputs(ReceiverInputs, UplinkInputs):
    """What an equalizer is called with."""


class Equalizer(Receiver):
    """Base of the equalizers: filters of the streams that a receiver is to get.

    A subclass gives :meth:`_filters`, and :meth:`_emitter` where there is a kernel.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: ScenarioModel or any other solver, such as ``Exact()``
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param device: Device for computation.
        If `None`, :attr:`~sionna.phy.config.Config.device` is used.
    :param settings: ``certify`` and the other settings of all blocks, see
        :class:`~neumatc_mimo.foundation.block_settings.BlockSettings`
    """

    _inputs: ClassVar[type[Inputs]] = EqualizerInputs
    _operation = PseudoInverse()

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        precision: str | None = None,
        device: str | None = None,
        **settings: Unpack[BlockKeywords],
    ) -> None:
        super().__init__(resource_grid, stream_management, solver, precision, device, **settings)
        # Per receiver, positions of desired and of the other streams in [num_tx * num_streams].
        association = stream_management.stream_association.reshape(self._num_rx, -1)
        self._desired = [row.nonzero()[0].tolist() for row in association]
        self._undesired = [(row == 0).nonzero()[0].tolist() for row in association]

    def call(
        self,
        y: Tensor,
        h_hat: Tensor,
        err_var: float | Tensor,
        no: float | Tensor,
        links: Tensor | None = None,
        time: float | None = None,
        noise_covariance: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Equalize ``y``; inputs and outputs as in the class's description."""
        inputs = self._checked_inputs(y, h_hat, err_var, no, links, time, noise_covariance)
        result: tuple[Tensor, Tensor] = self._served(inputs)
        return result

    def detect(
        self,
        demapper: QAMDemapper,
        y: Tensor,
        h_hat: Tensor,
        err_var: float | Tensor,
        no: float | Tensor,
        links: Tensor | None = None,
        time: float | None = None,
        noise_covariance: Tensor | None = None,
    ) -> Tensor:
        """Equalize ``y`` and demap it: where there is a kernel, while estimates are in the cache.

        :param demapper: makes bits of x_hat and no_eff; the other parameters are those of a call

        :return: bits as of :class:`~neumatc_mimo.blocks.MMSEDetector`
        """
        inputs = self._checked_inputs(y, h_hat, err_var, no, links, time, noise_covariance)
        bits: Tensor = by_trust(partial(self._bits, demapper), inputs, self._settings.trust)
        return bits

    def _checked_inputs(
        self,
        y: Tensor,
        h_hat: Tensor,
        err_var: float | Tensor,
        no: float | Tensor,
        links: Tensor | None,
        time: float | None,
        noise_covariance: Tensor | None,
    ) -> EqualizerInputs:
        """Checked, and of shapes that fit each other."""
        y, h_hat = self._checked(y, h_hat)
        trust, shape = self._settings.trust, (len(y), *h_hat.shape[1:])
        variance = error_and_noise(err_var, no, shape, self.dtype, self.device)
        noise = variance
        if trust == "model":
            noise = error_and_noise(0.0, no, shape, self.dtype, self.device)
        sizes = (len(y), h_hat.shape[1], *h_hat.shape[5:], h_hat.shape[2])
        covariance = checked_covariance(noise_covariance, sizes, self.cdtype, self.device)
        if covariance is not None and len(variance) == 1:
            # Items differ where either of them does.
            variance = variance.expand(len(covariance), *variance.shape[1:])
        h_hat = mapped_alike(h_hat, variance, covariance)
        y = mapped_alike(y, h_hat)
        items, links = self._items(y, h_hat, variance, links)
        h_hat = spread(h_hat, items)
        return EqualizerInputs(
            y=y,
            h_hat=h_hat,
            noise=noise,
            variance=variance,
            covariance=covariance,
            links=links,
            time=time,
        )

    def _results(self, inputs: EqualizerInputs) -> tuple[Tensor, Tensor]:
        """Equalize where the links of some receivers are trusted, whose channels have no error."""
        inputs = merged(inputs)
        return self._receive(inputs.y, self._groups(inputs), partial(self._filters, inputs))

    def _bits(self, demapper: QAMDemapper, inputs: EqualizerInputs) -> Tensor:
        """Likewise, and demap."""
        inputs = merged(inputs)
        filters = partial(self._filters, inputs)
        return self._detect(inputs.y, self._groups(inputs), filters, demapper)

    def _groups(self, inputs: UplinkInputs) -> list[Symbols]:
        """OFDM symbols that share their filters."""
        return sharing(
            inputs.h_hat,
            None if len(inputs.trusted) == self._num_rx else inputs.shared(),
            self._settings.time_varying,
            trusted=inputs.trusted,
            antennas=2,
            time=inputs.time,
        )

    def _borders(self) -> list[slice]:
        """Of the stretches of effective subcarriers, across which no tile lies."""
        return [stretch.effective for stretch in self._stretches]

    def _wanted(self, inputs: UplinkInputs, rx: int, symbol: int) -> Tensor:
        """Channels of the streams that a receiver is to get, [batch_size,
        num_effective_subcarriers, num_streams, num_rx_ant].
        """
        return take(inputs.channel(rx, symbol), 2, self._desired[rx]).permute(0, 3, 2, 1)

    def _unwanted(self, inputs: UplinkInputs, rx: int, symbol: int) -> Tensor:
        """Likewise, of the streams that others are to get."""
        h, undesired = inputs.channel(rx, symbol), self._undesired[rx]
        return (take(h, 2, undesired) if undesired else h[:, :, :0]).permute(0, 3, 2, 1)

    def _own_channels(
        self, inputs: UplinkInputs, rx: int, symbol: int
    ) -> Iterator[tuple[slice, Tensor]]:
        """Tiles of what :meth:`_wanted` gives, or of the links' own channels at a receiver whose
        links are trusted, [batch_size, tile, num_streams, num_rx_ant].
        """
        if not is_traced() and kernels_alone():
            raise NoKernelError
        a, settings = self._wanted(inputs, rx, symbol), self._settings
        parts = cut(tiles(a), self._borders())
        if rx in inputs.trusted:
            channels = self._asked(inputs, rx, symbol, a)
            answers = self._solver.start(
                self._operation, channels, settings.certify, settings.tolerance
            )
            for tile in parts:
                yield tile, answers.channel(tile, a).contiguous()
            self._count(answers.counts)
            return
        for tile in parts:
            here = a[:, tile].contiguous()
            if not is_traced():
                check_finite(here, here.detach().sum())
            yield tile, here
        self._count(Counts(exact=a.shape[0] * a.shape[1]), warns=False)

    def _asked(
        self,
        inputs: UplinkInputs,
        rx: int,
        symbol: int,
        a: Tensor,
        no: Tensor | None = None,
        products: bool = False,
    ) -> Channels:
        """What a solver is asked of a receiver's channels.

        :param a: [batch_size, num_effective_subcarriers, num_streams, num_rx_ant]
        :param no: noise power
        :param products: whether products with the filters do
        """
        return Channels(
            a,
            self._effective_frequencies,
            no=no,
            links=inputs.links_of(rx),
            products=products,
            trusted=rx in inputs.trusted,
            time=self._moment(inputs.time, symbol),
        )

    def _behind(
        self,
        inputs: UplinkInputs,
        rx: int,
        symbol: int,
        tile: slice,
        w: Tensor,
        *,
        of_unit_norm: bool = False,
    ) -> Tensor:
        r"""Power behind filters, [batch_size, tile, num_streams]: diagonals of
        :math:`W^{\mathsf{T}} S W^*` with the covariance S of noise, estimation errors and the
        streams that others want.

        :param w: [batch_size, tile, num_rx_ant, num_streams]
        :param of_unit_norm: whether their columns are
        """
        correlated = inputs.correlated_noise(rx, symbol)
        variance = inputs.noise_of(rx, symbol).mT
        variance = variance if variance.shape[1] == 1 else variance[:, tile]
        if correlated is not None:
            power = correlated.behind(w, tile).to(variance.dtype)
        elif variance.shape[-1] == 1 and of_unit_norm:
            power = variance.expand(len(w), w.shape[1], w.shape[3])
        else:
            power = (torch.view_as_real(w).square().sum(-1) * variance[..., None]).sum(-2)
        if not self._undesired[rx]:
            return power
        gains = self._unwanted(inputs, rx, symbol)[:, tile].contiguous() @ w
        return power + torch.view_as_real(gains).square().sum((-1, -3))

    def _filters(
        self, inputs: EqualizerInputs, rx: int, symbol: int, emitter: Emitter | None
    ) -> Iterator[ReceiveFilter]:
        """Filters of the streams that a receiver is to get in one OFDM symbol."""
        raise NotImplementedError

    def _checked(self, y: Tensor, h_hat: Tensor) -> tuple[Tensor, Tensor]:
        """y and h_hat as complex tensors that fit each other."""
        y, h_hat = self._fitting(y, h_hat, self._num_effective, ("y", "h_hat"))
        streams = (self._num_tx, self._num_streams_per_tx)
        check_shape("h_hat", h_hat, (None, None, None, *streams, None, None))
        return y, h_hat


Given = TypeVar("Given", bound=UplinkInputs)


def merged(inputs: Given) -> Given:
    """The same with noise that is equal everywhere told once."""
    return replace(inputs, noise=uniform(inputs.noise), variance=uniform(inputs.variance))
