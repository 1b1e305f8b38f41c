"""What sources of precoders share that iterate on inverses, ``native/iterated.h``, in Triton."""

from __future__ import annotations

import triton
import triton.language as tl

from neumatc_mimo.kernels.on_gpu.algebra import (
    diagonal_of,
    factored,
    solved_backward,
    store_pair,
    turned,
)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def in_unit(  # type: ignore[no-untyped-def]
    real, imag, noise, rows, i, j, inside, least: tl.constexpr, most: tl.constexpr
):
    """The Gram matrix in the unit that gives the channel's rows a mean power of one, the noise
    power in it, one over that mean, and NaN where there is no such unit.

    :param noise: at the subcarriers
    """
    mean = tl.sum(diagonal_of(real, i, j), axis=1)[None, :, :] / rows.to(real.dtype)
    mean = tl.where(inside, mean, 1.0)
    nothing = tl.where((mean > least) & (mean < most), 0.0, float("nan"))
    over = 1.0 / mean
    # Subcarriers beyond those of the channel have one that makes no trouble.
    real = tl.where(inside, real * over, tl.where((i == j) & (i < rows), 1.0, 0.0))
    imag = tl.where(i == j, 0.0, imag * over)
    return real, imag, tl.load(noise, mask=inside, other=1.0) * over, over, nothing


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def inverted(  # type: ignore[no-untyped-def]
    g_real, g_imag, root_d, shift, factor, factor_row, factor_column, rows, i, j, inside
):
    """Y = (D^½ G D^½ + μ I)^-1 and its diagonal, with the system's factor left in memory."""
    both = root_d * turned(root_d, i, j)
    # One for rows beyond those of the channel.
    real = g_real * both + tl.where(i == j, tl.where(j < rows, shift, 1.0), 0.0)
    l_real, l_imag, x_real, x_imag = factored(real, g_imag * both, rows, i, j)
    diagonal = tl.sum(x_real * x_real + x_imag * x_imag, axis=0)[None, :, :]
    at = factor + i.to(tl.int64) * factor_row + j.to(tl.int64) * factor_column
    # Other threads than those that write it read it, and may still read the one before.
    tl.debug_barrier()
    store_pair(at, l_real, l_imag, (i < rows) & (j < rows) & inside)
    tl.debug_barrier()
    y_real, y_imag = solved_backward(
        x_real, x_imag, factor, factor_row, factor_column, rows, i, inside, False
    )
    return tl.where(i == j, diagonal, y_real), tl.where(i == j, 0.0, y_imag), diagonal


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def amplified(g_real, g_imag, y_real, y_imag, diagonal, sigma, known, i, j):  # type: ignore[no-untyped-def]
    """By how much the inverse Y of G + σ² I amplifies rounding, and how much the terms of (G Y)_kk
    cancel: the largest of all, [1, 1, subcarriers].
    """
    terms = g_real * y_real + g_imag * y_imag
    total = tl.sum(terms, axis=0)[None, :, :]
    size = tl.sum(tl.abs(terms), axis=0)[None, :, :]
    cancelled = tl.where(total > 0.0, size / tl.where(total > 0.0, total, 1.0), float("inf"))
    # A user without a channel has no gain to lose.
    grown = tl.where(size > 0.0, cancelled, 0.0)
    grown = tl.maximum(grown, (diagonal_of(g_real, i, j) + sigma) * diagonal)
    nothing = tl.sum(tl.where(known, grown - grown, 0.0), axis=1)[None, :, :]
    grown = tl.where(known & (grown == grown), grown, 0.0)
    return tl.max(grown, axis=1)[None, :, :] + nothing
