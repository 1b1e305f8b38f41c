"""The basis of a trunk: the functions of the parameter that its readout mixes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from neumatc_mimo.foundation.registry import Registry
from neumatc_mimo.mapping.basis.tables import Table


class Basis(ABC):
    """Fixed functions u_i(x), x in [-1, 1], whose combinations a trunk learns."""

    kind: ClassVar[str]

    @property
    @abstractmethod
    def width(self) -> int:
        """Number of functions."""

    @abstractmethod
    def table(self, x: Tensor, dtype: torch.dtype = torch.float64) -> Table:
        """The functions at x [B]."""

    @abstractmethod
    def penalty(self) -> Tensor:
        """Prior precision of the coefficients, [width, width] float64, in units of the data's."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Kind and constructor arguments, plain values."""

    def band(self, frequencies: Tensor) -> tuple[float, float]:
        """Frequencies of x = -1 and 1 for a grid [num_frequencies], even and ascending."""
        return frequencies[0].item(), frequencies[-1].item()

    def values(self, x: Tensor) -> Tensor:
        """All functions at x [B]: [B, width], float64."""
        functions, values = self.table(x).read(slice(0, len(x)))
        full = values.new_zeros(len(x), self.width)
        full[:, functions] = values
        return full


BASES: Registry[type[Basis]] = Registry("basis", base=Basis, key="kind")


def make_basis(settings: dict[str, Any]) -> Basis:
    """The basis that ``Basis.settings`` described.

    :raises ValueError: if there is no basis of that kind
    """
    basis: Basis = BASES.make(settings)
    return basis
