"""Which subcarriers of recalled links are repaired, and their repaired components."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from neumatc_mimo.foundation.counts import Counts
from neumatc_mimo.model.kept import LinkAt, kept
from neumatc_mimo.model.operation_model import OperationModel
from neumatc_mimo.model.plan import GridPlan
from neumatc_mimo.model.recall import Recall, in_precision
from neumatc_mimo.model.repairs import Repairs
from neumatc_mimo.operations.base import Components
from neumatc_mimo.solvers.base import Channels


def repaired(recall: Recall, channels: Channels) -> Repairs:
    """All components of a call's links where the mapping alone is not enough.

    Marks of the training are repaired from the links' own paths, and kept. What the training never
    saw, subcarriers between or beside those of its grid, is computed exactly from the channel of
    the call, and not kept.
    """
    parts = []
    powers = zip(recall.links.tolist(), recall.power.tolist(), strict=True)
    for item, (link, power) in enumerate(powers):
        key = partial(LinkAt, recall.moment, link, power)
        found = kept(recall.model.kept.repairs, key, partial(_at_marks, recall, item))
        parts.append(replace(found, item=torch.full_like(found.item, item)))
    if not bool(recall.plan.on_grid.all()):
        _warn_of_band(recall.model, recall.plan)
        parts.append(_off_grid(recall, channels))
    whole = Repairs.of_batch(parts)
    num = len(recall.links) * len(recall.plan.frequencies)
    return replace(whole, counts=replace(whole.counts, queried=num + whole.counts.queried))


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


def _at_marks(recall: Recall, item: int) -> Repairs:
    """Repaired components of one link at the subcarriers that its training marked.

    ``counts.queried`` is negative: what of all subcarriers is not queried.
    """
    model, plan, moment = recall.model, recall.plan, recall.moment
    link = recall.links[item : item + 1]
    corrected, patched = model.marks(link, plan.index, moment.time)
    corrected, patched = corrected * plan.on_grid, patched & plan.on_grid
    where = ((corrected > 0) | patched)[0].nonzero()[:, 0]
    counts = Counts(
        corrected=int((corrected > 0).sum()), patched=int(patched.sum()), queried=-len(where)
    )
    if not len(where):
        return Repairs(where, where, (), counts)
    a = model.links.channel(
        plan.frequencies[where], link, aligned=True, dtype=moment.dtype, time=moment.time
    )
    no = recall.no if isinstance(recall.no, float) else recall.no[item : item + 1]
    components, proven = model.repaired(
        a, _mapped(recall, item, where), no, corrected[:, where], patched[:, where]
    )
    if proven is not None:
        counts = Counts(
            corrected=proven.corrected,
            patched=counts.patched,
            exact=proven.exact,
            queried=counts.queried + proven.queried,
        )
    return Repairs(where, torch.zeros_like(where), tuple(c[0] for c in components), counts)


def _off_grid(recall: Recall, channels: Channels) -> Repairs:
    """Exact components of all items at the subcarriers that are none of the trained grid."""
    where = (~recall.plan.on_grid).nonzero()[:, 0]
    num, count = len(recall.links), len(where)
    likes = [_mapped(recall, item, where) for item in range(num)]
    like = tuple(torch.cat(column) for column in zip(*likes, strict=True))
    everywhere = torch.ones(num, count, dtype=torch.bool, device=where.device)
    components, _ = recall.model.repaired(
        aligned(recall, channels, where),
        like,
        recall.no,
        torch.zeros_like(everywhere, dtype=torch.int8),
        everywhere,
    )
    at = where.repeat_interleave(num)
    item = torch.arange(num, device=where.device).repeat(count)
    rows = tuple(c.transpose(0, 1).flatten(0, 1) for c in components)
    return Repairs(at, item, rows, Counts(exact=num * count, queried=-num * count))


def _mapped(recall: Recall, item: int, where: Tensor) -> Components:
    """All components of an item's link at subcarriers ``where``, [1, n, ...] each."""
    mapping = recall.mapping.select(torch.tensor([item], device=where.device))
    value = recall.model.mapping.axis.value(recall.power[item : item + 1], recall.moment.time)
    table = mapping.trunk.table(mapping.coordinate(recall.plan.frequencies[where]))
    components = mapping.evaluate(table, slice(0, len(where)), mapping.at(value))
    return in_precision(components, recall.moment.dtype)


def _warn_of_band(model: OperationModel, plan: GridPlan) -> None:
    """Say that some subcarriers lie outside of the trained band."""
    low, high = model.links.band
    if not plan.is_within((low, high), model.links.subcarrier_spacing / 2):
        model.warned.once(
            "band",
            f"Some subcarriers lie outside the band from {low / 1e6:.4g} to {high / 1e6:.4g} MHz "
            f"that the model of {model.operation.name} was trained for: they are computed exactly. "
            "To have them queried, widen [grid] in the scenario and train again.",
        )
