"""The source of the largest sum rate: ``native/wmmse.h``, which explains it, in Triton."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from neumatc_mimo.kernels.on_gpu.algebra import diagonal_of, gram, store_pair, turned
from neumatc_mimo.kernels.on_gpu.filters import RANGE, Solves, noise_arguments
from neumatc_mimo.kernels.on_gpu.iterated import amplified, in_unit, inverted
from neumatc_mimo.kernels.on_gpu.sizes import filling

# Iterations between two looks at whether it is done.
_BETWEEN = 10


def precoders(h: Tensor, noise: Tensor | None, iterations: int) -> Solves:
    """Precoders of the largest sum rate.

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
        # A square of a change, which so much is rounding.
        still=(8 * precision.eps) ** 2,
        between=_BETWEEN,
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
    between: tl.constexpr,
    block_k: tl.constexpr,
    block_f: tl.constexpr,
):
    item = tl.program_id(1).to(tl.int64)
    f = (tl.program_id(0) * block_f + tl.arange(0, block_f))[None, None, :]
    i = tl.arange(0, block_k)[:, None, None]
    j = tl.arange(0, block_k)[None, :, None]
    inside = f < num
    known = (j < rows) & inside
    factor += item * factor_item + 2 * f
    g_real, g_imag = gram(h + item * h_item, h_row, h_column, rows, columns, f, inside, block_k)
    g_real, g_imag, sigma, over, nothing = in_unit(
        g_real, g_imag, noise + item * noise_item + f * noise_step, rows, i, j, inside, least, most
    )
    ones = tl.where(j < rows, 1.0, tl.zeros_like(diagonal_of(g_real, i, j)))
    root_d, shift, scale = ones, sigma, tl.zeros_like(sigma) + 1.0
    y_real, y_imag, diagonal = inverted(
        g_real, g_imag, root_d, shift, factor, factor_row, factor_column, rows, i, j, inside
    )
    grown = amplified(g_real, g_imag, y_real, y_imag, diagonal, sigma, known, i, j)
    tl.store(amplification + item * num + f, grown + nothing, mask=inside)

    # At the start all columns get the same power.
    own, powers = _gains(g_real, g_imag, y_real, y_imag, diagonal, root_d, shift, i, j)
    weight = tl.where(j < rows, 1.0 / tl.maximum(powers, tiny), 0.0)
    count = rows.to(g_real.dtype)
    moving = tl.full([], 1, tl.int32)
    for number in range(iterations):
        if moving > 0:
            was_real, was_imag = _formed(y_real, y_imag, root_d, weight, scale, i, j)
            squares = tl.where(i == j, 0.0, y_real * y_real + y_imag * y_imag)
            beside = tl.sum(squares * turned(weight, i, j), axis=0)[None, :, :]
            d = tl.maximum(root_d * root_d, tiny)
            rest = shift * shift * scale * beside / d + sigma
            desired = scale * weight * own * own
            whole = rest + desired
            weight = tl.where(j < rows, whole / tl.maximum(rest, tiny), 0.0)
            next_d = weight * desired / (whole * whole)
            root_d = tl.sqrt(next_d)
            shift = sigma * tl.sum(next_d, axis=1)[None, :, :] / count
            y_real, y_imag, diagonal = inverted(
                g_real, g_imag, root_d, shift, factor, factor_row, factor_column, rows, i, j, inside
            )
            own, powers = _gains(g_real, g_imag, y_real, y_imag, diagonal, root_d, shift, i, j)
            power = tl.sum(weight * powers, axis=1)[None, :, :]
            scale = count / tl.maximum(power, tiny)
            if number % between == between - 1:
                x_real, x_imag = _formed(y_real, y_imag, root_d, weight, scale, i, j)
                change = _image_power(
                    g_real, g_imag, x_real - was_real, x_imag - was_imag, rows, i, j
                )
                moves = ((change > still * count) & inside).to(tl.int32)
                moving = tl.max(tl.max(tl.max(moves, axis=2), axis=1), axis=0)
    at = item * scale_item + j.to(tl.int64) * scale_row + f
    size = tl.sqrt(weight) * (tl.sqrt(scale) * tl.sqrt(over))
    store_pair(before + 2 * at, size, tl.zeros_like(size), known)
    tl.store(after + at, root_d, mask=known)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _gains(g_real, g_imag, y_real, y_imag, diagonal, root_d, shift, i, j):  # type: ignore[no-untyped-def]
    """(G D^½ Y)_kk, and (Y D^½ G D^½ Y)_kk without the cancellation of Y - μ Y²."""
    terms = turned(root_d, i, j) * (g_real * y_real + g_imag * y_imag)
    own = tl.sum(terms, axis=0)[None, :, :]
    squares = tl.where(i == j, 0.0, y_real * y_real + y_imag * y_imag)
    column = tl.sum(squares, axis=0)[None, :, :]
    return own, diagonal * root_d * own - shift * column


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _formed(y_real, y_imag, root_d, weight, scale, i, j):  # type: ignore[no-untyped-def]
    """X of the precoder A^H X in the unit that gives it the power of its columns."""
    both = turned(root_d, i, j) * (tl.sqrt(weight) * tl.sqrt(scale))
    return y_real * both, y_imag * both


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _image_power(g_real, g_imag, x_real, x_imag, rows, i, j):  # type: ignore[no-untyped-def]
    """‖A^H X‖² of all columns, from G, [1, 1, subcarriers]."""
    image_real = tl.zeros_like(x_real)
    image_imag = tl.zeros_like(x_imag)
    for step in range(rows):
        c_real = tl.sum(tl.where(j == step, g_real, 0.0), axis=1)[:, None, :]
        c_imag = tl.sum(tl.where(j == step, g_imag, 0.0), axis=1)[:, None, :]
        r_real = tl.sum(tl.where(i == step, x_real, 0.0), axis=0)[None, :, :]
        r_imag = tl.sum(tl.where(i == step, x_imag, 0.0), axis=0)[None, :, :]
        image_real += c_real * r_real - c_imag * r_imag
        image_imag += c_real * r_imag + c_imag * r_real
    terms = x_real * image_real + x_imag * image_imag
    return tl.sum(tl.sum(terms, axis=0)[None, :, :], axis=1)[None, :, :]
