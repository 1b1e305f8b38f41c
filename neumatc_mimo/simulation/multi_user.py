"""Pipelines to and from several users of one antenna each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from sionna.phy.mimo import StreamManagement
from torch import Tensor

from neumatc_mimo import blocks
from neumatc_mimo.simulation.pipeline import Pipeline, propagate


class MultiUserDownlink(Pipeline):
    """Zero-forcing precoding to K single-antenna users.

    Each user knows its own effective gain and the power of the other streams' leakage, which counts
    as noise.
    """

    kind = "multi_user"
    title = "downlink zero forcing"

    @property
    def num_streams(self) -> int:
        return self.links.num_rows

    def _build(self, solver: Any) -> list[Any]:
        num_users = self.links.num_rows
        self._precoder = blocks.ZFPrecoder(
            self._resource_grid(1, num_users),
            StreamManagement(np.ones([num_users, 1]), num_users),
            solver,
            return_effective_channel=True,
            **self._options,
        )
        return [self._precoder]

    def _transmit(
        self, x: Tensor, h: Tensor, link: Tensor, no: Tensor, generator: torch.Generator
    ) -> Tensor:
        slot = self._slot(h)[:, :, None, None]  # [.., K, 1, 1, M, num_ofdm_symbols, fft_size]
        x_precoded, h_eff = self._precoder(x[:, None], slot, links=link)
        y = propagate(h, x_precoded[:, 0])
        y = y + self._noise(y.shape, no, generator)
        return self._detect(y, h_eff[:, :, 0, 0], no)

    def _detect(self, y: Tensor, gains: Tensor, no: Tensor) -> Tensor:
        """Log-likelihood ratios at users who know their gains and the power of the leakage.

        :param y: [batch_size, user, num_ofdm_symbols, fft_size]
        :param gains: [batch_size, user, stream, num_ofdm_symbols, fft_size]
        """
        own = gains.diagonal(dim1=1, dim2=2).permute(0, 3, 1, 2)
        power = own.abs().square()
        leakage = (gains.abs().square().sum(2) - power).clamp_min(0)
        x_hat, no_eff = y / own, (no + leakage) / power
        return self._demapper(x_hat.flatten(-2), no_eff.flatten(-2))


class MultiUserUplink(Pipeline):
    """MMSE detection of K single-antenna users; the channel is the downlink's transpose."""

    kind = "multi_user"
    title = "uplink MMSE"
    # Dense, so that the whole fall lies within the noise range that models are trained for.
    modulation = (6, 0.75)

    @property
    def ebno_range(self) -> tuple[float, float]:
        assert self.links.noise_db is not None
        low, high = self.links.noise_db
        unit = 10 * math.log10(self._num_bits_per_symbol * self._coderate)
        return -high - unit, -low - unit

    @property
    def num_streams(self) -> int:
        return self.links.num_rows

    def _build(self, solver: Any) -> list[Any]:
        num_users = self.links.num_rows
        self._detector = blocks.MMSEDetector(
            "bit",
            "app",
            self._resource_grid(num_users, 1),
            StreamManagement(np.ones([1, num_users]), 1),
            solver,
            constellation_type="qam",
            num_bits_per_symbol=self._num_bits_per_symbol,
            **self._options,
        )
        return [self._detector]

    def _transmit(
        self, x: Tensor, h: Tensor, link: Tensor, no: Tensor, generator: torch.Generator
    ) -> Tensor:
        y = propagate(h.mT, x)
        y = (y + self._noise(y.shape, no, generator))[:, None]
        # [batch_size, 1, M, K, 1, num_ofdm_symbols, fft_size]
        h_hat = self._slot(h).transpose(1, 2)[:, None, :, :, None]
        llr: Tensor = self._detector(y, h_hat, torch.zeros((), device=y.device), no, links=link)
        return llr[:, :, 0]
