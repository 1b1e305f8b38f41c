"""Components side by side in the scaled real rows that a mapping is fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neumatc_mimo.mapping.layout import Layout
from neumatc_mimo.operations.base import Components


@dataclass(frozen=True)
class Rows:
    """How components [l, P, q, *shape] stand in the rows."""

    columns: tuple[_Columns, ...]

    @classmethod
    def of(cls, components: Components, layouts: tuple[Layout, ...], where: Tensor) -> Rows:
        """Of components that are known at the marked points [l, P]."""
        return cls(
            tuple(
                # A component counts the same, at however many nodes it is learned.
                _Columns(layout, c.shape[2], _scale(c, where, layout) * c.shape[2] ** 0.5)
                for c, layout in zip(components, layouts, strict=True)
            )
        )

    def pack(self, components: Components) -> Tensor:
        """Rows [l, P, size]."""
        packed = [part.pack(c) for part, c in zip(self.columns, components, strict=True)]
        return torch.cat(packed, dim=-1)

    def unpack(self, rows: Tensor) -> Components:
        """The inverse of :meth:`pack`."""
        parts = rows.split([part.size for part in self.columns], dim=-1)
        return tuple(c.unpack(part) for c, part in zip(self.columns, parts, strict=True))


@dataclass(frozen=True)
class _Columns:
    """Those of one component [l, P, q, *shape]."""

    layout: Layout
    num_nodes: int
    scale: Tensor

    @property
    def size(self) -> int:
        return self.num_nodes * self.layout.size

    def pack(self, component: Tensor) -> Tensor:
        """Scaled real rows [l, P, size]."""
        return self.layout.pack(component / self.scale).flatten(2)

    def unpack(self, rows: Tensor) -> Tensor:
        """The inverse of :meth:`pack`."""
        rows = rows.unflatten(-1, (self.num_nodes, -1)).contiguous()
        return self.layout.unpack(rows) * self.scale


def _scale(component: Tensor, where: Tensor, layout: Layout) -> Tensor:
    """Root of each column's mean energy per node, [l, 1, q, (1,) columns].

    A Hermitian component has one scale for all columns, so that it stays Hermitian.
    """
    energy = component.abs().square()
    if len(layout.shape) > 1:
        dims = (-2, -1) if layout.kind == "hermitian" else (-2,)
        energy = energy.sum(dims, keepdim=True)
    weight = where.reshape(where.shape + (1,) * (energy.ndim - where.ndim)).to(energy.dtype)
    return ((energy * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)).sqrt()
