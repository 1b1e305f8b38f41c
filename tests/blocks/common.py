"""Grids, channels and comparisons that the tests of the blocks share."""

from __future__ import annotations

from typing import Any

import torch
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

PRECISIONS = {"double": (torch.complex128, 1e-9), "single": (torch.complex64, 1e-4)}
TIMES = ["view", "constant", "one symbol", "every symbol"]
SYMBOLS, FFT_SIZE, NUM_EFFECTIVE = 4, 42, 36


def grid(num_tx: int, num_streams: int, **changes: Any) -> ResourceGrid:
    """A grid with guard carriers, DC carrier and pilots."""
    settings = {
        "num_guard_carriers": (3, 2),
        "dc_null": True,
        "pilot_pattern": "kronecker",
        "pilot_ofdm_symbol_indices": [1],
        **changes,
    }
    return ResourceGrid(
        SYMBOLS, FFT_SIZE, 30e3, num_tx=num_tx, num_streams_per_tx=num_streams, **settings
    )


def noise(*shape: int, seed: int) -> Tensor:
    """Complex Gaussian samples of unit power."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.complex128, generator=generator)


def in_time(h: Tensor, variant: str) -> Tensor:
    """h [..., 1, num_subcarriers] over the symbols: constant, as a view or not, or varying."""
    repeated = h.expand(*h.shape[:-2], SYMBOLS, -1)
    if variant == "view":
        return repeated
    repeated = repeated.clone()
    if variant == "one symbol":
        repeated[..., 2, :] += noise(*h.shape[:-2], h.shape[-1], seed=7).to(h.dtype)
    elif variant == "every symbol":
        repeated += 0.3 * noise(*repeated.shape, seed=8).to(h.dtype)
    return repeated


def distinct(variant: str) -> int:
    """Number of symbols that a block has to compute for."""
    return {"view": 1, "constant": 1, "one symbol": 2, "every symbol": SYMBOLS}[variant]


def close(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    """Same shape, same dtype, same values relative to the largest."""
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    error = (ours - theirs).abs().max() / theirs.abs().max()
    assert error < tolerance, f"relative error {error:.1e}"
