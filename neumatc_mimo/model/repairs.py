"""Components at the subcarriers where a mapping alone is not good enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from neumatc_mimo.foundation.counts import Counts
from neumatc_mimo.mapping.layout import Layout
from neumatc_mimo.operations.base import Components


@dataclass(frozen=True)
class Repairs:
    """Repaired components of some items, a row for each place.

    :param at: [n] subcarriers, ascending
    :param item: [n] items that the rows are of
    :param components: [n, ...] each
    :param rows: the same as real numbers [n, size] each, as latent tensors hold them, float32
    :param proven: how they came about, where that is found out anew at their time, or None
    """

    at: Tensor
    item: Tensor
    components: Components
    rows: tuple[Tensor, ...]
    proven: Counts | None = None

    @classmethod
    def of(
        cls,
        at: Tensor,
        item: Tensor,
        components: Components,
        layouts: Sequence[Layout],
        proven: Counts | None = None,
    ) -> Repairs:
        """Those of components that are stored as ``layouts`` tell."""
        pairs = zip(layouts, components, strict=True)
        rows = (layout.pack(c).to(torch.float32).contiguous() for layout, c in pairs)
        return cls(at, item, components, tuple(rows), proven)

    @classmethod
    def none(cls, like: Tensor) -> Repairs:
        """Nowhere, on the device of another tensor."""
        nowhere = like.new_empty(0, dtype=torch.int64)
        return cls(nowhere, nowhere, (), ())

    @classmethod
    def of_batch(cls, parts: Sequence[Repairs]) -> Repairs:
        """Those of a batch, from those of its items; of an item there may be several."""
        filled = [part for part in parts if len(part.at)] or list(parts[:1])
        if len(filled) == 1:
            return filled[0]
        at, order = torch.cat([part.at for part in filled]).sort(stable=True)
        item = torch.cat([part.item for part in filled])[order]
        components, rows = (
            tuple(torch.cat(column)[order] for column in zip(*columns, strict=True))
            for columns in ([p.components for p in filled], [p.rows for p in filled])
        )
        return cls(at, item, components, rows)

    def within(self, subcarriers: slice) -> Repairs:
        """Those of a stretch of subcarriers, counted from its start; views."""
        if not len(self.at):
            return self
        ends = self.at.new_tensor([subcarriers.start, subcarriers.stop])
        some = slice(*torch.searchsorted(self.at, ends).tolist())
        components, rows = (tuple(c[some] for c in all) for all in (self.components, self.rows))
        return Repairs(self.at[some] - subcarriers.start, self.item[some], components, rows)

    def put_into(self, components: Components) -> None:
        """Write them into components [num_items, num_subcarriers, ...] each."""
        if len(self.at):
            for c, value in zip(components, self.components, strict=True):
                c[self.item, self.at] = value


@dataclass(frozen=True)
class LinkRepairs:
    """Where the mapping of a link is not served alone.

    :param repairs: repaired components from the link's own paths, as those of the first item
    :param exactly: subcarriers that are computed from the channel of a call, [n]
    :param counts: how the answers at all subcarriers come about
    :param beside: number of subcarriers beside the trained grid
    """

    repairs: Repairs
    exactly: Tensor
    counts: Counts
    beside: int
