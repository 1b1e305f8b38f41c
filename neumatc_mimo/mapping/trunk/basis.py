"""A trunk of fixed functions, which a readout may mix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from neumatc_mimo.mapping.basis import Basis, DenseTable, Table
from neumatc_mimo.mapping.trunk.base import Trunk


@dataclass(frozen=True)
class BasisTrunk(Trunk):
    r"""φ(x; θ) = readout^T u(x): one hidden layer of fixed functions (NeuMatC, Section 2.1).

    Without a readout φ is u itself; where the functions are local, a query then touches the few of
    them that differ from zero.

    :param basis: u, [B] → [B, width]
    :param readout: [num_links, width, rank], or None
    """

    basis: Basis
    readout: Tensor | None = None

    @property
    def rank(self) -> int:
        return self.basis.width if self.readout is None else self.readout.shape[-1]

    @property
    def is_shared(self) -> bool:
        return self.readout is None

    def table(self, x: Tensor, dtype: torch.dtype = torch.float32) -> Table:
        table = self.basis.table(x, dtype)
        if self.readout is None:
            return table
        functions, values = table.read(slice(0, len(x)))
        return DenseTable(values @ self.readout[:, functions].to(dtype))

    def select(self, links: slice | Tensor) -> BasisTrunk:
        return self if self.readout is None else replace(self, readout=self.readout[links])

    def to(self, other: torch.device | str | torch.dtype) -> BasisTrunk:
        return self if self.readout is None else replace(self, readout=self.readout.to(other))

    def joined(self, others: Sequence[BasisTrunk]) -> BasisTrunk:
        readouts = [t.readout for t in (self, *others) if t.readout is not None]
        return replace(self, readout=torch.cat(readouts)) if readouts else self

    def tensors(self) -> dict[str, Tensor]:
        return {} if self.readout is None else {"readout": self.readout}

    def settings(self) -> dict[str, Any]:
        return self.basis.settings()
