"""Inverses, solutions and determinants of batches by LU factorisation.

PyTorch hands a batch of matrices to its threads, each of which calls MKL's ``getrf``. After any
``torch.set_num_threads`` (``torch.utils.benchmark.Timer`` calls it, too) MKL threads within these
threads, and its factorisation of a matrix of some 150 rows or more is then a wrong one: "Parameter
6 was incorrect on entry to DLASWP" on standard error, pivots that ``lu_solve`` refuses, or values
that nobody refuses (pytorch/pytorch, issue 142815 and pull request 181570; PyTorch 2.13 has it). A
matrix at a time is factored rightly, and by all threads. So nothing else in the package calls
PyTorch's functions of LU.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Rows up to which MKL factors a matrix in one thread, whatever it is told: it does up to 140.
_TOGETHER = 64


def inverse(a: Tensor) -> Tensor:
    """Inverses of a [..., n, n]; NaN where a matrix is singular, there only."""
    return _each(_inverse, a)


def unchecked_inverse(a: Tensor) -> Tensor:
    """Inverses of a [..., n, n], some number or none where a pivot is lost to rounding."""
    return _each(_unchecked, a)


def solution(a: Tensor, b: Tensor) -> Tensor:
    """X with A X = B for a [..., n, n] and b [..., n, k]; NaN where A is singular, there only."""
    if not _apart(a):
        return _solution(a, b)
    shape = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return _each(_solution, a.expand(*shape, -1, -1), b.expand(*shape, -1, -1))


def log_determinant(a: Tensor) -> Tensor:
    """log |det A| of a [..., n, n], real; -inf where a matrix is singular."""
    return _each(_log_determinant, a)


def _unchecked(a: Tensor) -> Tensor:
    return torch.linalg.inv_ex(a)[0]


def _inverse(a: Tensor) -> Tensor:
    # `inv` would raise for the whole batch, and wait for a GPU in order to do so.
    w, info = torch.linalg.inv_ex(a)
    return w.masked_fill((info != 0)[..., None, None], torch.nan)


def _solution(a: Tensor, b: Tensor) -> Tensor:
    x, info = torch.linalg.solve_ex(a, b)
    return x.masked_fill((info != 0)[..., None, None], torch.nan)


def _log_determinant(a: Tensor) -> Tensor:
    return torch.linalg.slogdet(a).logabsdet


def _each(function: Callable[..., Tensor], a: Tensor, *others: Tensor) -> Tensor:
    """A function of the whole batch, or of a matrix at a time."""
    if not _apart(a):
        return function(a, *others)
    batches = [t.flatten(0, -3) for t in (a, *others)]
    found = torch.stack([function(*one) for one in zip(*batches, strict=True)])
    return found.unflatten(0, a.shape[:-2])


def _apart(a: Tensor) -> bool:
    """Whether a batch must not be factored by several threads at once."""
    return a.device.type == "cpu" and a.shape[-1] > _TOGETHER and a.shape[:-2].numel() > 1
