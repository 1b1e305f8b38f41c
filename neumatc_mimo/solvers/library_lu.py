"""PyTorch's inverse: LU factorisation by LAPACK on a CPU, by cuSOLVER on a GPU."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from neumatc_mimo.solvers.inverting import Inverting
from neumatc_mimo.solvers.registry import register
from neumatc_mimo.tensors import lu


@register(name="library_lu")
@dataclass(frozen=True)
class LibraryLU(Inverting):
    r"""Inverses by LU factorisation, ``torch.linalg.inv`` ("cuSOLVER" in NeuMatC, Table 12).

    LAPACK on a CPU; cuSOLVER, or cuBLAS for batches of small matrices, on CUDA, where PyTorch
    chooses between the two. Exact to rounding, in the precision of the channels, each point by
    itself; those of a tile are one call, and nothing leaves the device. A singular matrix gives
    NaN.

    :raises ValueError: in ``start``, if the operation's components are no inverses
    """

    def _inverse(self, b: Tensor) -> Tensor:
        return lu.inverse(b)
