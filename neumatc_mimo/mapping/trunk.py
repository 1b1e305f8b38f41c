"""A mapping's trunk: the functions of the frequency that its latent tensors combine."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neumatc_mimo.mapping.basis import Basis, Table


@dataclass(frozen=True)
class Trunk:
    r"""φ(x; θ) = readout^T u(x): one hidden layer of functions (NeuMatC, Section 2.1).

    Without a readout φ is u itself; where the functions are local, a query then touches the few of
    them that differ from zero.

    :param basis: u, [B] → [B, width]
    :param readout: [num_links, width, rank], or None
    """

    basis: Basis
    readout: Tensor | None = None

    @property
    def rank(self) -> int:
        """Number r of basis functions."""
        return self.basis.width if self.readout is None else self.readout.shape[-1]

    def table(self, x: Tensor) -> Table:
        """The functions at x [B], float32; many tiles share it."""
        return self.basis.table(x, torch.float32)

    def read(self, table: Table, points: slice) -> tuple[slice, Tensor]:
        """The consecutive functions that do not vanish at some points of a table, and their values.

        :return: functions, and [num_links or 1, b, w]
        """
        functions, values = table.read(points)
        if self.readout is None:
            return functions, values[None]
        return slice(0, self.rank), values @ self.readout[:, functions]

    def __call__(self, x: Tensor) -> Tensor:
        """φ at x [B]: [num_links or 1, B, rank]."""
        functions, values = self.read(self.table(x), slice(0, len(x)))
        full = values.new_zeros(*values.shape[:-1], self.rank)
        full[..., functions] = values
        return full
