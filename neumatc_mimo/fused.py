"""A filter evaluated on chip and applied to symbols, never written to memory: Triton kernels.

For a trunk of local units the filter of subcarrier f is a sum of few rows of the latent tensor,

.. math:: W_f = \\sum_{j} \\varphi_j(f) \\, C_{c_j(f)},

8 of them for splines of degree 7. Evaluating it as a matrix product writes W, and applying it reads
W again: twice 2 K M numbers a subcarrier, more than the symbols themselves. The kernels keep W in
registers and read and write the symbols in Sionna's layout, subcarriers innermost.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # an optional dependency
    triton = None

# Antennas and subcarriers of a program: with 8 streams the filter takes 64 registers a thread.
_ANTENNAS, _SUBCARRIERS = 16, 32


class Expansion(NamedTuple):
    """Filters as sums of rows of a latent tensor.

    :param columns: [num_subcarriers, num_terms] int64, rows that a subcarrier takes
    :param values: [num_subcarriers, num_terms] float32, their weights
    :param rows: [num_items, rank, n] float32
    :param offset: where the filter [num_antennas, num_streams] stands in a row, complex entries as
        pairs
    :param num_antennas: of the filter
    :param num_streams: of the filter
    """

    columns: Tensor
    values: Tensor
    rows: Tensor
    offset: int
    num_antennas: int
    num_streams: int

    def filters(self) -> Tensor:
        """The filters themselves, [num_items, num_subcarriers, num_antennas, num_streams]."""
        size = 2 * self.num_antennas * self.num_streams
        part = self.rows[..., self.offset : self.offset + size]
        real = torch.einsum("fj,ifjn->ifn", self.values, part[:, self.columns])
        w = torch.view_as_complex(real.unflatten(-1, (-1, 2)))
        return w.unflatten(-1, (self.num_antennas, self.num_streams))


def available(device: torch.device) -> bool:
    """Whether the kernels run there: on a GPU, or on a CPU through Triton's interpreter."""
    if triton is None:
        return False
    return device.type == "cuda" or bool(triton.knobs.runtime.interpret)


def precoded(expansion: Expansion, x: Tensor) -> Tensor:
    """W x for every subcarrier.

    :param x: [num_items, num_streams, num_symbols, num_subcarriers] complex64, of any strides

    :return: [num_items, num_antennas, num_symbols, num_subcarriers]
    :raises ValueError: if shapes or dtypes do not fit
    """
    _check(expansion, x, expansion.num_streams)
    num_items, num_streams, num_symbols, num = x.shape
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
    wanted = (len(expansion.rows), rows, len(expansion.columns))
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
    columns, values, rows, offset = expansion[:4]
    given, out = torch.view_as_real(given.resolve_conj()), torch.view_as_real(out)
    return (
        columns.contiguous(),
        values.contiguous(),
        rows,
        given,
        out,
        rows.stride(0),
        rows.stride(1),
        offset,
        *given.stride()[:4],
        *out.stride()[:4],
        given.shape[2],
        given.shape[3],
    )


def _sizes(expansion: Expansion) -> dict[str, int]:
    return {
        "antennas": expansion.num_antennas,
        "streams": expansion.num_streams,
        "terms": expansion.columns.shape[1],
        "block_a": _ANTENNAS,
        "block_k": triton.next_power_of_2(expansion.num_streams),
        "block_f": _SUBCARRIERS,
    }


if triton is not None:

    @triton.jit  # type: ignore[untyped-decorator, unused-ignore]
    def _evaluated(  # type: ignore[no-untyped-def]
        columns, values, rows, row_stride, a, k, f, num, antennas, streams, terms
    ):
        """Real and imaginary part of W, [antennas, streams, subcarriers] of a program."""
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
        offset,
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
        f = tl.program_id(1) * block_f + tl.arange(0, block_f)
        a = tl.program_id(2) * block_a + tl.arange(0, block_a)
        k = tl.arange(0, block_k)
        real, imag = _evaluated(
            columns,
            values,
            rows + item * item_stride + offset,
            row_stride,
            a[:, None, None],
            k[None, :, None],
            f[None, None, :],
            num,
            antennas,
            streams,
            terms,
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
        offset,
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
        f = tl.program_id(1) * block_f + tl.arange(0, block_f)
        k = tl.arange(0, block_k)
        kept = (k[:, None] < streams) & (f[None, :] < num)
        for first in range(0, antennas, block_a):
            a = first + tl.arange(0, block_a)
            real, imag = _evaluated(
                columns,
                values,
                rows + item * item_stride + offset,
                row_stride,
                a[:, None, None],
                k[None, :, None],
                f[None, None, :],
                num,
                antennas,
                streams,
                terms,
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
