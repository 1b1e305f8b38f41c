"""Components side by side in the scaled real rows that a mapping is fitted to.

Single precision, in which mappings are kept: in their scales no number leaves its range.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from neumatc_mimo.mapping.layout import Layout
from neumatc_mimo.operations.base import Components


@dataclass(frozen=True)
class Rows:
    """How components [l, P, q, *shape] stand in the rows."""

    columns: tuple[_Columns, ...]

    @classmethod
    def of(cls, components: Components, layouts: tuple[Layout, ...]) -> Rows:
        """In the scales of some components."""
        return cls(
            tuple(
                # A component counts the same, at however many nodes it is learned.
                _Columns(layout, c.shape[2], _scale(c, layout) * c.shape[2] ** 0.5)
                for c, layout in zip(components, layouts, strict=True)
            )
        )

    def of_link(self, link: slice) -> Rows:
        """Those of one of the links."""
        return Rows(tuple(replace(part, scale=part.scale[link]) for part in self.columns))

    def pack(self, components: Components) -> Tensor:
        """Rows [l, P, size], float32."""
        packed = [part.pack(c) for part, c in zip(self.columns, components, strict=True)]
        return torch.cat(packed, dim=-1)

    def unpack(self, rows: Tensor) -> Components:
        """The inverse of :meth:`pack`, single precision."""
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
        return self.layout.pack(single(component / self.scale.to(component.real.dtype))).flatten(2)

    def unpack(self, rows: Tensor) -> Tensor:
        """The inverse of :meth:`pack`."""
        rows = rows.unflatten(-1, (self.num_nodes, -1)).contiguous()
        return self.layout.unpack(rows) * self.scale.to(rows.dtype)


def single(component: Tensor) -> Tensor:
    """A component in single precision."""
    return component.to(torch.complex64 if component.is_complex() else torch.float32)


def _scale(component: Tensor, layout: Layout) -> Tensor:
    """Root of each column's mean energy per node, [l, 1, q, (1,) columns].

    A Hermitian component has one scale for all columns, so that it stays Hermitian.
    """
    energy = component.abs().square()
    if len(layout.shape) > 1:
        dims = (-2, -1) if layout.kind == "hermitian" else (-2,)
        energy = energy.sum(dims, keepdim=True)
    return energy.mean(1, keepdim=True).sqrt()
