"""Banded positive definite systems with many right-hand sides."""

from __future__ import annotations

import torch
from torch import Tensor

# Larger blocks multiply more zeros, smaller ones have too little to do.
_BLOCK = 32


def bandwidth(a: Tensor) -> int:
    """Largest distance from the diagonal of an entry of a [..., n, n] that is not zero."""
    rows, columns = (a != 0).flatten(0, -3).any(0).nonzero(as_tuple=True)
    return int((rows - columns).abs().max()) if len(rows) else 0


def solve_banded(a: Tensor, right: Tensor, width: int) -> Tensor:
    r"""A^{-1} R for Hermitian positive definite matrices that are zero beyond a band.

    A block tridiagonal Cholesky factorisation (Golub and Van Loan, Matrix Computations, 4th ed.,
    Section 4.5): LAPACK's banded solver takes one right-hand side after the other, a dense one
    multiplies zeros mostly.

    :param a: A, [num_items, n, n]
    :param right: R, [num_items, n, num_columns]
    :param width: bandwidth of A, at most n - 1

    :raises torch.linalg.LinAlgError: if a matrix is not positive definite
    """
    num = a.shape[-1]
    block = max(_BLOCK, width)
    inverses: list[Tensor] = []
    below: list[Tensor] = []
    solved: list[Tensor] = []
    for start in range(0, num, block):
        here, before = slice(start, start + block), slice(max(start - block, 0), start)
        diagonal, rest = a[:, here, here], right[:, here]
        if start:
            # Entries of L left of the diagonal block.
            below.append(a[:, here, before] @ inverses[-1].mH)
            diagonal = diagonal - below[-1] @ below[-1].mH
            rest = rest - below[-1] @ solved[-1]
        factor = torch.linalg.cholesky(diagonal)
        eye = torch.eye(factor.shape[-1], dtype=a.dtype, device=a.device).expand_as(factor)
        inverses.append(torch.linalg.solve_triangular(factor, eye, upper=False))
        solved.append(inverses[-1] @ rest)
    found = [inverses[-1].mH @ solved[-1]]
    for inverse, lower, part in zip(inverses[-2::-1], below[::-1], solved[-2::-1], strict=True):
        found.append(inverse.mH @ (part - lower.mH @ found[-1]))
    return torch.cat(found[::-1], dim=1)
