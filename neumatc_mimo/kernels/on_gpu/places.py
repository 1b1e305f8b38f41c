"""Numbers of symbols and streams in a GPU's memory."""

from __future__ import annotations

import functools

import torch
from torch import Tensor


@functools.lru_cache(maxsize=64)
def numbers(values: tuple[int, ...], device: torch.device) -> Tensor:
    """Integers, [len(values)] int64; those of a grid are copied to a device once."""
    return torch.tensor(values, dtype=torch.int64, device=device)
