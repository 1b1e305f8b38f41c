"""Algebra of small matrices in registers: tiles [rows, columns, subcarriers], complex as pairs.

Rows are padded to a power of two. A row or column of a tile is taken out by a sum over all but
one that are left out: Triton has no other index into registers.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def load_pair(at, mask):  # type: ignore[no-untyped-def]
    """Complex numbers; zero where they are not loaded."""
    return tl.load(at, mask=mask, other=0.0), tl.load(at + 1, mask=mask, other=0.0)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def store_pair(at, real, imag, mask):  # type: ignore[no-untyped-def]
    """Complex numbers, to where ``load_pair`` finds them."""
    tl.store(at, real, mask=mask)
    tl.store(at + 1, imag, mask=mask)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def diagonal_of(tile, i, j):  # type: ignore[no-untyped-def]
    """The diagonal of a tile [rows, rows, ...] along its second dimension, [1, rows, ...]."""
    return tl.sum(tl.where(i == j, tile, 0.0), axis=0)[None, :, :]


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def turned(along_j, i, j):  # type: ignore[no-untyped-def]
    """A vector [1, rows, subcarriers] along the first dimension."""
    return tl.sum(tl.where(i == j, along_j, 0.0), axis=1)[:, None, :]


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def gram(h, row_step, column_step, rows, columns, f, inside, block_k: tl.constexpr):  # type: ignore[no-untyped-def]
    """A A^H, [rows, rows, subcarriers].

    :param h: of the first row and column at the first subcarrier
    :param f: subcarriers, [1, 1, subcarriers]
    :param inside: those that there are
    """
    i = tl.arange(0, block_k)[:, None, None]
    j = tl.arange(0, block_k)[None, :, None]
    # Loaded both ways: a copy within registers would go through shared memory.
    left = h + i.to(tl.int64) * row_step + 2 * f
    right = h + j.to(tl.int64) * row_step + 2 * f
    real = tl.zeros([block_k, block_k, f.shape[2]], h.dtype.element_ty)
    imag = tl.zeros([block_k, block_k, f.shape[2]], h.dtype.element_ty)
    for _ in range(columns):
        l_real, l_imag = load_pair(left, (i < rows) & inside)
        r_real, r_imag = load_pair(right, (j < rows) & inside)
        real += l_real * r_real + l_imag * r_imag
        imag += l_imag * r_real - l_real * r_imag
        left += column_step
        right += column_step
    return real, imag


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def factored(real, imag, rows, i, j):  # type: ignore[no-untyped-def]
    """C = L L^H: L below the diagonal, L^H above it, the reciprocals of L's diagonal on it; and
    L^-1. NaN from the first pivot that is not positive on.

    :param real: of C, Hermitian, with ones on the diagonal of rows beyond
    """
    inv_real = tl.where(i == j, 1.0, tl.zeros_like(real))
    inv_imag = tl.zeros_like(imag)
    for step in range(rows):
        c_real = tl.sum(tl.where(j == step, real, 0.0), axis=1)[:, None, :]
        c_imag = tl.sum(tl.where(j == step, imag, 0.0), axis=1)[:, None, :]
        r_real = tl.sum(tl.where(i == step, real, 0.0), axis=0)[None, :, :]
        r_imag = tl.sum(tl.where(i == step, imag, 0.0), axis=0)[None, :, :]
        over = 1.0 / tl.sqrt(tl.sum(tl.where(i == step, c_real, 0.0), axis=0)[None, :, :])
        c_real = tl.where(i > step, c_real * over, 0.0)
        c_imag = tl.where(i > step, c_imag * over, 0.0)
        r_real = tl.where(j > step, r_real * over, 0.0)
        r_imag = tl.where(j > step, r_imag * over, 0.0)
        real -= c_real * r_real - c_imag * r_imag
        imag -= c_real * r_imag + c_imag * r_real
        real = tl.where((j == step) & (i > step), c_real, real)
        imag = tl.where((j == step) & (i > step), c_imag, imag)
        real = tl.where((i == step) & (j > step), r_real, real)
        imag = tl.where((i == step) & (j > step), r_imag, imag)
        real = tl.where((i == step) & (j == step), over, real)
        imag = tl.where((i == step) & (j == step), 0.0, imag)
        inv_real, inv_imag = _eliminated(inv_real, inv_imag, c_real, c_imag, over, step, i)
    return real, imag, inv_real, inv_imag


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def solved_forward(  # type: ignore[no-untyped-def]
    real, imag, factor, row_step, entry_step, rows, i, inside, conjugate: tl.constexpr
):
    """L^-1 Z for a tile Z [rows, ..., subcarriers] and L as ``factored`` gives it, in memory.

    :param factor: of the first row and column, at the subcarriers
    :param conjugate: for the conjugate of L
    """
    at = factor + i.to(tl.int64) * row_step
    for step in range(rows):
        l_real, l_imag = load_pair(at, (i > step) & (i < rows) & inside)
        if conjugate:
            l_imag = -l_imag
        over = tl.load(factor, mask=inside, other=1.0)
        real, imag = _eliminated(real, imag, l_real, l_imag, over, step, i)
        at += entry_step
        factor += row_step + entry_step
    return real, imag


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def solved_backward(  # type: ignore[no-untyped-def]
    real, imag, factor, row_step, entry_step, rows, i, inside, conjugate: tl.constexpr
):
    """L^-H Z, as :func:`solved_forward`."""
    last = rows - 1
    at = factor + i.to(tl.int64) * row_step
    for _ in range(last):
        at += entry_step
        factor += row_step + entry_step
    for back in range(rows):
        step = last - back
        u_real, u_imag = load_pair(at, (i < step) & inside)
        if conjugate:
            u_imag = -u_imag
        over = tl.load(factor, mask=inside, other=1.0)
        real, imag = _eliminated(real, imag, u_real, u_imag, over, step, i)
        at -= entry_step
        factor -= row_step + entry_step
    return real, imag


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _eliminated(real, imag, c_real, c_imag, over, step, i):  # type: ignore[no-untyped-def]
    """A row of Z times ``over``, and a column times it taken from all rows."""
    one_real = tl.sum(tl.where(i == step, real, 0.0), axis=0)[None, :, :] * over
    one_imag = tl.sum(tl.where(i == step, imag, 0.0), axis=0)[None, :, :] * over
    real = tl.where(i == step, one_real, real) - (c_real * one_real - c_imag * one_imag)
    imag = tl.where(i == step, one_imag, imag) - (c_real * one_imag + c_imag * one_real)
    return real, imag


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def column_powers(h, row_step, column_step, y_real, y_imag, rows, columns, f, i, inside):  # type: ignore[no-untyped-def]
    """Squares of the norms of the columns of A^H Y, [1, rows, subcarriers]."""
    at = h + i.to(tl.int64) * row_step + 2 * f
    whole = tl.sum(tl.zeros_like(y_real), axis=0)[None, :, :]
    for _ in range(columns):
        h_real, h_imag = load_pair(at, (i < rows) & inside)
        real = tl.sum(h_real * y_real + h_imag * y_imag, axis=0)[None, :, :]
        imag = tl.sum(h_real * y_imag - h_imag * y_real, axis=0)[None, :, :]
        whole += real * real + imag * imag
        at += column_step
    return whole
