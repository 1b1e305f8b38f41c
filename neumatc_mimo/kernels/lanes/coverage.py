"""What the kernels cover; anything else is computed by PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from neumatc_mimo.kernels.lanes.devices import has_kernel
from neumatc_mimo.kernels.lanes.library import SourceKind, loaded
from neumatc_mimo.tensors.differentiated import is_differentiated
from neumatc_mimo.tensors.tracing import is_traced


def covers(a: Tensor, *others: Tensor | None, kind: SourceKind | None = None) -> bool:
    """Whether there are kernels, for these tensors here.

    :param a: [num_items, num_subcarriers, m, n]
    :param others: Resource grids and noise powers, or None
    :param kind: of the source of filters; None for what the library in C++ alone has
    """
    if is_traced():
        return False
    if not (_in_library(a) if kind is None else has_kernel(kind, a)):
        return False
    if a.dtype not in (torch.complex64, torch.complex128):
        return False
    tensors = [a, *(t for t in others if t is not None)]
    if any(t.is_complex() and t.dtype != a.dtype for t in tensors):
        return False
    # Tensors of other kinds have their own meaning.
    plain = all(type(t) in (Tensor, torch.nn.Parameter) for t in tensors)
    return plain and all(t.device == a.device for t in tensors) and not is_differentiated(*tensors)


def _in_library(a: Tensor) -> bool:
    return a.device.type == "cpu" and loaded() is not None
