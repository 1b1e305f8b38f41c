"""Vectors that are known up to their order and phase, in one gauge along the parameter."""

from __future__ import annotations

import torch
from torch import Tensor

from neumatc_mimo.operations.base import frobenius, identity, positive


def tracked(v: Tensor) -> tuple[Tensor, Tensor]:
    r"""Order and phase that make the columns of v [..., P, n, L] continuous along P.

    Columns keep their order at the centre sample and are tracked from there by the largest overlap
    between neighbours, with :math:`\langle v(p_k), v(p_{k+1}) \rangle` real and positive (parallel
    transport). At the centre the entry that is largest in magnitude is real and positive. Real
    vectors stay real: their phases are signs.

    :return: [..., P, L] index of the column that continues branch l, [..., P, L] factor for it
    """
    centre = v.shape[-3] // 2
    # From the centre upwards, and downwards with the centre left out of the result.
    up = _transport(v[..., centre:, :, :])
    down = _transport(v[..., : centre + 1, :, :].flip(-3))
    order, phase = (
        torch.cat([part_down[..., 1:, :].flip(-2), part_up], dim=-2)
        for part_down, part_up in zip(down, up, strict=True)
    )
    return order, phase


def matched(reference: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Order and phase that bring the columns of v [..., n, L] closest to those of a reference.

    :return: [..., L] index of the column that overlaps most, [..., L] factor for it
    """
    order, overlap = _match(reference, v)
    return order, unit(overlap.conj())


def turned(v: Tensor, order: Tensor, phase: Tensor) -> Tensor:
    """Columns of v [..., n, L] in an order [..., l], l <= L, times factors [..., l]."""
    index = order[..., None, :].expand(*v.shape[:-1], order.shape[-1])
    return v.gather(-1, index) * phase[..., None, :]


def chirp_overlap(v: Tensor) -> Tensor:
    r""":math:`c^H V` [..., L] for a chirp c [n] and V [..., n, L], a phase to go by.

    A chirp overlaps with all DFT vectors alike: no beam is orthogonal to it.
    """
    return chirp(v.shape[-2], v).conj() @ v


def chirp(num: int, like: Tensor) -> Tensor:
    """The chirp of :func:`chirp_overlap`, [num]; its real part for a real tensor."""
    index = torch.arange(num, dtype=like.real.dtype, device=like.device)
    turns = torch.polar(torch.ones_like(index), torch.pi * index.square() / num)
    return turns.to(like.dtype) if like.is_complex() else turns.real


def first_order(s: Tensor, values: Tensor) -> Tensor:
    r"""Step E that takes V to the eigenvectors V (I + E), to first order.

    .. math:: E_{ij} = s_{ij} / (\lambda_j - \lambda_i)

    It is zero on the diagonal and for eigenvalues closer together than all of s is large, which
    are not told apart yet (Ogita and Aishima, 2018, Algorithm 1).

    :param s: [..., L, L], :math:`V^{-1} A V` off its diagonal
    :param values: λ, [..., L]
    """
    gap = values[..., None, :] - values[..., :, None]
    size = frobenius(s - torch.diag_embed(s.diagonal(dim1=-2, dim2=-1)))
    # Equal eigenvalues differ by rounding, and so may s in between.
    rounding = 8 * values.shape[-1] * torch.finfo(size.dtype).eps * values.abs().amax(-1)
    close = gap.abs() <= (2 * size + rounding)[..., None, None]
    return (s / gap.masked_fill(close, 1.0)).masked_fill(close, 0.0)


def unit(z: Tensor) -> Tensor:
    """z / |z|, and 1 where |z|² is zero."""
    if not z.is_complex():
        return torch.where(z == 0, torch.ones_like(z), torch.sgn(z))
    # From squares: a complex modulus guards against overflow, and takes five times as long.
    parts = torch.view_as_real(z.resolve_conj())
    power = parts.square().sum(-1, keepdim=True)
    turned = torch.view_as_complex(parts * power.rsqrt())
    return turned.masked_fill(power[..., 0] == 0, 1)


def normalised(v: Tensor) -> tuple[Tensor, Tensor]:
    """Columns of v [..., n, L] with unit norm, and the norms [..., L] that they had."""
    norm = column_norms(v)
    return v / positive(norm)[..., None, :], norm


def column_norms(v: Tensor) -> Tensor:
    """Norms [..., L] of the columns of v [..., n, L]."""
    parts = torch.view_as_real(v.resolve_conj()) if v.is_complex() else v[..., None]
    return parts.square().sum((-3, -1)).sqrt()


def orthonormal(x: Tensor) -> Tensor:
    """Orthonormal basis of the columns of x, by Cholesky: LAPACK's QR is slow in batches.

    The Gram matrix of nearly parallel columns is not definite in rounding, so a first pass shifts
    it; the two others make its result orthonormal (Fukaya et al., Shifted Cholesky QR for computing
    the QR factorization of ill-conditioned matrices, SIAM J. Sci. Comput. 42, 2020).
    """
    num_rows, num_cols = x.shape[-2:]
    size = num_rows * num_cols + num_cols * (num_cols + 1)
    shift = 11 * size * num_cols * torch.finfo(x.dtype).eps / 2
    for added in (shift, 0.0, 0.0):
        x = x / positive(torch.linalg.norm(x, dim=-2, keepdim=True))
        gram = x.mH @ x + added * identity(x)
        factor, _ = torch.linalg.cholesky_ex(gram, check_errors=False)
        x = torch.linalg.solve_triangular(factor, x.mH, upper=False).mH
    return x


def _match(reference: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Order of the columns of v that overlap most with those of the reference, and ⟨ref, v⟩.

    Pairs are taken greedily, the largest overlap first.

    :return: [..., L] index into v, [..., L] overlap of the pairs
    """
    overlap = reference.mH @ v
    free = overlap.abs()
    num = free.shape[-1]
    order = torch.zeros(free.shape[:-1], dtype=torch.int64, device=v.device)
    positions = torch.arange(num, device=v.device)
    for _ in range(num):
        best = free.flatten(-2).argmax(-1, keepdim=True)
        row, col = best // num, best % num
        order = torch.where(positions == row, col, order)
        taken = (positions == row)[..., :, None] | (positions == col)[..., None, :]
        free = free.masked_fill(taken, -1.0)
    return order, overlap.gather(-1, order[..., None])[..., 0]


def _transport(v: Tensor) -> tuple[Tensor, Tensor]:
    """Order and phase that make v [..., P, n, L] continuous from its first sample on."""
    # Neighbours are matched all at once; only the small matchings are chained.
    step, overlap = _match(v[..., :-1, :, :], v[..., 1:, :, :])
    start = torch.arange(v.shape[-1], device=v.device).expand(*v.shape[:-3], 1, -1)
    order = _composed(torch.cat([start, step], dim=-2))
    # Overlap of branch l between samples k and k + 1, then its accumulated phase in float64.
    overlap = overlap.gather(-1, order[..., :-1, :])
    first = v[..., 0, :, :]
    largest = first.abs().argmax(-2, keepdim=True)
    phase = unit(first.gather(-2, largest)).conj()
    turns = torch.cat([phase, unit(overlap.conj())], dim=-2)
    turns = turns.to(torch.promote_types(v.dtype, torch.float64))
    return order, unit(turns.cumprod(-2)).to(v.dtype)


def _composed(steps: Tensor) -> Tensor:
    """Composition of all permutations [..., P, L] up to each sample, by doubling."""
    shift = 1
    while shift < steps.shape[-2]:
        later = steps[..., shift:, :].gather(-1, steps[..., :-shift, :])
        steps = torch.cat([steps[..., :shift, :], later], dim=-2)
        shift *= 2
    return steps
