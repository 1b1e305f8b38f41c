"""Whether a derivative with respect to a tensor is asked for."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

from neumatc_mimo.tensors.tracing import is_traced


def is_differentiated(*values: Tensor | None) -> bool:
    """Whether a derivative with respect to one of the values is asked for, backward or forward."""
    tensors = [value for value in values if value is not None]
    if torch.is_grad_enabled() and any(value.requires_grad for value in tensors):
        return True
    if is_traced():
        return False
    return any(forward_ad.unpack_dual(value).tangent is not None for value in tensors)
