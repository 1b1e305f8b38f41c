"""Which subcarriers of recalled links are repaired, and their repaired components."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from neumatc_mimo.foundation.counts import Counts
from neumatc_mimo.foundation.tolerance import Tolerance
from neumatc_mimo.model.kept import LinkAt, RepairsAt, kept
from neumatc_mimo.model.marks import Marks
from neumatc_mimo.model.operation_model import OperationModel
from neumatc_mimo.model.plan import GridPlan
from neumatc_mimo.model.recall import Recall, in_precision
from neumatc_mimo.model.repairs import LinkRepairs, Repairs
from neumatc_mimo.operations.base import Components
from neumatc_mimo.solvers.base import Channels


@dataclass(frozen=True)
class Repaired:
    """Where the mappings of a call's links are not enough.

    :param recall: the links
    :param channels: of the call
    :param own: components from the links' own paths
    :param exactly: subcarriers of each item that are computed from the channel of the call
    """

    recall: Recall
    channels: Channels
    own: Repairs
    exactly: Sequence[Tensor]

    @cached_property
    def chosen(self) -> Tensor:
        """Which subcarriers are computed from the channel of the call, [num_items, F] bool."""
        plan = self.recall.plan
        chosen = plan.on_grid.new_zeros(len(self.exactly), len(plan.frequencies))
        for row, at in zip(chosen, self.exactly, strict=True):
            row[at] = True
        return chosen

    @cached_property
    def all(self) -> Repairs:
        """Components at all of these subcarriers."""
        if not any(len(at) for at in self.exactly):
            return self.own
        found = _from_call(self.recall, self.channels, self.exactly)
        return Repairs.of_batch([self.own, found])

    @classmethod
    def nowhere(cls, recall: Recall, channels: Channels) -> Repaired:
        """Where the mappings are taken everywhere."""
        nowhere = recall.links.new_empty(0)
        return cls(recall, channels, Repairs.none(recall.links), [nowhere] * len(recall.links))


def repaired(
    recall: Recall, channels: Channels, tolerance: Tolerance | None
) -> tuple[Repaired, Counts]:
    """Where the mappings of a call's links are not enough, and how the answers come about.

    Marks of the training are repaired from the links' own paths, and kept. The others are computed
    exactly from the channel of the call, and not kept: fragile ones, subcarriers between or beside
    those of the trained grid, those that are not proven to the tolerance of the call, and those of
    models whose repairs are too large to be kept.
    """
    model, counts, parts, exactly = recall.model, Counts(), [], []
    if tolerance == model.tolerance:
        tolerance = None
    powers = zip(recall.rows_at.links, recall.power.tolist(), strict=True)
    for item, (link, power) in enumerate(powers):
        key = partial(RepairsAt, LinkAt(recall.moment, link, power), tolerance)
        found = kept(model.kept.repairs, key, partial(_of_link, recall, item, tolerance))
        repairs = found.repairs
        if item:
            repairs = replace(repairs, item=torch.full_like(repairs.item, item))
        parts.append(repairs)
        exactly.append(found.exactly)
        counts.add(found.counts)
        if found.beside:
            _warn_of_band(model, recall.plan)
    return Repaired(recall, channels, Repairs.of_batch(parts), exactly), counts


def aligned(recall: Recall, channels: Channels, subcarriers: slice | Tensor) -> Tensor:
    """Channels of a call as those of the aligned links, [l, F, K, M]: without the gains, delays and
    order of its rows.
    """
    if channels.trusted:
        return recall.model.links.channel(
            recall.plan.frequencies[subcarriers],
            recall.links,
            aligned=True,
            dtype=recall.moment.dtype,
            time=recall.moment.time,
        )
    a = channels.a[:, subcarriers].contiguous()
    a = a / recall.rows[:, subcarriers, :, None].to(a.dtype)
    if recall.order is None:
        return a
    index = recall.order.argsort(-1)[:, None, :, None]
    return a.gather(2, index.expand(-1, a.shape[1], -1, a.shape[3]))


def _of_link(recall: Recall, item: int, tolerance: Tolerance | None) -> LinkRepairs:
    """Where the mapping of one link is not served alone, and its components at the subcarriers that
    its training marked.
    """
    model, plan, moment = recall.model, recall.plan, recall.moment
    link = recall.links[item : item + 1]
    marks = model.marked(link, plan.index, moment.time)
    exactly = marks.fragile | ~plan.on_grid
    if tolerance is not None:
        exactly = exactly | marks.short_of(tolerance)
    corrected, patched = (marks.corrected > 0) & ~exactly, marks.patched & ~exactly
    marked = (~(exactly | corrected | patched), corrected, patched, exactly, ~plan.on_grid)
    # Read at once, as a GPU is waited for at each number.
    *numbers, beside = torch.stack([those.sum() for those in marked]).tolist()
    names = ("queried", "corrected", "patched", "exact")
    counts = Counts(**dict(zip(names, numbers, strict=True)))
    if not model.keeps_repairs(counts.corrected + counts.patched):
        none, exactly = torch.zeros_like(exactly), exactly | corrected | patched
        corrected, patched = none, none
        counts.exact += counts.corrected + counts.patched
        counts.corrected = counts.patched = 0
    repairs = _at_marks(recall, item, marks, (corrected | patched)[0].nonzero()[:, 0])
    if repairs.proven is not None:
        counts.corrected = 0
        counts.add(repairs.proven)
    return LinkRepairs(repairs, exactly[0].nonzero()[:, 0], counts, beside)


def _at_marks(recall: Recall, item: int, marks: Marks, where: Tensor) -> Repairs:
    """Repaired components of one link at subcarriers ``where`` that are marked."""
    model, plan, moment = recall.model, recall.plan, recall.moment
    if not len(where):
        return Repairs.none(where)
    link = recall.links[item : item + 1]
    a = model.links.channel(
        plan.frequencies[where], link, aligned=True, dtype=torch.complex128, time=moment.time
    )
    no = recall.power[item : item + 1, None] if isinstance(recall.no, Tensor) else 0.0
    found, proven = model.repaired(
        a, _mapped(recall, item, where), no, marks.corrected[:, where], marks.patched[:, where]
    )
    components = in_precision(tuple(c[0] for c in found), moment.dtype)
    first, layouts = torch.zeros_like(where), model.mapping.layouts
    return Repairs.of(where, first, components, layouts, proven)


def _from_call(recall: Recall, channels: Channels, exactly: Sequence[Tensor]) -> Repairs:
    """Exact components from the channel of the call, in double precision.

    :param exactly: subcarriers of each item
    """
    operation = recall.model.operation
    at = torch.cat([*exactly])
    item = torch.cat([torch.full_like(those, i) for i, those in enumerate(exactly)])
    # Subcarriers in ascending order, as those of the links are.
    at, ascending = at.sort(stable=True)
    item = item[ascending]
    used, place = at.unique(return_inverse=True)
    a = aligned(recall, channels, used)[item, place].to(torch.complex128)
    no = recall.power[item] if isinstance(recall.no, Tensor) else 0.0
    likes = [_mapped(recall, number, used) for number in range(len(recall.links))]
    like = tuple(torch.cat(column)[item, place] for column in zip(*likes, strict=True))
    wide = (c.to(a.dtype if c.is_complex() else a.real.dtype) for c in like)
    exact = operation.align_to(operation.exact(a, no), tuple(wide))
    components = in_precision(exact, recall.moment.dtype)
    return Repairs.of(at, item, components, recall.model.mapping.layouts)


def _mapped(recall: Recall, item: int, where: Tensor) -> Components:
    """All components of an item's link at subcarriers ``where``, [1, n, ...] each."""
    mapping = recall.mapping.select(torch.tensor([item], device=where.device), [item])
    value = recall.value[item : item + 1]
    table = mapping.table(recall.plan.frequencies[where])
    stored = mapping.evaluate(table, slice(0, len(where)), mapping.at(value))
    no = recall.no[item : item + 1] if isinstance(recall.no, Tensor) else 0.0
    stored = in_precision(stored, recall.moment.dtype)
    return recall.model.operation.from_stored(stored, no)


def _warn_of_band(model: OperationModel, plan: GridPlan) -> None:
    """Say that some subcarriers lie outside of the trained band."""
    low, high = model.links.band
    if not plan.is_within((low, high), model.links.subcarrier_spacing / 2):
        model.warned.once(
            "band",
            f"Some subcarriers lie outside the band from {low / 1e6:.4g} to {high / 1e6:.4g} MHz "
            f"that the model of {model.operation.name} was trained for: they are computed exactly. "
            "To query them, widen [grid] in the scenario and train again.",
        )
