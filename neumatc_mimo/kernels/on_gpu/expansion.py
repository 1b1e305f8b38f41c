"""Triton kernels that evaluate filters on chip and apply them.

They keep a filter in registers, and read and write the symbols in Sionna's layout, subcarriers
innermost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl
from torch import Tensor

if TYPE_CHECKING:
    from neumatc_mimo.kernels.expansion import Expansion

# Antennas and subcarriers of a program: with 8 streams the filter takes 64 registers a thread.
_ANTENNAS, _SUBCARRIERS = 16, 32


def precoded(expansion: Expansion, x: Tensor) -> Tensor:
    """W x for every subcarrier.

    :param x: [num_items, num_streams, num_symbols, num_subcarriers] complex64, of any strides

    :return: [num_items, num_antennas, num_symbols, num_subcarriers]
    :raises ValueError: if shapes or dtypes do not fit
    """
    _check(expansion, x, expansion.num_streams)
    num_items, _, num_symbols, num = x.shape
    out = x.new_empty(num_items, expansion.num_antennas, num_symbols, num)
    grid = (
        num_items,
        triton.cdiv(num, _SUBCARRIERS),
        triton.cdiv(expansion.num_antennas, _ANTENNAS),
    )
    _precode[grid](*_arguments(expansion, x, out), **_sizes(expansion))
    return out


def received(expansion: Expansion, y: Tensor) -> Tensor:
    """y^T W for every subcarrier.

    :param y: [num_items, num_antennas, num_symbols, num_subcarriers] complex64, of any strides

    :return: [num_items, num_streams, num_symbols, num_subcarriers]
    :raises ValueError: if shapes or dtypes do not fit
    """
    _check(expansion, y, expansion.num_antennas)
    num_items, _, num_symbols, num = y.shape
    out = y.new_zeros(num_items, expansion.num_streams, num_symbols, num)
    grid = (num_items, triton.cdiv(num, _SUBCARRIERS))
    _receive[grid](*_arguments(expansion, y, out), **_sizes(expansion))
    return out


def _check(expansion: Expansion, x: Tensor, rows: int) -> None:
    wanted = (len(expansion.rows), rows, expansion.columns.shape[-2])
    if x.dtype != torch.complex64 or expansion.rows.dtype != torch.float32:
        raise ValueError(
            f"Symbols are {x.dtype} and the latent tensor {expansion.rows.dtype}, the kernels take "
            "complex64 and float32."
        )
    if x.ndim != 4 or (x.shape[0], x.shape[1], x.shape[3]) != wanted:
        raise ValueError(
            f"Symbols have the shape {list(x.shape)}, [{wanted[0]}, {wanted[1]}, any, {wanted[2]}] "
            "is needed."
        )


def _arguments(expansion: Expansion, given: Tensor, out: Tensor) -> tuple[Any, ...]:
    columns, values, rows = expansion[:3]
    given, out = torch.view_as_real(given.resolve_conj()), torch.view_as_real(out)
    return (
        columns.contiguous(),
        values.contiguous(),
        rows,
        given,
        out,
        rows.stride(0),
        rows.stride(1),
        _item_stride(columns),
        _item_stride(values),
        *given.stride()[:4],
        *out.stride()[:4],
        given.shape[2],
        given.shape[3],
    )


def _item_stride(table: Tensor) -> int:
    """From the table [num_subcarriers, num_terms] of an item to the next one's; zero where they
    share it.
    """
    return table.shape[-2] * table.shape[-1] if table.ndim > 2 and len(table) > 1 else 0


def _sizes(expansion: Expansion) -> dict[str, int]:
    return {
        "antennas": expansion.num_antennas,
        "streams": expansion.num_streams,
        "terms": expansion.columns.shape[-1],
        "block_a": _ANTENNAS,
        "block_k": triton.next_power_of_2(expansion.num_streams),
        "block_f": _SUBCARRIERS,
    }


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _evaluated(  # type: ignore[no-untyped-def]
    columns, values, rows, row_stride, a, k, f, num, antennas, streams, terms
):
    """Real and imaginary part of W, [antennas, streams, subcarriers] of a program."""
    a, k, f = a[:, None, None], k[None, :, None], f[None, None, :]
    inside = (a < antennas) & (k < streams) & (f < num)
    entry = (a * streams + k) * 2
    real = tl.zeros(inside.shape, tl.float32)
    imag = tl.zeros(inside.shape, tl.float32)
    for j in range(terms):
        column = tl.load(columns + f * terms + j, mask=f < num, other=0)
        value = tl.load(values + f * terms + j, mask=f < num, other=0.0)
        at = rows + column * row_stride + entry
        real += value * tl.load(at, mask=inside, other=0.0)
        imag += value * tl.load(at + 1, mask=inside, other=0.0)
    return real, imag


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _precode(  # type: ignore[no-untyped-def]
    columns,
    values,
    rows,
    x,
    out,
    item_stride,
    row_stride,
    column_stride,
    value_stride,
    xi,
    xk,
    xs,
    xf,
    oi,
    oa,
    os,
    of,
    num_symbols,
    num,
    antennas: tl.constexpr,
    streams: tl.constexpr,
    terms: tl.constexpr,
    block_a: tl.constexpr,
    block_k: tl.constexpr,
    block_f: tl.constexpr,
):
    item = tl.program_id(0).to(tl.int64)
    own = rows + item * item_stride
    columns += item * column_stride
    values += item * value_stride
    f = tl.program_id(1) * block_f + tl.arange(0, block_f)
    a = tl.program_id(2) * block_a + tl.arange(0, block_a)
    k = tl.arange(0, block_k)
    real, imag = _evaluated(
        columns, values, own, row_stride, a, k, f, num, antennas, streams, terms
    )
    inside = (k[:, None] < streams) & (f[None, :] < num)
    kept = (a[:, None] < antennas) & (f[None, :] < num)
    for s in range(num_symbols):
        at = x + item * xi + k[:, None] * xk + s * xs + f[None, :] * xf
        x_real = tl.load(at, mask=inside, other=0.0)[None]
        x_imag = tl.load(at + 1, mask=inside, other=0.0)[None]
        to = out + item * oi + a[:, None] * oa + s * os + f[None, :] * of
        tl.store(to, tl.sum(real * x_real - imag * x_imag, axis=1), mask=kept)
        tl.store(to + 1, tl.sum(real * x_imag + imag * x_real, axis=1), mask=kept)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _receive(  # type: ignore[no-untyped-def]
    columns,
    values,
    rows,
    y,
    out,
    item_stride,
    row_stride,
    column_stride,
    value_stride,
    yi,
    ya,
    ys,
    yf,
    oi,
    ok,
    os,
    of,
    num_symbols,
    num,
    antennas: tl.constexpr,
    streams: tl.constexpr,
    terms: tl.constexpr,
    block_a: tl.constexpr,
    block_k: tl.constexpr,
    block_f: tl.constexpr,
):
    item = tl.program_id(0).to(tl.int64)
    own = rows + item * item_stride
    columns += item * column_stride
    values += item * value_stride
    f = tl.program_id(1) * block_f + tl.arange(0, block_f)
    k = tl.arange(0, block_k)
    kept = (k[:, None] < streams) & (f[None, :] < num)
    for first in range(0, antennas, block_a):
        a = first + tl.arange(0, block_a)
        real, imag = _evaluated(
            columns, values, own, row_stride, a, k, f, num, antennas, streams, terms
        )
        inside = (a[:, None] < antennas) & (f[None, :] < num)
        for s in range(num_symbols):
            at = y + item * yi + a[:, None] * ya + s * ys + f[None, :] * yf
            y_real = tl.load(at, mask=inside, other=0.0)[:, None, :]
            y_imag = tl.load(at + 1, mask=inside, other=0.0)[:, None, :]
            # The program alone writes these symbols: the sum over antennas stays in the cache.
            to = out + item * oi + k[:, None] * ok + s * os + f[None, :] * of
            z_real = tl.load(to, mask=kept, other=0.0)
            z_imag = tl.load(to + 1, mask=kept, other=0.0)
            z_real += tl.sum(real * y_real - imag * y_imag, axis=0)
            z_imag += tl.sum(real * y_imag + imag * y_real, axis=0)
            tl.store(to, z_real, mask=kept)
            tl.store(to + 1, z_imag, mask=kept)
        tl.debug_barrier()
