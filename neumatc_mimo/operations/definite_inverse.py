"""Inverses of many small positive definite matrices."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neumatc_mimo.tensors import lu
from neumatc_mimo.tensors.differentiated import is_differentiated
from neumatc_mimo.tensors.tracing import is_mapped, is_traced

# Where elimination over the whole batch beats LAPACK, which takes one matrix after the other on one
# core: 5 times at 8 x 8, even at 16 x 16 (2 cores). Few matrices do not pay its many steps.
_LARGEST, _FEWEST = 16, 256
# Matrices that are eliminated together: so many of 8 x 8 stay in a core's cache.
_ENTRIES = 2**18


def definite_inverse(a: Tensor) -> Tensor:
    r"""Inverses of Hermitian positive definite matrices A [..., m, m]; NaN for any other.

    Small matrices by Gauss-Jordan elimination, m steps that each divide a row by its pivot and
    take it from all other rows, over the batch as the innermost dimension: definite matrices need
    no pivoting (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., Section 14.4).
    Larger or few ones by Cholesky factorisation. A matrix that is not positive definite becomes NaN
    by itself, without a look at the device.

    Its derivative, dA⁻¹ = -A⁻¹ dA A⁻¹, takes no other inverse.
    """
    if not is_differentiated(a):
        return _inverse(a)
    # A compiler derives a factorisation by itself, but follows no function with a rule of its own.
    return _factored(a) if is_traced() else _Inverse.apply(a)  # type: ignore[no-untyped-call]


def side_by_side_inverse(a: Tensor, added: Tensor) -> Tensor:
    r"""Inverses of matrices A [m, m, ...] + diag(added [m, ...]) that lie side by side, which are
    Hermitian positive definite but for factors :math:`D A D^{-1}` with a positive diagonal D.

    Eliminated as those of :func:`definite_inverse`, rounding left as it is: a pivot that is lost to
    it gives some number, as a factorisation with pivots would, not NaN.
    """
    shape = torch.broadcast_shapes(a.shape[2:], added.shape[1:])
    a = a.expand(-1, -1, *shape)
    if _is_written_out(a, added) or len(a) > _LARGEST:
        diagonal = (a.diagonal().movedim(-1, 0) + added).movedim(0, -1)
        whole = a.diagonal_scatter(diagonal).movedim((0, 1), (-2, -1))
        return lu.unchecked_inverse(whole).movedim((-2, -1), (0, 1))
    whole = a.clone(memory_format=torch.contiguous_format)
    for k, one in enumerate(added):
        whole[k, k] += one
    inverse, _ = _eliminated(whole)
    return inverse


def _is_written_out(*tensors: Tensor) -> bool:
    """Whether nothing may be changed in place."""
    return is_differentiated(*tensors) or is_traced() or is_mapped()


def side_by_side_product(a: Tensor, x: Tensor) -> Tensor:
    """Products [m, ...] of matrices that lie as [m, n, ...] with vectors [n, ...]."""
    return side_by_side_row_products(a, x[None])


def side_by_side_rest(a: Tensor, x: Tensor) -> Tensor:
    """As :func:`side_by_side_product`, of square matrices without their diagonals."""
    if _is_written_out(a, x):
        return (a.diagonal_scatter(torch.zeros_like(a.diagonal())) * x).sum(1)
    whole = torch.zeros_like(a[:, 0])
    for number, factor in enumerate(x):
        for rows in (slice(number), slice(number + 1, None)):
            whole[rows].addcmul_(a[rows, number], factor)
    return whole


def side_by_side_row_products(a: Tensor, b: Tensor) -> Tensor:
    r"""Products of a row of A [m, n, ...] with the same row of B, :math:`(A B^{\mathsf T})_{kk}`,
    [m, ...]; B may have ones in the place of all dimensions but the second.
    """
    if _is_written_out(a, b):
        return (a * b).sum(1)
    whole = a[:, 0] * b[:, 0]
    for one, other in zip(a.unbind(1)[1:], b.unbind(1)[1:], strict=True):
        whole.addcmul_(one, other)
    return whole


def regularised_inverse(gram: Tensor, no: Tensor | float) -> Tensor:
    r"""(G + σ² I)⁻¹ of Hermitian matrices G [..., m, m]; some number where that is not positive
    definite, as pivots of elimination that are rounding are raised to it.

    In the units :math:`D = \operatorname{diag}(g_{kk} + \sigma^2)^{-1/2}` of its diagonal no
    number leaves its range, and the condition number is near the smallest that any scaling gives
    (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., Section 10.1).

    :param no: σ², broadcastable to [..., m]
    """
    own = gram.diagonal(dim1=-2, dim2=-1).real + no
    scale = own.clamp_min(torch.finfo(own.dtype).tiny).rsqrt()
    both = scale[..., :, None] * scale[..., None, :]
    ones = torch.eye(gram.shape[-1], dtype=own.dtype, device=gram.device)
    unit = gram * (both * (1 - ones)) + ones
    # A look at which are not definite would wait for a device.
    if is_traced() or unit.device.type != "cpu":
        return both * _unrolled(unit)
    inverse = definite_inverse(unit)
    lost = torch.isnan(inverse.diagonal(dim1=-2, dim2=-1).real.sum(-1))
    if not is_mapped() and bool(lost.any()):
        inverse = inverse.index_put((lost,), _unrolled(unit[lost]))
    return both * inverse


class _Inverse(torch.autograd.Function):
    """The inverse and its derivative: elimination writes in place, where autograd can't follow."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor) -> Tensor:
        return _inverse(a)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        del inputs
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return -(x.mH @ gradient @ x.mH)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return -(x @ tangent @ x)


def _inverse(a: Tensor) -> Tensor:
    """The inverse, by the way that suits size and number."""
    m = a.shape[-1]
    flat = a.reshape(-1, m, m)
    if m > _LARGEST or len(flat) < _FEWEST or is_mapped():
        return _factored(a)
    inverse = torch.empty_like(flat)
    for some, into in zip(*(x.split(_ENTRIES // m**2) for x in (flat, inverse)), strict=True):
        # A copy in any case: 1 x 1 matrices lie in that order already.
        batch_last = some.permute(1, 2, 0).clone(memory_format=torch.contiguous_format)
        found, pivots = _eliminated(batch_last)
        found.masked_fill_(~(pivots > 0).all(0), torch.nan)
        into.copy_(found.permute(2, 0, 1))
    return inverse.view(a.shape)


def _factored(a: Tensor) -> Tensor:
    """The inverse by Cholesky factorisation."""
    factor, info = torch.linalg.cholesky_ex(a, check_errors=False)
    factor = factor.masked_fill((info != 0)[..., None, None], torch.nan)
    return torch.cholesky_inverse(factor)


def _eliminated(a: Tensor) -> tuple[Tensor, Tensor]:
    """Inverses of A [m, m, ...], in place, and the pivots [m, ...]."""
    pivots = []
    for k in range(len(a)):
        pivots.append(a[k, k].real.clone())
        factor = pivots[-1].reciprocal()
        row = a[k] * factor
        row[k] = factor
        column = a[:, k].clone()
        column[k] = 0
        a[:, k] = 0
        a.addcmul_(column[:, None], row[None], value=-1)
        a[k] = row
    return a, torch.stack(pivots)


def _unrolled(a: Tensor) -> Tensor:
    """Inverses of A [..., m, m] by the same elimination, written out in sums and products alone, as
    graphs that leave PyTorch have no factorisation.
    """
    one = torch.eye(a.shape[-1], dtype=a.real.dtype, device=a.device)
    for k in range(a.shape[-1]):
        here = one[k]
        others = 1 - here
        pivot = a[..., k : k + 1, k : k + 1].real
        factor = pivot.clamp_min(torch.finfo(pivot.dtype).eps).reciprocal()
        column = a[..., :, k : k + 1] * others[:, None]
        row = (a[..., k : k + 1, :] * others + here) * factor
        a = (a * others - column * row) * others[:, None] + row * here[:, None]
    return a
