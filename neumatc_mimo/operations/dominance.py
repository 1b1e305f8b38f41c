"""Proof that what was left out of a decomposition is no stronger than what was taken."""

from __future__ import annotations

import torch
from torch import Tensor

from neumatc_mimo.operations.base import frobenius, positive
from neumatc_mimo.tensors.tracing import is_traced

# Squarings of a matrix until its bound is taken for its norm: of 16 rows it is 0.15 % above.
_SQUARINGS = 10
# Rounding that is forgiven, in units of eps and of the norm of the whole matrix.
_ROUNDING = 16


def rounding(whole: Tensor) -> Tensor:
    """Differences that tell nothing in matrices of a norm [...]."""
    return _ROUNDING * torch.finfo(whole.dtype).eps * whole


def excess(strongest: Tensor, weakest: Tensor, whole: Tensor) -> Tensor:
    """How far the strongest that was left out lies above the weakest taken, relative, [...].

    :param strongest: an upper bound
    :param whole: norm of the matrix, to which rounding is relative
    """
    strongest = (strongest - rounding(whole)).clamp_min(0)
    return (strongest / positive(weakest) - 1).clamp_min(0)


@torch.no_grad()
def singular_bound(b: Tensor, enough: Tensor) -> Tensor:
    """Upper bound [...] of the singular values of B [..., m, n], see :func:`radius_bound`."""
    bound = frobenius(b)
    if is_traced():
        return radius_bound(_gram(b), enough.square()).sqrt()
    unclear = bound > enough
    if bool(unclear.any()):
        power = enough.expand(bound.shape)[unclear].square()
        bound[unclear] = radius_bound(_gram(b[unclear]), power).sqrt()
    return bound


@torch.no_grad()
def radius_bound(d: Tensor, enough: Tensor) -> Tensor:
    r"""Upper bound [...] of the eigenvalues in magnitude of Hermitian matrices D [..., n, n],

    .. math:: \max \lvert\lambda\rvert \le \lVert D^{2^k} \rVert_F^{2^{-k}}
              \le n^{2^{-k-1}} \max \lvert\lambda\rvert,

    with k growing where the bound is above ``enough`` [...]. (A power iteration comes as close, but
    from below, and never sees what its probe is orthogonal to.)
    """
    shape, bound = d.shape[:-2], frobenius(d).flatten()
    d = d.reshape(-1, *d.shape[-2:]) / positive(bound)[:, None, None]
    enough = enough.expand(shape).flatten()
    todo = torch.arange(len(d), device=d.device)
    for number in range(1, _SQUARINGS + 1):
        # A graph cannot depend on which matrices are done.
        if not is_traced():
            unclear = bound[todo] > enough[todo]
            todo, d = todo[unclear], d[unclear]
            if not len(todo):
                break
        d = d @ d
        size = frobenius(d)
        d = d / positive(size)[:, None, None]
        bound = bound.index_put((todo,), bound[todo] * size.pow(0.5**number))
    return bound.reshape(shape)


def _gram(b: Tensor) -> Tensor:
    """The smaller Gram matrix of B."""
    return b @ b.mH if b.shape[-2] <= b.shape[-1] else b.mH @ b
