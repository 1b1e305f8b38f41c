"""The pipeline to one user with several antennas."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sionna.phy.mimo import StreamManagement
from torch import Tensor

from neumatc_mimo import blocks
from neumatc_mimo.simulation.pipeline import Pipeline, propagate


class SingleUserSVD(Pipeline):
    """Beamforming along the strongest singular vectors to one user with K antennas."""

    kind = "single_user"
    title = "single-user SVD"

    @property
    def num_streams(self) -> int:
        return self.links.num_streams or self.links.num_rows

    def _build(self, solver: Any) -> list[Any]:
        grid = self._resource_grid(1, self.num_streams)
        streams = StreamManagement(np.ones([1, 1]), self.num_streams)
        self._beamformer = blocks.SVDBeamformer(grid, streams, solver, **self._options)
        self._combiner = blocks.SVDCombiner(grid, streams, solver, **self._options)
        return [self._beamformer, self._combiner]

    def _transmit(
        self, x: Tensor, h: Tensor, link: Tensor, no: Tensor, generator: torch.Generator
    ) -> Tensor:
        slot = self._slot(h)[:, None, :, None]  # [.., 1, K, 1, M, num_ofdm_symbols, fft_size]
        x_precoded = self._beamformer(x[:, None], slot, links=link)
        y = propagate(h, x_precoded[:, 0])
        y = (y + self._noise(y.shape, no, generator))[:, None]
        x_hat, no_eff = self._combiner(y, slot, no, links=link)
        return self._demapper(x_hat[:, 0], no_eff[:, 0])
