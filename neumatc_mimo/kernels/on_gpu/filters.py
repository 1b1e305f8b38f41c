"""What sources leave to emitters."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from neumatc_mimo.kernels.on_gpu.algebra import load_pair, solved_backward, solved_forward

# Powers within which products of a precision keep their digits.
RANGE = {torch.complex64: (1e-35, 1e37), torch.complex128: (1e-300, 1e300)}


class Solves(NamedTuple):
    """Filters W = A^H after C^-1 before, of which C and diagonal matrices are kept.

    :param factor: [num_items, K, K, num_subcarriers], C's Cholesky factor L below the diagonal, its
        adjoint above it, and the reciprocals of L's diagonal on it
    :param before: [num_items, K, num_subcarriers], complex
    :param after: likewise, real
    :param amplification: by how much rounding is amplified, [num_items, num_subcarriers]
    """

    factor: Tensor
    before: Tensor
    after: Tensor
    amplification: Tensor

    @classmethod
    def empty(cls, h: Tensor) -> Solves:
        """Those of channels [num_items, K, M, num_subcarriers], to be filled."""
        items, rows, _, num = h.shape
        return cls(
            h.new_empty(items, rows, rows, num),
            h.new_empty(items, rows, num),
            h.real.new_empty(items, rows, num),
            h.real.new_empty(items, num),
        )

    def written(self) -> tuple[object, ...]:
        """What a source is told of them."""
        factor = torch.view_as_real(self.factor)
        scales = torch.view_as_real(self.before), self.after, *self.after.stride()[:2]
        return factor, *factor.stride()[:3], *scales, self.amplification


class Mixes(NamedTuple):
    """Filters W = A^H Y.

    :param matrix: Y, [num_items, K, num_streams, num_subcarriers]
    :param amplification: by how much rounding is amplified, [num_items, num_subcarriers]
    """

    matrix: Tensor
    amplification: Tensor


class Receiving(NamedTuple):
    """Receive filters: the conjugate of rows, and what its products are solved for.

    :param rows: [num_items, num_rows, M, num_subcarriers]
    :param solves: those of A, whose conjugate is taken; None where there are none
    :param place: of each row among the streams that are put out, [num_rows] int64, -1 for none
    :param amplification: by how much rounding is amplified, [num_items, num_subcarriers]
    """

    rows: Tensor
    solves: Solves | None
    place: Tensor
    amplification: Tensor


def arguments(h: Tensor, filters: Solves | Mixes | None, items: int) -> tuple[object, ...]:
    """What an emitter is told of the filters.

    :param filters: None where those of a receiver are the conjugate of h
    :param items: whose symbols it has; channels of one item serve all
    """
    own, seen = int(len(h) == items), torch.view_as_real(h)
    channel = seen, own * seen.stride(0), *seen.stride()[1:3]
    if filters is None:
        return *channel, None, 0, 0, 0, None, None, 0, 0
    inner = torch.view_as_real(filters.factor if isinstance(filters, Solves) else filters.matrix)
    matrix = inner, own * inner.stride(0), *inner.stride()[1:3]
    if isinstance(filters, Mixes):
        return *channel, *matrix, None, None, 0, 0
    item, row, _ = filters.after.stride()
    before = torch.view_as_real(filters.before)
    return *channel, *matrix, before, filters.after, own * item, row


def noise_arguments(noise: Tensor | None) -> tuple[object, ...]:
    """What a source is told of noise powers [num_items, num_subcarriers or 1], or of None."""
    if noise is None:
        return None, 0, 0
    return noise, noise.stride(0), 0 if noise.shape[1] == 1 else noise.stride(1)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def solved(  # type: ignore[no-untyped-def]
    real,
    imag,
    factor,
    factor_row,
    factor_column,
    before,
    after,
    scale_row,
    rows,
    i,
    inside,
    conjugate: tl.constexpr,
):
    """after C^-1 before Z for symbols Z [rows, symbols, subcarriers]; or with the conjugate of C.

    :param factor: and what follows, at the subcarriers of the item
    """
    known = (i < rows) & inside
    b_real, b_imag = load_pair(before + 2 * i.to(tl.int64) * scale_row, known)
    real, imag = b_real * real - b_imag * imag, b_real * imag + b_imag * real
    real, imag = solved_forward(
        real, imag, factor, factor_row, factor_column, rows, i, inside, conjugate
    )
    real, imag = solved_backward(
        real, imag, factor, factor_row, factor_column, rows, i, inside, conjugate
    )
    by = tl.load(after + i.to(tl.int64) * scale_row, mask=known, other=0.0)
    return by * real, by * imag


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def mixed(x, x_row, matrix, matrix_row, matrix_column, rows, streams, i, kept, inside):  # type: ignore[no-untyped-def]
    """Y x for symbols [streams, symbols, subcarriers] in memory, [rows, symbols, subcarriers].

    :param x: of the first stream, at the symbols and subcarriers
    :param matrix: Y, at the subcarriers
    :param kept: which symbols and subcarriers there are
    """
    at = matrix + i.to(tl.int64) * matrix_row
    real = tl.zeros(((i >= 0) & kept).shape, x.dtype.element_ty)
    imag = tl.zeros(((i >= 0) & kept).shape, x.dtype.element_ty)
    for _ in range(streams):
        m_real, m_imag = load_pair(at, (i < rows) & inside)
        x_real, x_imag = load_pair(x, kept)
        real += m_real * x_real - m_imag * x_imag
        imag += m_real * x_imag + m_imag * x_real
        at += matrix_column
        x += x_row
    return real, imag
