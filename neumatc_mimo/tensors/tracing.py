"""Whether code runs where no decision can depend on data."""

from __future__ import annotations

import torch


def is_traced() -> bool:
    """Whether a decision on data would break ``torch.compile``, a CUDA graph or ``vmap``."""
    if torch.compiler.is_compiling():
        return True
    if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
        return True
    return is_mapped()


def is_transformed() -> bool:
    """Whether code runs under a transform of ``torch.func``, where a tensor stands for others."""
    # PyTorch has no public function that tells.
    return torch._C._functorch.peek_interpreter_stack() is not None


def is_mapped() -> bool:
    """Whether code runs under ``torch.vmap``, where a tensor stands for many; not in a compiler,
    which has its own way with that.
    """
    if torch.compiler.is_compiling():
        return False
    # PyTorch has no public function that tells.
    functorch = torch._C._functorch
    if functorch.peek_interpreter_stack() is None:
        return False
    stack = functorch.get_interpreter_stack() or ()
    return any(level.key() == functorch.TransformType.Vmap for level in stack)
