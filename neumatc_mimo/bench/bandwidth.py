"""What a machine's memory allows: no block is faster than its inputs and outputs can be copied."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor

from neumatc_mimo.bench.timing import side_by_side

# Larger than any cache.
_NUM_BYTES = 2**27


@functools.cache
def copied_per_second(device: str = "cpu") -> float:
    """Bytes that a copy reads and writes in a second, both counted, at its best.

    It is measured once in a process.
    """
    source = torch.ones(_NUM_BYTES // 4, device=device)
    target = torch.ones_like(source)
    spread = side_by_side({"copy": lambda: target.copy_(source)}, seconds=0.2, device=device)
    return 2 * _NUM_BYTES / spread["copy"].low


def num_bytes(values: Any) -> int:
    """Bytes of tensors in any tuples; what repeats in memory counts once."""
    if isinstance(values, Tensor):
        sizes = zip(values.shape, values.stride(), strict=True)
        return values.element_size() * math.prod(size for size, stride in sizes if stride)
    return sum(map(num_bytes, values)) if isinstance(values, tuple | list) else 0


__all__ = ["copied_per_second", "num_bytes"]
