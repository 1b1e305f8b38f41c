"""NeuMatC's compact mapping: a trunk along the parameter, a latent tensor for each component."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from neumatc_mimo.foundation.coordinate import coordinate
from neumatc_mimo.mapping.axes import Axis
from neumatc_mimo.mapping.basis import Basis, Table
from neumatc_mimo.operations.base import Components
from neumatc_mimo.tensors.tracing import is_traced


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


@dataclass(frozen=True)
class CompactMapping:
    r"""Ŷ_i(p) = C_i ×₃ φ(p; θ) for every component i (NeuMatC, Eq. (1)), batched over links.

    With p = (x, y), y the noise power or the time, the basis is the product φ_a(x) ψ_j(y) of the
    trunk's functions and those of the axis. A call has one y per link: ψ is folded into the latent
    tensor first, [rank, nodes, n] → [rank, n], so that the number of nodes costs nothing per
    subcarrier.

    :param trunk: φ
    :param axis: ψ
    :param latents: C_i, [num_links, rank, nodes or 1, n] with n real numbers as :class:`Layout`
        tells; a component that doesn't depend on y has one node
    :param layouts: how each component is stored
    :param band: lowest and highest frequency in Hz; x = -1 and 1
    """

    trunk: Trunk
    axis: Axis
    latents: tuple[Tensor, ...]
    layouts: tuple[Layout, ...]
    band: tuple[float, float]

    @property
    def num_links(self) -> int:
        """Number of links."""
        return self.latents[0].shape[0]

    def coordinate(self, frequencies: Tensor) -> Tensor:
        """x in [-1, 1] of frequencies [B] in Hz, float64."""
        return coordinate(frequencies.to(torch.float64), self.band)

    def at(self, values: Tensor, change: Callable[[Components], Components] = tuple) -> Latents:
        """Latent tensors with values of the axis folded in.

        :param values: [num_links], or [num_links, P] for P of them at once
        :param change: a linear map of the components that is folded in, too

        :return: of components [num_links, rank, *shape], or [num_links, rank, P or 1, *shape]
        """
        weights = self.axis.weights(values)
        # At zero the first node is the answer: nothing to fold.
        plain = values.ndim == 1 and not is_traced() and not bool(values.any())
        folded = (
            layout.unpack(
                (c if values.ndim > 1 else c[:, :, 0])
                if c.shape[2] == 1 or plain
                else torch.einsum("lrqn,l...q->lr...n", c, weights.to(c)).contiguous()
            )
            for c, layout in zip(self.latents, self.layouts, strict=True)
        )
        return Latents.of(change(tuple(folded)))

    def __call__(self, frequencies: Tensor, values: Tensor) -> Components:
        """Components at frequencies [B] in Hz and values of the axis [num_links]:
        [num_links, B, ...].
        """
        table = self.trunk.table(self.coordinate(frequencies))
        return self.evaluate(table, slice(0, len(frequencies)), self.at(values))

    def evaluate(self, table: Table, points: slice, folded: Latents) -> Components:
        """Components at some points of the trunk's table, from folded latent tensors.

        :return: [num_links, b, ...] each
        """
        windows = table.windows(points) if self.trunk.readout is None else None
        if windows is None:
            functions, basis = self.trunk.read(table, points)
            return folded.split(basis @ folded.rows[:, functions])
        num_links, _, size = folded.rows.shape
        product = folded.rows.new_empty(num_links, *windows.values.shape[:2], size)
        for rows, into in zip(folded.rows, product, strict=True):
            torch.bmm(windows.values, windows.of(rows), out=into)
        return folded.split(product.flatten(1, 2))

    def select(self, links: Tensor) -> CompactMapping:
        """The mapping of some links, in the order given; a view where they are consecutive."""
        if not is_traced() and len(links):
            first = int(links[0])
            run = torch.arange(first, first + len(links), device=links.device)
            if bool((links == run).all()):
                return self._each(lambda t: t[first : first + len(links)])
        return self._each(lambda t: t[links])

    def to(self, other: torch.device | str | torch.dtype) -> CompactMapping:
        """The mapping on another device, or in another real precision."""
        return self._each(lambda t: t.to(other))

    def _each(self, change: Callable[[Tensor], Tensor]) -> CompactMapping:
        readout = self.trunk.readout
        trunk = Trunk(self.trunk.basis, None if readout is None else change(readout))
        return replace(self, trunk=trunk, latents=tuple(change(c) for c in self.latents))

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        readout = self.trunk.readout
        named = {} if readout is None else {"readout": readout}
        return named | {f"latent.{i}": latent for i, latent in enumerate(self.latents)}

    @property
    def num_bytes(self) -> int:
        """Bytes of trunk and latent tensors."""
        return sum(t.numel() * t.element_size() for t in self.tensors().values())

    @staticmethod
    def concatenate(parts: Sequence[CompactMapping]) -> CompactMapping:
        """One mapping of all the links of several with the same basis."""
        trunk = parts[0].trunk
        if trunk.readout is not None:
            readouts = [m.trunk.readout for m in parts if m.trunk.readout is not None]
            trunk = Trunk(trunk.basis, torch.cat(readouts))
        latents = tuple(torch.cat(c) for c in zip(*(m.latents for m in parts), strict=True))
        return replace(parts[0], trunk=trunk, latents=latents)


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

    @classmethod
    def of(cls, shape: tuple[int, ...], component: Tensor, hermitian: bool) -> Layout:
        """How a component like this one is stored; a real symmetric matrix is a real one."""
        if not component.is_complex():
            return cls(shape, "real")
        return cls(shape, "hermitian" if hermitian else "complex")

    def pack(self, component: Tensor) -> Tensor:
        """A component [..., *shape] as real rows [..., size]."""
        if self.kind == "hermitian":
            component = component.real.tril() + component.imag.triu(1)
        flat = component.flatten(-len(self.shape)).resolve_conj()
        return torch.view_as_real(flat).flatten(-2) if self.kind == "complex" else flat

    def unpack(self, rows: Tensor) -> Tensor:
        """The inverse of :meth:`pack`, without a copy where it is not Hermitian."""
        if self.kind == "complex":
            rows = torch.view_as_complex(rows.unflatten(-1, (-1, 2)))
        matrix = rows.unflatten(-1, self.shape)
        if self.kind != "hermitian":
            return matrix
        lower, upper = matrix.tril(), matrix.triu(1)
        return torch.complex(lower + lower.tril(-1).mT, upper - upper.mT)
