"""The emitter that receives: products with conj(A), solved for where the source says so."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from neumatc_mimo.kernels.on_gpu.algebra import load_pair, store_pair
from neumatc_mimo.kernels.on_gpu.filters import Receiving, Solves, arguments, solved
from neumatc_mimo.kernels.on_gpu.places import numbers
from neumatc_mimo.kernels.on_gpu.sizes import LANES, emitting


def receive(
    filters: Receiving,
    y: Tensor,
    x_hat: Tensor,
    symbols: Sequence[int],
    stretches: Sequence[int],
) -> None:
    """Linear estimates of some streams; all contiguous along subcarriers.

    :param filters: of the channels
    :param y: [batch_size, num_antennas, num_ofdm_symbols, fft_size]; channels of one item serve any
        batch
    :param x_hat: written, [batch_size, streams that are put out, num_ofdm_symbols, num_subcarriers]
    :param symbols: those that are received
    :param stretches: first subcarrier, number of subcarriers, and place of the first one in y, of
        each stretch of subcarriers that are neighbours there
    """
    h, solves, place, _ = filters
    for first, num, place_in in zip(*(iter(stretches),) * 3, strict=True):
        here = slice(first, first + num)
        _gather(
            h[..., here],
            None if solves is None else Solves(*(part[..., here] for part in solves)),
            y[..., place_in : place_in + num],
            x_hat[..., here],
            symbols,
            place,
        )


def _gather(
    h: Tensor,
    solves: Solves | None,
    y: Tensor,
    x_hat: Tensor,
    symbols: Sequence[int],
    place: Tensor,
) -> None:
    _, rows, columns, num = h.shape
    block_k, block_s = emitting(rows, len(symbols))
    got, to = torch.view_as_real(y), torch.view_as_real(x_hat)
    grid = (triton.cdiv(num, LANES), len(y), triton.cdiv(len(symbols), block_s))
    _receive[grid](
        *arguments(h, solves, len(y)),
        got,
        *got.stride()[:3],
        to,
        *to.stride()[:3],
        numbers(tuple(symbols), h.device),
        len(symbols),
        place,
        rows,
        columns,
        num,
        block_k=block_k,
        block_s=block_s,
        block_f=LANES,
        num_warps=1,
    )


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _receive(  # type: ignore[no-untyped-def]
    h,
    h_item,
    h_row,
    h_column,
    factor,
    factor_item,
    factor_row,
    factor_column,
    before,
    after,
    scale_item,
    scale_row,
    y,
    y_item,
    y_row,
    y_symbol,
    out,
    out_item,
    out_row,
    out_symbol,
    symbols,
    num_symbols,
    place,
    rows,
    columns,
    num,
    block_k: tl.constexpr,
    block_s: tl.constexpr,
    block_f: tl.constexpr,
):
    item = tl.program_id(1).to(tl.int64)
    s = (tl.program_id(2) * block_s + tl.arange(0, block_s))[None, :, None]
    f = (tl.program_id(0) * block_f + tl.arange(0, block_f))[None, None, :]
    i = tl.arange(0, block_k)[:, None, None]
    inside = f < num
    known = (s < num_symbols) & inside
    symbol = tl.load(symbols + s, mask=s < num_symbols, other=0)
    h += item * h_item + i.to(tl.int64) * h_row + 2 * f
    y += item * y_item + symbol * y_symbol + 2 * f
    real = tl.zeros([block_k, block_s, block_f], h.dtype.element_ty)
    imag = tl.zeros([block_k, block_s, block_f], h.dtype.element_ty)
    for _ in range(columns):
        h_real, h_imag = load_pair(h, (i < rows) & inside)
        y_real, y_imag = load_pair(y, known)
        real += h_real * y_real + h_imag * y_imag
        imag += h_real * y_imag - h_imag * y_real
        h += h_column
        y += y_row
    if factor is not None:
        real, imag = solved(
            real,
            imag,
            factor + item * factor_item + 2 * f,
            factor_row,
            factor_column,
            before + 2 * (item * scale_item + f),
            after + item * scale_item + f,
            scale_row,
            rows,
            i,
            inside,
            True,
        )
    to = tl.load(place + i, mask=i < rows, other=-1)
    at = out + item * out_item + to * out_row + symbol * out_symbol + 2 * f
    store_pair(at, real, imag, (to >= 0) & known)
