"""How components stand in rows of real numbers, alone and side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from neumatc_mimo.operations.base import Components

_MANY_ROWS = 16


@dataclass(frozen=True)
class Layout:
    """How a component stands in rows of real numbers.

    A complex entry is a pair, interleaved. A Hermitian matrix takes as many numbers as it has
    entries: its lower triangle holds real parts, the strict upper one imaginary parts.

    :param shape: of one matrix of the component
    :param kind: "real", "complex" or "hermitian"
    """

    shape: tuple[int, ...]
    kind: str

    @property
    def size(self) -> int:
        """Real numbers of one matrix."""
        return math.prod(self.shape) * (2 if self.kind == "complex" else 1)

    @property
    def is_large(self) -> bool:
        """Whether it is a complex matrix of many rows, beside which scales of its columns are
        small.
        """
        return self.kind == "complex" and len(self.shape) == 2 and self.shape[0] >= _MANY_ROWS

    @classmethod
    def of(cls, shape: tuple[int, ...], component: Tensor, hermitian: bool) -> Layout:
        """How a component like this one is stored; a real symmetric matrix is a real one."""
        if not component.is_complex():
            return cls(shape, "real")
        return cls(shape, "hermitian" if hermitian else "complex")

    def pack(self, component: Tensor) -> Tensor:
        """A component [..., *shape] as real rows [..., size]."""
        if self.kind == "hermitian":
            component = torch.where(_below(component), component.real, component.imag)
        flat = component.flatten(-len(self.shape)).resolve_conj()
        return torch.view_as_real(flat).flatten(-2) if self.kind == "complex" else flat

    def unpack(self, rows: Tensor) -> Tensor:
        """The inverse of :meth:`pack`, without a copy where it is not Hermitian."""
        if self.kind == "complex":
            rows = torch.view_as_complex(rows.unflatten(-1, (-1, 2)))
        matrix = rows.unflatten(-1, self.shape)
        if self.kind != "hermitian":
            return matrix
        other, below = matrix.mT.contiguous(), _below(matrix)
        beyond = torch.where(below.mT, matrix.new_zeros(()), other)
        return torch.complex(torch.where(below, matrix, other), torch.where(below, -beyond, matrix))


def _below(matrix: Tensor) -> Tensor:
    """Which entries of a square matrix lie on the diagonal or below."""
    every = torch.ones(matrix.shape[-2:], dtype=torch.bool, device=matrix.device)
    return every.tril()


@dataclass(frozen=True)
class Latents:
    """Latent tensors of all components side by side, so that one product evaluates all of them.

    :param rows: [num_links, rank, n] real
    :param layouts: how each component stands in them; each takes an even number of places, so that
        complex pairs start at even ones
    """

    rows: Tensor
    layouts: tuple[Layout, ...]

    @classmethod
    def of(cls, components: Components) -> Latents:
        """From components [num_links, rank, *shape]."""
        layouts = tuple(Layout.of(tuple(c.shape[2:]), c, hermitian=False) for c in components)
        rows = [layout.pack(c) for layout, c in zip(layouts, components, strict=True)]
        rows = [torch.nn.functional.pad(r, (0, r.shape[2] % 2)) for r in rows]
        return cls(torch.cat(rows, dim=2) if len(rows) > 1 else rows[0], layouts)

    @property
    def size(self) -> int:
        """Real numbers of a row."""
        return self.rows.shape[2]

    def split(self, product: Tensor) -> Components:
        """The components [..., *shape] that rows [..., n] hold; views."""
        components, start = [], 0
        for layout in self.layouts:
            components.append(layout.unpack(product[..., start : start + layout.size]))
            start += layout.size + layout.size % 2
        return tuple(components)
