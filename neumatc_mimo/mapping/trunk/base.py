"""What any trunk of a mapping can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from neumatc_mimo.mapping.basis import Table


class Trunk(ABC):
    r"""φ(x; θ): [-1, 1] → R^r, the same for all links of a mapping, or one for each.

    Its values at a grid derive from the trunk and the grid alone, so that they may be kept: a query
    is then one product.
    """

    @property
    @abstractmethod
    def rank(self) -> int:
        """Number r of functions."""

    @property
    @abstractmethod
    def is_shared(self) -> bool:
        """Whether all links have the same functions."""

    @property
    def is_tabled_at_once(self) -> bool:
        """Whether one table of all links is small enough to be kept; else each link has one."""
        return self.is_shared

    @abstractmethod
    def table(self, x: Tensor, dtype: torch.dtype = torch.float32) -> Table:
        """φ at x [B], float64: one table for all links where they share it, else of each."""

    @abstractmethod
    def select(self, links: slice | Tensor) -> Self:
        """The trunk of some links."""

    @abstractmethod
    def to(self, other: torch.device | str | torch.dtype) -> Self:
        """The trunk on another device, or in another real precision."""

    @abstractmethod
    def joined(self, others: Sequence[Self]) -> Self:
        """The trunk of all links of several, its own first."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """θ by name; a row for each link, unless they share it."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Its kind and what tells how the tensors are read, plain values."""

    def __call__(self, x: Tensor) -> Tensor:
        """φ at x [B]: [num_links or 1, B, rank], float32."""
        functions, values = self.table(x).read(slice(0, len(x)))
        values = values if values.ndim == 3 else values[None]
        full = values.new_zeros(*values.shape[:-1], self.rank)
        full[..., functions] = values
        return full
