"""Work that keeps its precision whatever a caller's autocast says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

_DEVICE_TYPES = ("cpu", "cuda", "xpu", "mps")


@contextmanager
def full_precision() -> Iterator[None]:
    """Without autocast: filters and their proofs need the digits that it takes away."""
    with ExitStack() as modes:
        for device_type in _DEVICE_TYPES:
            if torch.is_autocast_enabled(device_type):
                modes.enter_context(torch.autocast(device_type, enabled=False))
        yield
