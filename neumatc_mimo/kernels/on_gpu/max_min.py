"""The source of the largest smallest SINR: ``native/max_min.h``, which explains it, in Triton."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from neumatc_mimo.kernels.on_gpu.algebra import (
    column_powers,
    diagonal_of,
    gram,
    store_pair,
    turned,
)
from neumatc_mimo.kernels.on_gpu.filters import RANGE, Solves, noise_arguments
from neumatc_mimo.kernels.on_gpu.iterated import amplified, in_unit, inverted
from neumatc_mimo.kernels.on_gpu.sizes import filling


def precoders(h: Tensor, noise: Tensor | None, iterations: int) -> Solves:
    """Precoders of the largest smallest SINR.

    :param h: [num_items, K, M, num_subcarriers] complex, contiguous along subcarriers
    :param noise: [num_items, num_subcarriers or 1]
    :param iterations: at most
    """
    items, rows, columns, num = h.shape
    solves, seen = Solves.empty(h), torch.view_as_real(h)
    block_k, block_f, warps = filling(rows)
    least, most = RANGE[h.dtype]
    precision = torch.finfo(h.dtype)
    _fill[(triton.cdiv(num, block_f), items)](
        seen,
        *seen.stride()[:3],
        *noise_arguments(noise),
        *solves.written(),
        rows,
        columns,
        num,
        iterations,
        least=least,
        most=most,
        # Below it a square is taken for zero.
        tiny=precision.tiny,
        # A change of so much is rounding.
        still=8 * precision.eps,
        block_k=block_k,
        block_f=block_f,
        num_warps=warps,
    )
    return solves


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _fill(  # type: ignore[no-untyped-def]
    h,
    h_item,
    h_row,
    h_column,
    noise,
    noise_item,
    noise_step,
    factor,
    factor_item,
    factor_row,
    factor_column,
    before,
    after,
    scale_item,
    scale_row,
    amplification,
    rows,
    columns,
    num,
    iterations,
    least: tl.constexpr,
    most: tl.constexpr,
    tiny: tl.constexpr,
    still: tl.constexpr,
    block_k: tl.constexpr,
    block_f: tl.constexpr,
):
    item = tl.program_id(1).to(tl.int64)
    f = (tl.program_id(0) * block_f + tl.arange(0, block_f))[None, None, :]
    i = tl.arange(0, block_k)[:, None, None]
    j = tl.arange(0, block_k)[None, :, None]
    inside = f < num
    known = (j < rows) & inside
    h += item * h_item
    factor += item * factor_item + 2 * f
    g_real, g_imag = gram(h, h_row, h_column, rows, columns, f, inside, block_k)
    g_real, g_imag, sigma, over, nothing = in_unit(
        g_real, g_imag, noise + item * noise_item + f * noise_step, rows, i, j, inside, least, most
    )
    q = tl.zeros_like(diagonal_of(g_real, i, j)) + 1.0
    y_real, y_imag, diagonal = inverted(
        g_real, g_imag, q, sigma, factor, factor_row, factor_column, rows, i, j, inside
    )
    grown = amplified(g_real, g_imag, y_real, y_imag, diagonal, sigma, known, i, j)

    count = rows.to(g_real.dtype)
    gain = _gains(g_real, g_imag, y_real, y_imag, q, tiny, i, j)
    moving = tl.full([], 1, tl.int32)
    for _ in range(iterations):
        if moving > 0:
            # Without user k itself, by the formula of Sherman and Morrison.
            sent = tl.where(j < rows, tl.maximum(sigma * diagonal, tiny) / gain, 0.0)
            sent *= count / tl.maximum(tl.sum(sent, axis=1)[None, :, :], tiny)
            change = tl.max(tl.abs(tl.where(j < rows, sent - q, 0.0)), axis=1)[None, :, :]
            greatest = tl.max(sent, axis=1)[None, :, :]
            q = tl.where(j < rows, sent, 1.0)
            moves = ((change > greatest * still) & inside).to(tl.int32)
            moving = tl.max(tl.max(tl.max(moves, axis=2), axis=1), axis=0)
            y_real, y_imag, diagonal = inverted(
                g_real,
                g_imag,
                tl.sqrt(q),
                sigma,
                factor,
                factor_row,
                factor_column,
                rows,
                i,
                j,
                inside,
            )
            gain = _gains(g_real, g_imag, y_real, y_imag, q, tiny, i, j)

    # Powers of the directions, then what each user gets of each of them, of unit norm.
    root_q = tl.sqrt(q)
    unit = tl.sqrt(over)
    squares = y_real * y_real + y_imag * y_imag
    beside = tl.sum(tl.where(i == j, 0.0, squares), axis=0)[None, :, :]
    whole = diagonal * gain
    norm = whole - sigma / q * beside
    short = (norm < 0.5 * whole) & known
    if tl.max(tl.max(tl.max(short.to(tl.int32), axis=2), axis=1), axis=0) > 0:
        by = turned(root_q, i, j) * (unit / root_q)
        measured = column_powers(
            h, h_row, h_column, by * y_real, by * y_imag, rows, columns, f, i, inside
        )
        norm = tl.where(short, measured, norm)
    norm = tl.where(known, norm, 1.0)
    ratio = tl.where(j < rows, q * gain / tl.maximum(sigma * diagonal, tiny), 0.0)
    crossed = sigma * sigma * squares / (turned(q, i, j) * q * norm)
    system = tl.where(i == j, 0.0, -turned(ratio, i, j) * crossed)
    system += tl.where(i == j, tl.where(known, gain * gain / norm, 1.0), 0.0)
    powers = diagonal_of(_divided(system, turned(ratio * sigma, i, j), rows, i, j), i, j)
    # There is no power below zero, and none that is not finite.
    lost = tl.where(powers > 0.0, 0.0, float("nan"))
    nothing += tl.sum(tl.where(known, lost, 0.0), axis=1)[None, :, :]
    tl.store(amplification + item * num + f, grown + nothing, mask=inside)
    total = tl.sum(tl.where(known, powers, 0.0), axis=1)[None, :, :]
    share = tl.where(known & (powers > 0.0), powers / norm, 0.0) * (
        count / tl.where(total > 0.0, total, 1.0)
    )
    at = item * scale_item + j.to(tl.int64) * scale_row + f
    size = tl.sqrt(tl.maximum(share, 0.0)) / root_q * unit
    store_pair(before + 2 * at, size, tl.zeros_like(size), known)
    tl.store(after + at, root_q, mask=known)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _gains(g_real, g_imag, y_real, y_imag, q, tiny: tl.constexpr, i, j):  # type: ignore[no-untyped-def]
    """(G F)_kk of the directions A^H F, F = Q^½ Z Q^-½, [1, rows, subcarriers]."""
    root_q = tl.sqrt(q)
    terms = turned(root_q, i, j) * (g_real * y_real + g_imag * y_imag)
    return tl.maximum(tl.sum(terms, axis=0)[None, :, :] / root_q, tiny)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _divided(system, p, rows, i, j):  # type: ignore[no-untyped-def]
    """The system's solution for p [rows, 1, subcarriers], by elimination: of an M-matrix, it needs
    no pivots.
    """
    for step in range(rows):
        row = tl.sum(tl.where(i == step, system, 0.0), axis=0)[None, :, :]
        column = tl.sum(tl.where(j == step, system, 0.0), axis=1)[:, None, :]
        over = 1.0 / tl.sum(tl.where(i == step, column, 0.0), axis=0)[None, :, :]
        one = tl.sum(tl.where(i == step, p, 0.0), axis=0)[None, :, :] * over
        row *= over
        system = tl.where(i == step, row, system - column * row)
        p = tl.where(i == step, one, p - column * one)
    return p
