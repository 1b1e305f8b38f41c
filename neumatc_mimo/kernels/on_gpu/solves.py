"""What sources leave to emitters: filters as solves between diagonal matrices."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from neumatc_mimo.kernels.on_gpu.algebra import solved_backward, solved_forward

# Powers within which products of a precision keep their digits.
RANGE = {torch.complex64: (1e-35, 1e37), torch.complex128: (1e-300, 1e300)}


class Solves(NamedTuple):
    """Filters W = A^H after C^-1 before, of which C and diagonal matrices are kept.

    :param factor: [num_items, K, K, num_subcarriers], C's Cholesky factor L below the diagonal, its
        adjoint above it, and the reciprocals of L's diagonal on it
    :param before: [num_items, K, num_subcarriers], real
    :param after: likewise
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
            h.real.new_empty(items, rows, num),
            h.real.new_empty(items, rows, num),
            h.real.new_empty(items, num),
        )

    def written(self) -> tuple[object, ...]:
        """What a source is told of them."""
        factor = torch.view_as_real(self.factor)
        scales = self.before, self.after, *self.before.stride()[:2]
        return factor, *factor.stride()[:3], *scales, self.amplification


def arguments(h: Tensor, solves: Solves, items: int) -> tuple[object, ...]:
    """What an emitter is told of the filters.

    :param items: whose symbols it has; channels of one item serve all
    """
    seen, factor = torch.view_as_real(h), torch.view_as_real(solves.factor)
    own = int(len(h) == items)
    return (
        seen,
        own * seen.stride(0),
        *seen.stride()[1:3],
        factor,
        own * factor.stride(0),
        *factor.stride()[1:3],
        solves.before,
        solves.after,
        own * solves.before.stride(0),
        solves.before.stride(1),
    )


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
    by = tl.load(before + i.to(tl.int64) * scale_row, mask=known, other=0.0)
    real, imag = solved_forward(
        by * real, by * imag, factor, factor_row, factor_column, rows, i, inside, conjugate
    )
    real, imag = solved_backward(
        real, imag, factor, factor_row, factor_column, rows, i, inside, conjugate
    )
    by = tl.load(after + i.to(tl.int64) * scale_row, mask=known, other=0.0)
    return by * real, by * imag
