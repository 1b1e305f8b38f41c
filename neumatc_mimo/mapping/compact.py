"""NeuMatC's compact mapping: a trunk along the parameter, a latent tensor for each component."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from neumatc_mimo.foundation.coordinate import coordinate
from neumatc_mimo.mapping.axes import Axis
from neumatc_mimo.mapping.basis import Table, Windows
from neumatc_mimo.mapping.latent import Latent
from neumatc_mimo.mapping.layout import Latents, Layout
from neumatc_mimo.mapping.trunk import Trunk
from neumatc_mimo.operations.base import Components
from neumatc_mimo.tensors.tracing import is_traced


@dataclass(frozen=True)
class CompactMapping:
    r"""Ŷ_i(p) = C_i ×₃ φ(p; θ) for every component i (NeuMatC, Eq. (1)), batched over links.

    With p = (x, y), y the noise power or the time, the basis is the product φ_a(x) ψ_j(y) of the
    trunk's functions and those of the axis. A call has one y per link: ψ is folded into the latent
    tensor first, [rank, nodes, n] → [rank, n], so that the number of nodes costs nothing per
    subcarrier.

    :param trunk: φ
    :param axis: ψ
    :param latents: C_i, of the shape [num_links, rank, nodes or 1, n] with n real numbers as
        :class:`Layout` tells; a component that doesn't depend on y has one node
    :param layouts: how each component is stored
    :param band: lowest and highest frequency in Hz; x = -1 and 1
    """

    trunk: Trunk
    axis: Axis
    latents: tuple[Latent, ...]
    layouts: tuple[Layout, ...]
    band: tuple[float, float]

    @property
    def num_links(self) -> int:
        """Number of links."""
        return self.latents[0].shape[0]

    @property
    def starts(self) -> Tensor:
        """The first row of each link, where rows of latent tensors stand one below the other."""
        rank = self.latents[0].shape[1]
        return torch.arange(self.num_links, device=self.latents[0].numbers.device) * rank

    def rows_of(self, latent: Latent) -> Latent:
        """A latent tensor with the rows of all links one below the other."""
        scales = None if latent.scales is None else latent.scales.flatten(0, 1)
        return Latent(latent.numbers.flatten(0, 1), scales)

    def table(self, frequencies: Tensor) -> Table:
        """The trunk's functions at frequencies [B] in Hz."""
        return self.trunk.table(self.coordinate(frequencies))

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
            for c, layout in zip(self._values, self.layouts, strict=True)
        )
        return Latents.of(change(tuple(folded)))

    def __call__(self, frequencies: Tensor, values: Tensor) -> Components:
        """Components at frequencies [B] in Hz and values of the axis [num_links]:
        [num_links, B, ...].
        """
        table = self.table(frequencies)
        return self.evaluate(table, slice(0, len(frequencies)), self.at(values))

    def evaluate(self, table: Table, points: slice, folded: Latents) -> Components:
        """Components at some points of the trunk's table, from folded latent tensors.

        :return: [num_links, b, ...] each
        """
        windows = table.windows(points)
        # What is written in place has no gradient.
        if windows is None or (torch.is_grad_enabled() and folded.rows.requires_grad):
            functions, values = table.read(points)
            return folded.split(values.to(folded.rows) @ folded.rows[:, functions])
        return folded.split(windowed(windows, folded.rows))

    def select(self, links: Tensor, listed: Sequence[int] | None = None) -> CompactMapping:
        """The mapping of some links, in the order given; a view where they are consecutive.

        :param listed: the links as numbers, where the caller has them: a GPU is then not asked
        """
        if not is_traced() and len(links):
            listed = list(links.tolist() if listed is None else listed)
            first, stop = listed[0], listed[0] + len(listed)
            if listed == list(range(first, stop)):
                return self._chosen(slice(first, stop))
        return self._chosen(links)

    def to(self, other: torch.device | str | torch.dtype) -> CompactMapping:
        """The mapping on another device, or in another real precision."""
        latents = tuple(c.to(other) for c in self.latents)
        return replace(self, trunk=self.trunk.to(other), latents=latents)

    def _chosen(self, links: slice | Tensor) -> CompactMapping:
        latents = tuple(c[links] for c in self.latents)
        return replace(self, trunk=self.trunk.select(links), latents=latents)

    def in_16_bits(self) -> CompactMapping:
        """The mapping with the latent tensors of large complex matrices in 16 bits."""
        latents = tuple(
            Latent.in_16_bits(c.values, layout.shape[1]) if layout.is_large else c
            for c, layout in zip(self.latents, self.layouts, strict=True)
        )
        return replace(self, latents=latents)

    @property
    def _values(self) -> tuple[Tensor, ...]:
        return tuple(c.values for c in self.latents)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        named = self.trunk.tensors()
        for i, latent in enumerate(self.latents):
            named |= latent.tensors(str(i))
        return named

    @property
    def num_bytes(self) -> int:
        """Bytes of trunk and latent tensors."""
        return sum(t.nbytes for t in self.tensors().values())

    @staticmethod
    def concatenate(parts: Sequence[CompactMapping]) -> CompactMapping:
        """One mapping of all the links of several with trunks of the same kind."""
        return parts[0].joined(parts[1:])

    def joined(self, others: Sequence[CompactMapping]) -> CompactMapping:
        """One mapping of its links and those of others."""
        columns = zip(*(m.latents for m in (self, *others)), strict=True)
        latents = tuple(Latent.concatenate(list(c)) for c in columns)
        trunk = self.trunk.joined([m.trunk for m in others])
        return replace(self, trunk=trunk, latents=latents)


def windowed(windows: Windows, rows: Tensor) -> Tensor:
    """Combinations of rows [num_links, rank, n] by values in groups of points,
    [num_links, points, n].
    """
    num_links, _, size = rows.shape
    product = rows.new_empty(num_links, *windows.values.shape[:2], size)
    values = windows.values.to(rows)
    for one, into in zip(rows, product, strict=True):
        torch.bmm(values, windows.of(one), out=into)
    return product.flatten(1, 2)
