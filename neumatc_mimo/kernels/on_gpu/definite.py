"""The source of zero forcing, MMSE and SLNR: ``native/definite.h`` and ``native/leakage.h``, which
explain it, in Triton.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from neumatc_mimo.kernels.on_gpu.algebra import (
    column_powers,
    diagonal_of,
    factored,
    gram,
    load_pair,
    solved_backward,
    solved_forward,
    store_pair,
)
from neumatc_mimo.kernels.on_gpu.filters import RANGE, Receiving, Solves, noise_arguments
from neumatc_mimo.kernels.on_gpu.places import numbers
from neumatc_mimo.kernels.on_gpu.sizes import filling


def precoders(h: Tensor, noise: Tensor | None, chirp: Tensor | None = None) -> Solves:
    """Filters with columns of unit norm.

    :param h: [num_items, K, M, num_subcarriers] complex, contiguous along subcarriers
    :param noise: [num_items, num_subcarriers or 1], or None for zero
    :param chirp: [M] complex, with whose conjugate columns get inner products that are real and
        positive; None leaves their phases
    """
    return _filled(h, noise, chirp, None, None)


def receivers(h: Tensor, noise: Tensor | None, no_eff: Tensor, streams: Sequence[int]) -> Receiving:
    """Filters with gains of one, and the noise behind them.

    :param h: as for :func:`precoders`
    :param noise: likewise
    :param no_eff: is written, [num_items, num_streams, num_subcarriers]
    :param streams: rows of h that are put out
    """
    among = {stream: number for number, stream in enumerate(streams)}
    place = numbers(tuple(among.get(row, -1) for row in range(h.shape[1])), h.device)
    solves = _filled(h, noise, None, no_eff, place)
    return Receiving(h, solves, place, solves.amplification)


def _filled(
    h: Tensor,
    noise: Tensor | None,
    chirp: Tensor | None,
    no_eff: Tensor | None,
    place: Tensor | None,
) -> Solves:
    items, rows, columns, num = h.shape
    solves, seen = Solves.empty(h), torch.view_as_real(h)
    block_k, block_f, warps = filling(rows)
    least, most = RANGE[h.dtype]
    _fill[(triton.cdiv(num, block_f), items)](
        seen,
        *seen.stride()[:3],
        *noise_arguments(noise),
        None if chirp is None else torch.view_as_real(chirp),
        *solves.written(),
        no_eff,
        *((0, 0) if no_eff is None else no_eff.stride()[:2]),
        place,
        rows,
        columns,
        num,
        least=least,
        most=most,
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
    chirp,
    factor,
    factor_item,
    factor_row,
    factor_column,
    before,
    after,
    scale_item,
    scale_row,
    amplification,
    no_eff,
    no_eff_item,
    no_eff_row,
    place,
    rows,
    columns,
    num,
    least: tl.constexpr,
    most: tl.constexpr,
    block_k: tl.constexpr,
    block_f: tl.constexpr,
):
    """A receiver's filters where there is ``no_eff``, else a precoder's."""
    item = tl.program_id(1).to(tl.int64)
    f = (tl.program_id(0) * block_f + tl.arange(0, block_f))[None, None, :]
    i = tl.arange(0, block_k)[:, None, None]
    j = tl.arange(0, block_k)[None, :, None]
    inside = f < num
    known = (j < rows) & inside
    h += item * h_item
    factor += item * factor_item + 2 * f
    g_real, g_imag = gram(h, h_row, h_column, rows, columns, f, inside, block_k)

    # Rows and subcarriers beyond those of the channel are of power one, and meet no other.
    own_j = diagonal_of(g_real, i, j)
    own_i = tl.sum(tl.where(i == j, g_real, 0.0), axis=1)[:, None, :]
    power_j, power_i = own_j, own_i
    if noise is not None:
        sigma = tl.load(noise + item * noise_item + f * noise_step, mask=inside, other=0.0)
        power_j += sigma
        power_i += sigma
    power_j = tl.where(known, power_j, 1.0)
    power_i = tl.where((i < rows) & inside, power_i, 1.0)
    fits = (power_j > least) & (power_j < most)
    nothing = tl.where(fits, 0.0, float("nan"))
    scale_j = 1.0 / tl.sqrt(power_j)
    both = (1.0 / tl.sqrt(power_i)) * scale_j
    c_real = tl.where(i == j, 1.0, g_real * both)
    c_imag = tl.where(i == j, 0.0, g_imag * both)

    l_real, l_imag, x_real, x_imag = factored(c_real, c_imag, rows, i, j)
    diagonal = tl.sum(x_real * x_real + x_imag * x_imag, axis=0)[None, :, :]
    # Zero, and NaN where this is infinite or NaN.
    nothing += diagonal - diagonal
    grown = tl.where((j < rows) & (diagonal == diagonal), diagonal, 0.0)
    at = i.to(tl.int64) * factor_row + j.to(tl.int64) * factor_column
    store_pair(factor + at, l_real, l_imag, (i < rows) & known)

    norm, behind, before_j, after_j = diagonal, tl.zeros_like(diagonal), scale_j, scale_j
    # The factor is read by other threads than those that wrote it.
    tl.debug_barrier()
    if noise is not None:
        y_real, y_imag = solved_backward(
            x_real, x_imag, factor, factor_row, factor_column, rows, i, inside, False
        )
        # The shares of symbols that the filter keeps; for users below the noise from products,
        # which cancel where other users bury one.
        loss = sigma / power_j * diagonal
        alone = own_j / power_j * diagonal
        terms = tl.where(i == j, 0.0, c_real * y_real + c_imag * y_imag)
        total = tl.maximum(alone + tl.sum(terms, axis=0)[None, :, :], 0.0)
        size = alone + tl.sum(tl.abs(terms), axis=0)[None, :, :]
        below = loss > 0.5
        gain = tl.where(below, total, 1.0 - loss)
        cancelled = tl.where(total > 0.0, size / tl.where(total > 0.0, total, 1.0), float("inf"))
        grown = tl.maximum(grown, tl.where(below & (size > 0.0) & known, cancelled, 0.0))
        if no_eff is not None:
            # Of a stream that does not arrive nothing is known: zero, in infinite noise.
            over = 1.0 / tl.where(gain == 0.0, 1.0, gain)
            after_j = tl.where(gain == 0.0, 0.0, scale_j * over)
            behind = tl.where(gain == 0.0, float("inf"), loss * over)
        else:
            whole = norm * gain
            leaks = sigma / power_i * (y_real * y_real + y_imag * y_imag)
            norm = whole - tl.sum(tl.where(i == j, 0.0, leaks), axis=0)[None, :, :]
            short = (norm < 0.5 * whole) & known
            if tl.max(tl.max(tl.max(short.to(tl.int32), axis=2), axis=1), axis=0) > 0:
                by = 1.0 / tl.sqrt(power_i)
                measured = column_powers(
                    h, h_row, h_column, by * y_real, by * y_imag, rows, columns, f, i, inside
                )
                norm = tl.where(short, measured, norm)
    if no_eff is not None:
        to = tl.load(place + j, mask=j < rows, other=-1)
        at = no_eff + item * no_eff_item + to.to(tl.int64) * no_eff_row + f
        tl.store(at, behind, mask=(to >= 0) & known)
    else:
        # A column of zeros stays one, as in Sionna.
        before_j = 1.0 / tl.sqrt(tl.where(norm > 0.0, norm, 1.0))
    at = item * scale_item + j.to(tl.int64) * scale_row + f
    if chirp is not None:
        t_real, t_imag = _overlaps(
            h,
            h_row,
            h_column,
            chirp,
            power_i,
            factor,
            factor_row,
            factor_column,
            rows,
            columns,
            f,
            i,
            inside,
        )
        t_real, t_imag = diagonal_of(t_real, i, j), diagonal_of(t_imag, i, j)
        size = t_real * t_real + t_imag * t_imag
        over = before_j / tl.sqrt(tl.where(size > 0.0, size, 1.0))
        b_real = tl.where(size > 0.0, t_real * over, before_j)
        b_imag = tl.where(size > 0.0, t_imag * over, 0.0)
        store_pair(before + 2 * at, b_real, b_imag, known)
    else:
        store_pair(before + 2 * at, before_j, tl.zeros_like(before_j), known)
    tl.store(after + at, after_j, mask=known)
    lost = tl.sum(tl.where(j < rows, nothing, 0.0), axis=1)[None, :, :]
    tl.store(amplification + item * num + f, tl.max(grown, axis=1)[None, :, :] + lost, mask=inside)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _overlaps(  # type: ignore[no-untyped-def]
    h,
    row_step,
    column_step,
    chirp,
    power_i,
    factor,
    factor_row,
    factor_column,
    rows,
    columns,
    f,
    i,
    inside,
):
    """The conjugates of the inner products of a chirp with the columns of A^H D C^-1, by solves:
    they lose less than the inverse. [rows, 1, subcarriers]
    """
    at = h + i.to(tl.int64) * row_step + 2 * f
    real = tl.zeros_like(power_i)
    imag = tl.zeros_like(power_i)
    for _ in range(columns):
        h_real, h_imag = load_pair(at, (i < rows) & inside)
        c_real = tl.load(chirp)
        c_imag = tl.load(chirp + 1)
        # The chirp as given is conjugated.
        real += h_real * c_real + h_imag * c_imag
        imag += h_imag * c_real - h_real * c_imag
        at += column_step
        chirp += 2
    by = 1.0 / tl.sqrt(power_i)
    real, imag = solved_forward(
        by * real, by * imag, factor, factor_row, factor_column, rows, i, inside, False
    )
    return solved_backward(real, imag, factor, factor_row, factor_column, rows, i, inside, False)
