"""The source of the strongest singular vectors: ``native/singular.h``, which explains it, in
Triton.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from neumatc_mimo.kernels.on_gpu.algebra import (
    diagonal_of,
    gram,
    load_pair,
    store_pair,
    turned,
)
from neumatc_mimo.kernels.on_gpu.filters import RANGE, Mixes, Receiving
from neumatc_mimo.kernels.on_gpu.places import numbers
from neumatc_mimo.kernels.on_gpu.sizes import filling

# It is quadratic: what has not converged by then never will.
_MOST_SWEEPS = 12


def beams(h: Tensor, chirp: Tensor, num_streams: int) -> Mixes:
    """Right singular vectors of the strongest streams, A^H U S^-1.

    :param h: [num_items, K, M, num_subcarriers] complex, contiguous along subcarriers
    :param chirp: [M] complex, from whose conjugate they take their phase
    """
    return _filled(h, chirp, num_streams, None, None)


def combiners(h: Tensor, noise: Tensor | None, chirp: Tensor, no_eff: Tensor) -> Receiving:
    """Left singular vectors over the singular values, of the phases that belong to the right ones.

    :param h: as for :func:`beams`
    :param noise: of the rows, [num_items, K]
    :param chirp: as for :func:`beams`
    :param no_eff: is written, the noise behind the streams and what leaks between them,
        [num_items, num_streams, num_subcarriers]
    """
    assert noise is not None
    mixes = _filled(h, chirp, no_eff.shape[1], noise, no_eff)
    place = numbers(tuple(range(no_eff.shape[1])), h.device)
    return Receiving(mixes.matrix.transpose(1, 2), None, place, mixes.amplification)


def _filled(
    h: Tensor, chirp: Tensor, num_streams: int, noise: Tensor | None, no_eff: Tensor | None
) -> Mixes:
    items, rows, columns, num = h.shape
    mixes = Mixes(h.new_empty(items, rows, num_streams, num), h.real.new_empty(items, num))
    seen, matrix = torch.view_as_real(h), torch.view_as_real(mixes.matrix)
    block_k, block_f, warps = filling(rows)
    least, most = RANGE[h.dtype]
    _fill[(triton.cdiv(num, block_f), items)](
        seen,
        *seen.stride()[:3],
        torch.view_as_real(chirp),
        noise,
        *((0, 0) if noise is None else noise.stride()),
        matrix,
        *matrix.stride()[:3],
        mixes.amplification,
        no_eff,
        *((0, 0) if no_eff is None else no_eff.stride()[:2]),
        num_streams,
        rows,
        columns,
        num,
        least=least,
        most=most,
        # Of what two vectors have in common: rounding.
        close=(8 * torch.finfo(h.dtype).eps) ** 2,
        sweeps=_MOST_SWEEPS,
        block_k=block_k,
        block_f=block_f,
        num_warps=warps,
    )
    return mixes


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _fill(  # type: ignore[no-untyped-def]
    h,
    h_item,
    h_row,
    h_column,
    chirp,
    noise,
    noise_item,
    noise_row,
    matrix,
    matrix_item,
    matrix_row,
    matrix_column,
    amplification,
    no_eff,
    no_eff_item,
    no_eff_row,
    streams,
    rows,
    columns,
    num,
    least: tl.constexpr,
    most: tl.constexpr,
    close: tl.constexpr,
    sweeps: tl.constexpr,
    block_k: tl.constexpr,
    block_f: tl.constexpr,
):
    """A combiner's vectors where there is ``no_eff``, else a precoder's."""
    item = tl.program_id(1).to(tl.int64)
    f = (tl.program_id(0) * block_f + tl.arange(0, block_f))[None, None, :]
    i = tl.arange(0, block_k)[:, None, None]
    j = tl.arange(0, block_k)[None, :, None]
    inside = f < num
    known = (j < streams) & inside
    h += item * h_item
    g_real, g_imag = gram(h, h_row, h_column, rows, columns, f, inside, block_k)
    trace = tl.where(inside, tl.sum(diagonal_of(g_real, i, j), axis=1)[None, :, :], 1.0)
    nothing = tl.where((trace > least) & (trace < most), 0.0, float("nan"))
    g_real *= 1.0 / trace
    g_imag *= 1.0 / trace
    u_real = tl.where(i == j, 1.0, tl.zeros_like(g_real))
    u_imag = tl.zeros_like(g_imag)
    turning = tl.zeros_like(trace) + 1.0
    for _ in range(sweeps):
        if tl.max(tl.max(tl.max(turning, axis=2), axis=1), axis=0) > 0.0:
            turning = tl.zeros_like(trace)
            for p in range(rows - 1):
                for q in range(p + 1, rows):
                    g_real, g_imag, u_real, u_imag, turns = _annihilated(
                        g_real, g_imag, u_real, u_imag, p, q, i, j, close, least
                    )
                    turning = tl.maximum(turning, turns)
    nothing = tl.where(turning > 0.0, float("nan"), nothing)
    u_real, u_imag = _sorted(u_real, u_imag, diagonal_of(g_real, i, j), rows, i, j)

    # A^H U, whose columns are those of V times singular values: their norms, more accurate than
    # roots of eigenvalues, their overlap with the chirp, and with each other.
    size = tl.zeros_like(diagonal_of(g_real, i, j))
    o_real = tl.zeros_like(size)
    o_imag = tl.zeros_like(size)
    common_real = tl.zeros_like(u_real)
    common_imag = tl.zeros_like(u_imag)
    at = h + i.to(tl.int64) * h_row + 2 * f
    for _ in range(columns):
        h_real, h_imag = load_pair(at, (i < rows) & inside)
        v_real = tl.sum(h_real * u_real + h_imag * u_imag, axis=0)[None, :, :]
        v_imag = tl.sum(h_real * u_imag - h_imag * u_real, axis=0)[None, :, :]
        c_real = tl.load(chirp)
        c_imag = tl.load(chirp + 1)
        size += v_real * v_real + v_imag * v_imag
        # The chirp as given is conjugated.
        o_real += v_real * c_real - v_imag * c_imag
        o_imag += v_real * c_imag + v_imag * c_real
        if no_eff is not None:
            r_real = turned(v_real, i, j)
            r_imag = turned(v_imag, i, j)
            common_real += r_real * v_real + r_imag * v_imag
            common_imag += r_real * v_imag - r_imag * v_real
        at += h_column
        chirp += 2
    nothing += tl.sum(tl.where(known, size - size, 0.0), axis=1)[None, :, :]
    size = tl.where(size > 0.0, size, 0.0)
    weakest = tl.min(tl.where(known, size, most), axis=1)[None, :, :]
    strongest = tl.max(tl.where(known, size, 0.0), axis=1)[None, :, :]
    # A A^H squares the ratio of singular values; at one of 200 the weakest leaks at -50 dB.
    grown = tl.where(weakest > 0.0, strongest / tl.where(weakest > 0.0, weakest, 1.0), float("inf"))
    tl.store(amplification + item * num + f, grown * 0.1 + nothing, mask=inside)

    norm = tl.sqrt(tl.where(size > 0.0, size, 1.0))
    overlap = o_real * o_real + o_imag * o_imag
    over = 1.0 / (tl.sqrt(tl.where(overlap > 0.0, overlap, 1.0)) * norm)
    by_real = tl.where(overlap > 0.0, o_real * over, 1.0 / norm)
    by_imag = tl.where(overlap > 0.0, -o_imag * over, 0.0)
    at = matrix + item * matrix_item + 2 * f
    at += i.to(tl.int64) * matrix_row + j.to(tl.int64) * matrix_column
    store_pair(
        at,
        u_real * by_real - u_imag * by_imag,
        u_real * by_imag + u_imag * by_real,
        (i < rows) & known,
    )
    if no_eff is not None:
        sigma = tl.load(noise + item * noise_item + i * noise_row, mask=i < rows, other=0.0)
        squares = u_real * u_real + u_imag * u_imag
        behind = tl.sum(squares * sigma, axis=0)[None, :, :] / (norm * norm)
        both = 1.0 / (norm * turned(norm, i, j))
        common_real *= both
        common_imag *= both
        leaks = common_real * common_real + common_imag * common_imag
        behind += tl.sum(tl.where((i == j) | (i >= streams), 0.0, leaks), axis=0)[None, :, :]
        at = no_eff + item * no_eff_item + j.to(tl.int64) * no_eff_row + f
        tl.store(at, behind, mask=known)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _annihilated(  # type: ignore[no-untyped-def]
    g_real, g_imag, u_real, u_imag, p, q, i, j, close: tl.constexpr, least: tl.constexpr
):
    """A Hermitian matrix and its vectors after the rotation that takes out the entry (p, q); and
    one where a lane needed it.
    """
    cp_real = tl.sum(tl.where(j == p, g_real, 0.0), axis=1)[:, None, :]
    cq_real = tl.sum(tl.where(j == q, g_real, 0.0), axis=1)[:, None, :]
    cq_imag = tl.sum(tl.where(j == q, g_imag, 0.0), axis=1)[:, None, :]
    first = tl.sum(tl.where(i == p, cp_real, 0.0), axis=0)[None, :, :]
    second = tl.sum(tl.where(i == q, cq_real, 0.0), axis=0)[None, :, :]
    off_real = tl.sum(tl.where(i == p, cq_real, 0.0), axis=0)[None, :, :]
    off_imag = tl.sum(tl.where(i == p, cq_imag, 0.0), axis=0)[None, :, :]
    off_power = off_real * off_real + off_imag * off_imag
    # Relative to both users' own powers: a weak one's vectors are as accurate as a strong one's.
    turns = off_power > tl.maximum(first * second * close, least)
    apart = second - first
    over = tl.abs(apart) + tl.sqrt(apart * apart + 4.0 * off_power)
    over = 1.0 / tl.where(turns, over, 1.0)
    # The tangent of the angle is t = 2 |a_pq| over, of the sign of `apart`.
    twice = tl.where(apart < 0.0, -2.0 * over, 2.0 * over)
    c = 1.0 / tl.sqrt(1.0 + twice * twice * off_power)
    s_real = tl.where(turns, off_real * twice * c, 0.0)
    s_imag = tl.where(turns, off_imag * twice * c, 0.0)
    c = tl.where(turns, c, 1.0)
    moved = tl.where(turns, twice * off_power, 0.0)

    g_real, g_imag = _columns_turned(g_real, g_imag, p, q, c, s_real, s_imag, j)
    # Rows are the conjugates of columns.
    g_real, g_imag = _rows_turned(g_real, g_imag, p, q, c, s_real, s_imag, i)
    g_real = tl.where((i == p) & (j == p), first - moved, g_real)
    g_real = tl.where((i == q) & (j == q), second + moved, g_real)
    corner = ((i == p) & (j == q)) | ((i == q) & (j == p))
    g_real = tl.where(corner & turns, 0.0, g_real)
    g_imag = tl.where((corner & turns) | (i == j), 0.0, g_imag)
    u_real, u_imag = _columns_turned(u_real, u_imag, p, q, c, s_real, s_imag, j)
    return g_real, g_imag, u_real, u_imag, turns.to(g_real.dtype)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _columns_turned(real, imag, p, q, c, s_real, s_imag, j):  # type: ignore[no-untyped-def]
    """Columns p' = c p - conj(s) q and q' = s p + c q."""
    p_real = tl.sum(tl.where(j == p, real, 0.0), axis=1)[:, None, :]
    p_imag = tl.sum(tl.where(j == p, imag, 0.0), axis=1)[:, None, :]
    q_real = tl.sum(tl.where(j == q, real, 0.0), axis=1)[:, None, :]
    q_imag = tl.sum(tl.where(j == q, imag, 0.0), axis=1)[:, None, :]
    real = tl.where(j == p, c * p_real - s_real * q_real - s_imag * q_imag, real)
    imag = tl.where(j == p, c * p_imag - s_real * q_imag + s_imag * q_real, imag)
    real = tl.where(j == q, s_real * p_real - s_imag * p_imag + c * q_real, real)
    imag = tl.where(j == q, s_real * p_imag + s_imag * p_real + c * q_imag, imag)
    return real, imag


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _rows_turned(real, imag, p, q, c, s_real, s_imag, i):  # type: ignore[no-untyped-def]
    """Rows p' = c p - s q and q' = conj(s) p + c q."""
    p_real = tl.sum(tl.where(i == p, real, 0.0), axis=0)[None, :, :]
    p_imag = tl.sum(tl.where(i == p, imag, 0.0), axis=0)[None, :, :]
    q_real = tl.sum(tl.where(i == q, real, 0.0), axis=0)[None, :, :]
    q_imag = tl.sum(tl.where(i == q, imag, 0.0), axis=0)[None, :, :]
    real = tl.where(i == p, c * p_real - s_real * q_real + s_imag * q_imag, real)
    imag = tl.where(i == p, c * p_imag - s_real * q_imag - s_imag * q_real, imag)
    real = tl.where(i == q, s_real * p_real + s_imag * p_imag + c * q_real, real)
    imag = tl.where(i == q, s_real * p_imag - s_imag * p_real + c * q_imag, imag)
    return real, imag


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _sorted(real, imag, values, rows, i, j):  # type: ignore[no-untyped-def]
    """Columns by descending values [1, rows, subcarriers]: lanes differ in their order."""
    # Rows beyond those of the channel come last.
    value = tl.where(j < rows, values, -1.0)
    other = turned(value, i, j)
    is_before = (other > value) | ((other == value) & (i < j))
    rank = tl.sum(is_before.to(tl.int32), axis=0)[None, :, :]
    to_real = tl.zeros_like(real)
    to_imag = tl.zeros_like(imag)
    for s in range(rows):
        here = rank == s
        to_real = tl.where(j == s, tl.sum(tl.where(here, real, 0.0), axis=1)[:, None, :], to_real)
        to_imag = tl.where(j == s, tl.sum(tl.where(here, imag, 0.0), axis=1)[:, None, :], to_imag)
    return to_real, to_imag
