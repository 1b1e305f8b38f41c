"""Whether code runs under a compiler or a graph capture."""

from __future__ import annotations

import torch


def is_traced() -> bool:
    """Whether a decision on data would break ``torch.compile`` or a CUDA graph."""
    return torch.compiler.is_compiling() or (
        torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
    )
