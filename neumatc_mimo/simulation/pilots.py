"""Link-level pipelines whose channels are estimated from pilots by Sionna's estimators."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import (
    LinearDetector,
    LSChannelEstimator,
    ResourceGrid,
    ResourceGridMapper,
    RZFPrecodedChannel,
)
from torch import Tensor

from neumatc_mimo import blocks
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.simulation.multi_user import MultiUserDownlink, MultiUserUplink
from neumatc_mimo.simulation.pipeline import Pipeline, propagate

# What blocks know of the channel: all, or an estimate interpolated from the nearest pilot or
# linearly.
CSI = Literal["perfect", "nn", "lin"]


class PilotPipeline(Pipeline):
    """A pipeline whose blocks are given an estimate of the channel.

    One OFDM symbol carries pilots, Sionna's "kronecker" pattern: K users take turns along the
    subcarriers, each with K times the power of a symbol.
    :class:`~sionna.phy.ofdm.LSChannelEstimator` estimates from these, in the noise of the
    transmission. Bits, pilots and noise are the same whatever ``csi``, ``trust`` and solver.

    :param links: The links to transmit over; linear interpolation wants them with timing advance,
        ``links.timing_advanced()``
    :param solver: As for other pipelines; `None` is Sionna's own block
    :param csi: What blocks are given: the channel itself ("perfect"), or its estimate with
        Sionna's nearest-neighbour ("nn") or linear ("lin") interpolation
    :param trust: As for the blocks
    """

    def __init__(
        self,
        links: LinkSet,
        solver: Any,
        *,
        csi: CSI = "lin",
        trust: str = "estimate",
        **options: Any,
    ) -> None:
        if csi not in ("perfect", "nn", "lin"):
            raise ValueError(f'csi is {csi!r}, it must be "perfect", "nn" or "lin".')
        self._csi, self._trust = csi, trust
        super().__init__(links, solver, **options)

    def _num_subcarriers(self, links: LinkSet, stride: int) -> int:
        # The pattern gives each user as many.
        num = links.fft_size // stride
        return num - num % links.num_rows

    def _pilot_grid(self, num_ofdm_symbols: int) -> ResourceGrid:
        """A grid of the users with pilots in its first symbol."""
        grid = ResourceGrid(
            num_ofdm_symbols=num_ofdm_symbols,
            fft_size=self._grid[1],
            subcarrier_spacing=self._spacing,
            num_tx=self.links.num_rows,
            num_streams_per_tx=1,
            pilot_pattern="kronecker",
            pilot_ofdm_symbol_indices=[0],
            **self._options,
        )
        # Sionna draws them anew for every grid, from its global generator.
        pattern = grid.pilot_pattern
        generator = torch.Generator().manual_seed(self._seed)
        quarters = torch.randint(0, 4, pattern.pilots.shape, generator=generator)
        turns = torch.polar(torch.ones(quarters.shape), torch.pi / 2 * (quarters + 0.5))
        pattern.pilots = pattern.pilots.abs() * turns.to(self._device)
        return grid

    def _estimator(self, grid: ResourceGrid) -> LSChannelEstimator | None:
        if self._csi == "perfect":
            return None
        return LSChannelEstimator(grid, interpolation_type=self._csi, **self._options)


class PilotUplink(PilotPipeline, MultiUserUplink):
    """MMSE detection of K single-antenna users from a slot that begins with pilots."""

    title = "uplink MMSE, estimated channels"

    def _build(self, solver: Any) -> list[Any]:
        num_users = self.links.num_rows
        grid = self._pilot_grid(1 + self._grid[0])
        streams = StreamManagement(np.ones([1, num_users]), 1)
        settings = ("qam", self._num_bits_per_symbol)
        self._knows_links = solver is not None
        self._detector: Any
        if solver is None:
            self._detector = LinearDetector(
                "lmmse", "bit", "app", grid, streams, *settings, **self._options
            )
        else:
            self._detector = blocks.MMSEDetector(
                "bit", "app", grid, streams, solver, *settings, **self._options, trust=self._trust
            )
        self._mapping = ResourceGridMapper(grid, **self._options)
        self._ls = self._estimator(grid)
        return [] if solver is None else [self._detector]

    def _transmit(
        self, x: Tensor, h: Tensor, link: Tensor, no: Tensor, generator: torch.Generator
    ) -> Tensor:
        slot = self._mapping(x.flatten(-2)[:, :, None])[:, :, 0]
        y = propagate(h.mT, slot)
        y = (y + self._noise(y.shape, no, generator))[:, None]
        if self._ls is None:
            # [batch_size, 1, M, K, 1, num_ofdm_symbols, fft_size]
            h_hat = h.permute(0, 3, 2, 1)[:, None, :, :, None, None]
            h_hat = h_hat.expand(*h_hat.shape[:5], y.shape[3], -1)
            err_var = torch.zeros((), device=y.device)
        else:
            h_hat, err_var = self._ls(y, no)
        named = {"links": link} if self._knows_links else {}
        llr: Tensor = self._detector(y, h_hat, err_var, no, **named)
        return llr[:, :, 0]


class PilotDownlink(PilotPipeline, MultiUserDownlink):
    """Zero-forcing precoding to K users whose channels were estimated in the uplink.

    The base station estimates from the users' pilots; by reciprocity the downlink's channel is the
    transpose. Users know their effective gains, as in :class:`MultiUserDownlink`.
    """

    title = "downlink zero forcing, estimated channels"

    def _build(self, solver: Any) -> list[Any]:
        num_users = self.links.num_rows
        grid = self._resource_grid(1, num_users)
        streams = StreamManagement(np.ones([num_users, 1]), num_users)
        self._knows_links = solver is not None
        self._channel: Any
        if solver is None:
            self._channel = RZFPrecodedChannel(grid, streams, **self._options)
        else:
            self._channel = blocks.ZFPrecodedChannel(
                grid, streams, solver, **self._options, trust=self._trust
            )
        pilots = self._pilot_grid(1)
        self._ls = self._estimator(pilots)
        # [K, 1, fft_size]
        self._pilots = pilots.pilot_pattern.pilots.to(self._device, torch.complex64)
        return [] if solver is None else [self._channel]

    def _transmit(
        self, x: Tensor, h: Tensor, link: Tensor, no: Tensor, generator: torch.Generator
    ) -> Tensor:
        sounding = propagate(h.mT, self._pilots.expand(len(h), -1, -1, -1))
        sounding = sounding + self._noise(sounding.shape, no, generator)
        slot = self._slot(h)[:, :, None, None]  # [.., K, 1, 1, M, num_ofdm_symbols, fft_size]
        h_hat = slot
        if self._ls is not None:
            estimate, _ = self._ls(sounding[:, None], no)  # [batch_size, 1, M, K, 1, 1, fft_size]
            h_hat = estimate.permute(0, 3, 1, 4, 2, 5, 6).expand_as(slot)
        named = {"links": link} if self._knows_links else {}
        h_eff = self._channel(slot, torch.ones((), device=h.device), h_hat, **named)
        gains = h_eff[:, :, 0, 0]  # [batch_size, user, stream, num_ofdm_symbols, fft_size]
        y = (gains * x[:, None]).sum(2)
        y = y + self._noise(y.shape, no, generator)
        return self._detect(y, gains, no)
