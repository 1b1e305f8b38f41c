"""Results that are computed again in double precision, where rounding leaves too little of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from neumatc_mimo.operations.base import Components, Operation, Surely, scalar

# Share of a result that rounding may take before it is computed again: at least some 50 dB are
# left. The second one is what no number of the caller's precision can do better than: 40 dB.
_DOUBTFUL, _HOPELESS = 5e-4, 1e-2
# Share of a result that some roundings of single precision take.
_SHOWN = 1e-6


def doubtful(amplification: Tensor) -> Tensor:
    """Where rounding, so many times amplified, is too much of a result; NaN counts, [...] bool."""
    return ~(amplification * torch.finfo(amplification.dtype).eps < _DOUBTFUL)


def shown(amplification: Tensor) -> Tensor:
    """Where rounding of double precision, so many times amplified, is seen in results of single
    precision, too; NaN counts, [...] bool. No matrix is below it that is :func:`hopeless` there.
    """
    return ~(amplification * torch.finfo(torch.float64).eps < _SHOWN)


def hopeless(condition: Tensor, dtype: torch.dtype) -> Tensor:
    """Where a matrix of this condition number has no result of the precision ``dtype``."""
    return ~(condition * torch.finfo(dtype).eps < _HOPELESS)


def gain_terms(gram: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """:math:`(A A^H X)_{kk}` of Hermitian matrices [..., m, m], and the sum of its terms' sizes,
    real [..., m] each: how many digits cancel where others bury a user in the noise.
    """
    terms = (torch.view_as_real(gram) * torch.view_as_real(x)).sum(-1)
    return terms.sum(-1), terms.detach().abs().sum(-1)


def surely(
    operation: Operation,
    a: Tensor,
    no: Tensor | float,
    components: Components,
    amplification: Tensor,
    unproven: Tensor | None,
    precisely: Callable[[Tensor, Tensor | float], Components] | None = None,
) -> Surely:
    """The answer from exact components that are taken from double precision where they have to be.

    :param a: [num_items, num_subcarriers, m, n]
    :param amplification: by how much rounding grows in components, [num_items, num_subcarriers]
    :param unproven: likewise, other matrices to compute again
    :param precisely: computes components in double precision; None is ``operation.exact``
    """
    where = doubtful(amplification)
    if unproven is not None:
        where = where | unproven
    if not bool(where.any()):
        return Surely(operation.answer(components, no))
    # What is not finite is not for LAPACK.
    where = where & torch.isfinite(a.detach().abs().sum((-2, -1)))
    fixed = (precisely or operation.exact)(wide(a[where]), noise_at(no, where))
    put = tuple(
        c.index_put((where,), value.to(c.dtype)) for c, value in zip(components, fixed, strict=True)
    )
    return Surely(operation.answer(put, no), int(where.sum()))


def wide(x: Tensor) -> Tensor:
    """x in double precision."""
    return x.to(torch.promote_types(x.dtype, torch.float64))


def noise_at(no: Tensor | float, where: Tensor) -> Tensor | float:
    """Noise powers of the marked matrices [num_items, num_subcarriers] in double precision."""
    if not isinstance(no, Tensor):
        return no
    return no.expand(where.shape)[where].double()


class OrthogonalFactors(NamedTuple):
    r"""Factors of the filter :math:`W = Q L` and of :math:`X = L^H L`.

    :param q: Q, [num, n, m]
    :param factor: L, [num, m, m]
    :param condition: [num] of the rows of [A, σI] at their best scaling, to a factor of m
    """

    q: Tensor
    factor: Tensor
    condition: Tensor


class OrthogonalFilter(NamedTuple):
    r"""The filter :math:`W = A^H X` and what belongs to it.

    :param w: [num, n, m]
    :param x: [num, m, m]
    :param gain: [num, m], :math:`(A W)_{kk}`
    :param norm: [num, m] of the columns
    :param condition: [num] of the rows of [A, σI] at their best scaling, to a factor of m
    """

    w: Tensor
    x: Tensor
    gain: Tensor
    norm: Tensor
    condition: Tensor


def orthogonal_factors(a: Tensor, no: Tensor | float) -> OrthogonalFactors:
    r"""Factors of the filter from an orthogonal factorisation, which squares no condition number.

    With rows of unit norm, B = D A, and :math:`[B, \sigma D]^H = Q R` it is
    :math:`W = Q_1 R^{-H} D`, :math:`X = D R^{-1} R^{-H} D` (Golub and Van Loan, Matrix
    Computations, 4th ed., Sec. 5.3). Rows of zeros, of users without a channel, get columns of
    zeros.

    :param a: [num, m, n], double precision
    :param no: [num] or scalar
    """
    size = torch.linalg.vector_norm(a, dim=-1)
    silent = size == 0
    scale = torch.where(silent, 1.0, size).reciprocal()
    sigma = scalar(no, size.dtype, a.device).sqrt()[..., None] * scale
    below = torch.where(silent & (sigma == 0), 1.0, sigma)
    tall = torch.cat([(a * scale[..., None]).mH, torch.diag_embed(below).to(a.dtype)], dim=-2)
    q, r = torch.linalg.qr(tall)
    eye = torch.eye(r.shape[-1], dtype=r.dtype, device=r.device)
    inverse = torch.linalg.solve_triangular(r, eye.expand_as(r), upper=True).mH
    own = torch.where(silent, 0.0, 1.0) + below.square()
    condition = own.sqrt() * torch.linalg.vector_norm(inverse, dim=-2)
    return OrthogonalFactors(
        q[..., : a.shape[-1], :], inverse * scale[..., None, :], condition.amax(-1)
    )


def orthogonal_filter(a: Tensor, no: Tensor | float) -> OrthogonalFilter:
    """The filter from :func:`orthogonal_factors`.

    :param a: [num, m, n], double precision
    :param no: [num] or scalar
    """
    factors = orthogonal_factors(a, no)
    w = factors.q @ factors.factor
    gain = (a * w.mT).sum(-1).real
    norm = torch.linalg.vector_norm(w, dim=-2)
    return OrthogonalFilter(w, factors.factor.mH @ factors.factor, gain, norm, factors.condition)
