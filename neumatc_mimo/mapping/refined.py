"""Compact mappings whose links have knots, and so numbers of functions, of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from neumatc_mimo.mapping.basis import KnotSplines, LinkTable, Table
from neumatc_mimo.mapping.compact import CompactMapping, windowed
from neumatc_mimo.mapping.latent import Latent
from neumatc_mimo.mapping.layout import Latents
from neumatc_mimo.mapping.trunk import KnotTrunk
from neumatc_mimo.operations.base import Components
from neumatc_mimo.storage.names import RAGGED
from neumatc_mimo.tensors.tracing import is_traced


@dataclass(frozen=True)
class RefinedMapping(CompactMapping):
    """A compact mapping on :class:`KnotSplines`, without a readout.

    Latent tensors hold the rows of all links one below the other, [num_rows, nodes or 1, n].

    :param chosen: links that the mapping is of, [l], among those of the tensors; None for all
    """

    chosen: Tensor | None = None

    @property
    def basis(self) -> KnotSplines:
        """The trunk's functions."""
        assert isinstance(self.trunk, KnotTrunk)
        return self.trunk.basis

    @property
    def num_links(self) -> int:
        return self.basis.num_links if self.chosen is None else self.chosen.shape[0]

    @property
    def starts(self) -> Tensor:
        return self.basis.starts

    def rows_of(self, latent: Latent) -> Latent:
        return latent

    def table(self, frequencies: Tensor) -> Table:
        table = super().table(frequencies)
        return table if self.chosen is None else table.of(self.chosen, self._listed)

    def evaluate(self, table: Table, points: slice, folded: Latents) -> Components:
        assert isinstance(table, LinkTable)
        if is_traced() or (torch.is_grad_enabled() and folded.rows.requires_grad):
            columns, values = (t[:, points] for t in table.terms())
            items = torch.arange(columns.shape[0], device=columns.device)[:, None, None]
            rows = folded.rows[items, columns]
            return folded.split((values.to(rows)[..., None, :] @ rows)[..., 0, :])
        parts = []
        for part, rows in zip(table.parts, folded.rows, strict=True):
            windows = part.windows(points)
            if windows is not None:
                parts.append(windowed(windows, rows[None])[0])
                continue
            functions, values = part.read(points)
            parts.append(values.to(rows) @ rows[functions])
        return folded.split(torch.stack(parts))

    def select(self, links: Tensor, listed: Sequence[int] | None = None) -> RefinedMapping:
        chosen = links if self.chosen is None else self.chosen[links]
        return replace(self, chosen=chosen)

    def to(self, other: torch.device | str | torch.dtype) -> RefinedMapping:
        latents = tuple(c.to(other) for c in self.latents)
        if isinstance(other, torch.dtype):
            return replace(self, latents=latents)
        chosen = None if self.chosen is None else self.chosen.to(other)
        trunk = self.trunk.to(other)
        return replace(self, trunk=trunk, latents=latents, chosen=chosen)

    def tensors(self) -> dict[str, Tensor]:
        whole = self.alone
        named = dict(whole.basis.tensors)
        for i, latent in enumerate(whole.latents):
            named |= {f"{RAGGED}{k}": t for k, t in latent.tensors(str(i)).items()}
        return named

    def reading(self, named: Mapping[str, Tensor]) -> RefinedMapping:
        """The mapping with the latent tensors of the same names, such as buffers of a module."""
        latents = tuple(
            Latent(named[f"{RAGGED}latent.{i}"], named.get(f"{RAGGED}scale.{i}"))
            for i in range(len(self.latents))
        )
        return replace(self.alone, latents=latents)

    def joined(self, others: Sequence[CompactMapping]) -> RefinedMapping:
        parts = [part.alone for part in (self, *others) if isinstance(part, RefinedMapping)]
        columns = zip(*(part.latents for part in parts), strict=True)
        latents = tuple(Latent.concatenate(list(c)) for c in columns)
        first, *rest = (part.trunk for part in parts)
        trunk = first.joined(rest)
        return replace(self, trunk=trunk, latents=latents, chosen=None)

    @property
    def _values(self) -> tuple[Tensor, ...]:
        starts = self.starts if self.chosen is None else self.starts[self.chosen]
        steps = torch.arange(self.basis.width, device=starts.device)
        # Beyond a link's own rows others follow, which none of its functions meets.
        rows = (starts[:, None] + steps).clamp_max(len(self.latents[0].numbers) - 1)
        return tuple(c[rows].values for c in self.latents)

    @cached_property
    def _listed(self) -> tuple[int, ...]:
        return () if self.chosen is None or is_traced() else tuple(self.chosen.tolist())

    @property
    def alone(self) -> RefinedMapping:
        """The same with tensors of its own links alone."""
        if self.chosen is None:
            return self
        basis, starts = self.basis, self.starts.tolist()
        numbers = basis.tensors["functions"].tolist()
        rows = [torch.arange(starts[i], starts[i] + numbers[i]) for i in self._listed]
        index = torch.cat(rows).to(self.chosen.device)
        latents = tuple(c[index] for c in self.latents)
        return replace(
            self, trunk=KnotTrunk(basis.select(self._listed)), latents=latents, chosen=None
        )


__all__ = ["RefinedMapping"]
