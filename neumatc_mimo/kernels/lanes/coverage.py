"""What the kernels cover; anything else is computed by PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

from neumatc_mimo.kernels.lanes.devices import has_kernel
from neumatc_mimo.kernels.lanes.library import SourceKind, loaded
from neumatc_mimo.tensors.differentiated import is_differentiated
from neumatc_mimo.tensors.tracing import is_traced, is_transformed


def differentiates(*tensors: Tensor) -> bool:
    """Whether kernels may compute what a backward pass is to be recorded of, by one that computes
    it again with PyTorch: not in a trace, forward mode or a transform of functions.
    """
    if is_traced() or is_transformed() or loaded() is None:
        return False
    recorded = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    return (
        recorded
        and all(type(t) in (Tensor, torch.nn.Parameter) for t in tensors)
        and all(t.device.type == "cpu" for t in tensors)
        and all(forward_ad.unpack_dual(t).tangent is None for t in tensors)
    )


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
