"""The emitter that precodes: symbols are solved for or mixed, and multiplied with A^H."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from neumatc_mimo.kernels.on_gpu.algebra import load_pair, store_pair
from neumatc_mimo.kernels.on_gpu.filters import Mixes, Solves, arguments, mixed, solved
from neumatc_mimo.kernels.on_gpu.places import numbers
from neumatc_mimo.kernels.on_gpu.sizes import LANES, emitting

# Antennas of a program. Others solve for the same symbols once more: with 32 antennas and 8 streams
# that is a half of the work, and keeps a GPU busy with one slot.
_ANTENNAS = 32


def precode(
    h: Tensor,
    filters: Solves | Mixes,
    x: Tensor,
    out: Tensor,
    symbols: Sequence[int],
    effective: Tensor | None,
) -> None:
    """Precode symbols; all contiguous along subcarriers.

    :param h: [num_items, rows, num_antennas, num_subcarriers] complex
    :param filters: made of it
    :param x: [batch_size, num_streams, num_ofdm_symbols, num_subcarriers]; channels of one item
        serve any batch
    :param out: written, [batch_size, num_antennas, num_ofdm_symbols, num_subcarriers]
    :param symbols: those that are precoded
    :param effective: written, the channel times the filters, [num_items, rows of h, num_streams,
        num_subcarriers]; or None
    """
    _send(h, filters, x, out, symbols)
    if effective is not None:
        _send_ones(h, filters, effective)


def _send(
    h: Tensor, filters: Solves | Mixes, x: Tensor, out: Tensor, symbols: Sequence[int]
) -> None:
    _, rows, columns, num = h.shape
    block_k, block_s = emitting(rows, len(symbols))
    sent, to = torch.view_as_real(x), torch.view_as_real(out)
    parts = triton.cdiv(columns, _ANTENNAS) * triton.cdiv(len(symbols), block_s)
    grid = (triton.cdiv(num, LANES), len(x), parts)
    _precode[grid](
        *arguments(h, filters, len(x)),
        sent,
        *sent.stride()[:3],
        to,
        *to.stride()[:3],
        numbers(tuple(symbols), h.device),
        len(symbols),
        x.shape[1],
        rows,
        columns,
        num,
        block_a=_ANTENNAS,
        block_k=block_k,
        block_s=block_s,
        block_f=LANES,
        num_warps=1,
    )


def _send_ones(h: Tensor, filters: Solves | Mixes, effective: Tensor) -> None:
    items, rows, columns, num = h.shape
    streams = effective.shape[2]
    block_k, block_s = emitting(rows, streams)
    to = torch.view_as_real(effective)
    grid = (triton.cdiv(num, LANES), items, triton.cdiv(streams, block_s))
    _effective[grid](
        *arguments(h, filters, items),
        to,
        *to.stride()[:3],
        streams,
        rows,
        columns,
        num,
        block_k=block_k,
        block_s=block_s,
        block_f=LANES,
        num_warps=1,
    )


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _precode(  # type: ignore[no-untyped-def]
    h,
    h_item,
    h_row,
    h_column,
    matrix,
    matrix_item,
    matrix_row,
    matrix_column,
    before,
    after,
    scale_item,
    scale_row,
    x,
    x_item,
    x_row,
    x_symbol,
    out,
    out_item,
    out_row,
    out_symbol,
    symbols,
    num_symbols,
    streams,
    rows,
    columns,
    num,
    block_a: tl.constexpr,
    block_k: tl.constexpr,
    block_s: tl.constexpr,
    block_f: tl.constexpr,
):
    item = tl.program_id(1).to(tl.int64)
    blocks = tl.cdiv(num_symbols, block_s)
    first = tl.program_id(2) // blocks * block_a
    s = (tl.program_id(2) % blocks * block_s + tl.arange(0, block_s))[None, :, None]
    f = (tl.program_id(0) * block_f + tl.arange(0, block_f))[None, None, :]
    i = tl.arange(0, block_k)[:, None, None]
    inside = f < num
    kept = (s < num_symbols) & inside
    symbol = tl.load(symbols + s, mask=s < num_symbols, other=0)
    x += item * x_item + symbol * x_symbol + 2 * f
    matrix += item * matrix_item + 2 * f
    if before is None:
        real, imag = mixed(
            x, x_row, matrix, matrix_row, matrix_column, rows, streams, i, kept, inside
        )
    else:
        real, imag = load_pair(x + i.to(tl.int64) * x_row, (i < rows) & kept)
        real, imag = solved(
            real,
            imag,
            matrix,
            matrix_row,
            matrix_column,
            before + 2 * (item * scale_item + f),
            after + item * scale_item + f,
            scale_row,
            rows,
            i,
            inside,
            False,
        )
    h += item * h_item + first.to(tl.int64) * h_column + i.to(tl.int64) * h_row + 2 * f
    out += item * out_item + first.to(tl.int64) * out_row + symbol * out_symbol + 2 * f
    for _ in range(first, tl.minimum(first + block_a, columns)):
        h_real, h_imag = load_pair(h, (i < rows) & inside)
        o_real = tl.sum(h_real * real + h_imag * imag, axis=0)[None, :, :]
        o_imag = tl.sum(h_real * imag - h_imag * real, axis=0)[None, :, :]
        store_pair(out, o_real, o_imag, kept)
        h += h_column
        out += out_row


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _effective(  # type: ignore[no-untyped-def]
    h,
    h_item,
    h_row,
    h_column,
    matrix,
    matrix_item,
    matrix_row,
    matrix_column,
    before,
    after,
    scale_item,
    scale_row,
    out,
    out_item,
    out_row,
    out_stream,
    streams,
    rows,
    columns,
    num,
    block_k: tl.constexpr,
    block_s: tl.constexpr,
    block_f: tl.constexpr,
):
    """A W for some streams: what the channel makes of streams of ones that are precoded."""
    item = tl.program_id(1).to(tl.int64)
    s = (tl.program_id(2) * block_s + tl.arange(0, block_s))[None, :, None]
    f = (tl.program_id(0) * block_f + tl.arange(0, block_f))[None, None, :]
    i = tl.arange(0, block_k)[:, None, None]
    inside = f < num
    h += item * h_item + i.to(tl.int64) * h_row + 2 * f
    kept = (i < rows) & (s < streams) & inside
    matrix += item * matrix_item + 2 * f
    if before is None:
        at = matrix + i.to(tl.int64) * matrix_row + s.to(tl.int64) * matrix_column
        real, imag = load_pair(at, kept)
    else:
        zeros = tl.zeros([block_k, block_s, block_f], h.dtype.element_ty)
        real, imag = solved(
            tl.where(i == s, 1.0, zeros),
            zeros,
            matrix,
            matrix_row,
            matrix_column,
            before + 2 * (item * scale_item + f),
            after + item * scale_item + f,
            scale_row,
            rows,
            i,
            inside,
            False,
        )
    e_real = tl.zeros_like(real)
    e_imag = tl.zeros_like(imag)
    for _ in range(columns):
        h_real, h_imag = load_pair(h, (i < rows) & inside)
        v_real = tl.sum(h_real * real + h_imag * imag, axis=0)[None, :, :]
        v_imag = tl.sum(h_real * imag - h_imag * real, axis=0)[None, :, :]
        e_real += h_real * v_real - h_imag * v_imag
        e_imag += h_real * v_imag + h_imag * v_real
        h += h_column
    at = out + item * out_item + i.to(tl.int64) * out_row + s.to(tl.int64) * out_stream + 2 * f
    store_pair(at, e_real, e_imag, kept)
