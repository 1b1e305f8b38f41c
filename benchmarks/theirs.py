"""Our pipelines with Sionna's blocks, and an SVD of every OFDM symbol where it has none."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sionna.phy import Block
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LinearDetector, RZFPrecoder
from torch import Tensor

from neumatc_mimo.simulation import MultiUserDownlink, MultiUserUplink, SingleUserSVD


class _Unnamed(Block):
    """A block of Sionna's, called as ours are: it knows no links."""

    def __init__(self, block: Block) -> None:
        super().__init__(precision="single", device=block.device)
        self.block = block

    def call(self, *inputs: Tensor, links: Tensor) -> Any:
        del links
        return self.block(*inputs)


class TheirDownlink(MultiUserDownlink):
    """Zero forcing by :class:`sionna.phy.ofdm.RZFPrecoder`."""

    def _build(self, solver: None) -> list[Any]:
        num_users = self.links.num_rows
        self._precoder: Any = _Unnamed(
            RZFPrecoder(
                self._resource_grid(1, num_users),
                StreamManagement(np.ones([num_users, 1]), num_users),
                return_effective_channel=True,
                **self._options,
            )
        )
        return [self._precoder]


class TheirUplink(MultiUserUplink):
    """Detection by :class:`sionna.phy.ofdm.LinearDetector`."""

    def _build(self, solver: None) -> list[Any]:
        num_users = self.links.num_rows
        self._detector: Any = _Unnamed(
            LinearDetector(
                "lmmse",
                "bit",
                "app",
                self._resource_grid(num_users, 1),
                StreamManagement(np.ones([1, num_users]), 1),
                "qam",
                self._num_bits_per_symbol,
                **self._options,
            )
        )
        return [self._detector]


class _Triplets(Block):
    """Strongest singular triplets by a library, for every OFDM symbol and subcarrier."""

    def __init__(self, num_streams: int, device: str) -> None:
        super().__init__(precision="single", device=device)
        self._num = num_streams

    def _of(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[.., num_ofdm_symbols, fft_size, K, L], [.., L], [.., M, L]"""
        u, s, vh = torch.linalg.svd(h[:, 0, :, 0].permute(0, 3, 4, 1, 2), full_matrices=False)
        return u[..., : self._num], s[..., : self._num], vh[..., : self._num, :].mH


class _Beams(_Triplets):
    def call(self, x: Tensor, h: Tensor, *, links: Tensor) -> Tensor:
        del links
        _, _, v = self._of(h)
        beams = v @ x[:, 0].permute(0, 2, 3, 1)[..., None]
        return beams[..., 0].permute(0, 3, 1, 2)[:, None]


class _Combined(_Triplets):
    def call(self, y: Tensor, h: Tensor, no: Tensor, *, links: Tensor) -> tuple[Tensor, Tensor]:
        del links
        u, s, _ = self._of(h)
        x = (u.mH @ y[:, 0].permute(0, 2, 3, 1)[..., None])[..., 0] / s
        no_eff = no / s.square()
        x_hat, no_eff = (t.permute(0, 3, 1, 2).flatten(2)[:, None] for t in (x, no_eff))
        return x_hat, no_eff


class TheirSVD(SingleUserSVD):
    """An SVD for each OFDM symbol, at the transmitter and at the receiver."""

    def _build(self, solver: None) -> list[Any]:
        self._beamformer: Any = _Beams(self.num_streams, self._device)
        self._combiner: Any = _Combined(self.num_streams, self._device)
        return [self._beamformer, self._combiner]
