"""What the kernels cover; anything else is computed by PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from neumatc_mimo.kernels.lanes.library import loaded
from neumatc_mimo.operations.base import Operation
from neumatc_mimo.operations.pseudo_inverse import PseudoInverse
from neumatc_mimo.tensors.differentiated import is_differentiated
from neumatc_mimo.tensors.tracing import is_traced

# Beyond, LAPACK's blocked factorisations gain on the kernels.
_MOST_ROWS = 64


def covers(operation: Operation, a: Tensor, no: Tensor | None, *grids: Tensor) -> bool:
    """Whether there is a kernel for results of an operation, applied to resource grids.

    :param operation: Another one that derives from one of ours may mean another result
    :param a: [num_items, num_subcarriers, m, n]
    :param no: Noise powers, or None
    """
    if is_traced() or loaded() is None or type(operation) is not PseudoInverse:
        return False
    num_rows, num_cols = a.shape[-2:]
    # More rows than columns are dependent, which only double precision tells apart.
    if not 0 < num_rows <= min(num_cols, _MOST_ROWS):
        return False
    if any(grid.dtype != a.dtype for grid in grids):
        return False
    if a.dtype not in (torch.complex64, torch.complex128):
        return False
    tensors = [a, *grids] if no is None else [a, no, *grids]
    # Tensors of other kinds have their own meaning.
    plain = all(type(t) in (Tensor, torch.nn.Parameter) for t in tensors)
    return (
        plain and all(t.device.type == "cpu" for t in tensors) and not is_differentiated(*tensors)
    )
