"""What the kernels cover; anything else is computed by PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from neumatc_mimo.kernels.lanes.library import loaded
from neumatc_mimo.tensors.differentiated import is_differentiated
from neumatc_mimo.tensors.tracing import is_traced


def covers(a: Tensor, *others: Tensor | None) -> bool:
    """Whether there are kernels, for these tensors here.

    :param a: [num_items, num_subcarriers, m, n]
    :param others: Resource grids and noise powers, or None
    """
    if is_traced() or loaded() is None:
        return False
    if a.dtype not in (torch.complex64, torch.complex128):
        return False
    tensors = [a, *(t for t in others if t is not None)]
    if any(t.is_complex() and t.dtype != a.dtype for t in tensors):
        return False
    # Tensors of other kinds have their own meaning.
    plain = all(type(t) in (Tensor, torch.nn.Parameter) for t in tensors)
    return (
        plain and all(t.device.type == "cpu" for t in tensors) and not is_differentiated(*tensors)
    )
