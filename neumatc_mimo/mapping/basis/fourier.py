"""Functions that are periodic over the domain."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from neumatc_mimo.mapping.basis.base import BASES, Basis
from neumatc_mimo.mapping.basis.tables import DenseTable, Table


@BASES.register
@dataclass(frozen=True)
class FourierBasis(Basis):
    r"""1, cos(π k x) and sin(π k x), for results that are periodic over the domain.

    :param num_functions: number of functions, odd: a constant and a pair for every k
    """

    kind: ClassVar[str] = "fourier"
    num_functions: int

    def __post_init__(self) -> None:
        if self.num_functions < 1 or self.num_functions % 2 == 0:
            raise ValueError(f"{self.num_functions} Fourier functions are no odd number of them.")

    @property
    def width(self) -> int:
        return self.num_functions

    def table(self, x: Tensor, dtype: torch.dtype = torch.float64) -> Table:
        orders = torch.arange(1, self.num_functions // 2 + 1, dtype=torch.float64, device=x.device)
        angle = x.to(torch.float64)[:, None] * (math.pi * orders)
        one = angle.new_ones(len(x), 1)
        return DenseTable(torch.cat([one, angle.cos(), angle.sin()], dim=-1).to(dtype))

    def penalty(self) -> Tensor:
        return 1e-10 * torch.eye(self.num_functions, dtype=torch.float64)

    def settings(self) -> dict[str, Any]:
        return {"kind": self.kind} | vars(self)
