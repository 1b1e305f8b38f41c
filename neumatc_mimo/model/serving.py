"""A call of a model: plan of the grid, recognition, recall, and what the other items get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from neumatc_mimo.model.answers import ProvenAnswers, RecalledAnswers, StrangersAnswers
from neumatc_mimo.model.likeness import Recognised
from neumatc_mimo.model.operation_model import OperationModel
from neumatc_mimo.model.recall import Needed, Recall
from neumatc_mimo.model.recognition import Recognition, check_known, warn_of_noise
from neumatc_mimo.operations.base import Operation, Tolerance
from neumatc_mimo.solvers.base import Answers, Channels, Solver
from neumatc_mimo.solvers.grouped import GroupedAnswers
from neumatc_mimo.tensors.autocast import full_precision


def serve(
    model: OperationModel,
    operation: Operation,
    channels: Channels,
    certify: str | None,
    tolerance: Tolerance | None,
    unknown: Solver,
) -> Answers:
    """Answers for channels: recalled for those that are trained links, another solver's for others.

    :param operation: what is asked for, which the model serves; its own may have more
    :param certify: as for :meth:`Solver.start`
    :param unknown: solver of the other channels

    :raises ValueError: if the model does not have a named link
    """
    if channels.trusted:
        channels = _with_own_channels(model, channels, certify)
    groups: list[tuple[Answers, Tensor]] = []
    with full_precision():
        plan = model.plan(channels.frequencies)
        found = Recognition(model, plan, certify).of(channels)
        known, others = _known(found, certify)
        if len(known):
            # Kernels that apply filters serve all items or none.
            some = replace(channels.select(known), products=channels.products and not len(others))
            needed = _needed(model.operation, operation.unused, certify)
            recall = Recall.of(model, plan, found.select(known), some, needed)
            groups.append((_recalled(recall, some, certify, tolerance), known))
    if len(others) or not groups:
        some = channels.select(others)
        told = (model.operation, certify, tolerance, unknown, found.num_beyond)
        groups.append((serve_strangers(some, *told), others))
    return groups[0][0] if len(groups) == 1 else GroupedAnswers(model.operation, groups)


def serve_strangers(
    channels: Channels,
    operation: Operation,
    certify: str | None,
    tolerance: Tolerance | None,
    unknown: Solver,
    num_beyond: int,
) -> Answers:
    """Another solver's answers for channels that are none of the links, counted as such.

    :param num_beyond: those among them that are links, or of which the model knows the reason
    """
    asked = replace(channels, links=None, products=False, trusted=False, time=0.0)
    answers = unknown.start(operation, asked, certify, tolerance)
    return StrangersAnswers(answers, asked, num_beyond)


def _with_own_channels(model: OperationModel, channels: Channels, certify: str | None) -> Channels:
    """Channels whose links are named, to be trusted; where the model does not know the noise power,
    or its components hold no answers, the links' own instead, to compute with.
    """
    links, own = channels.links, model.links
    if certify is None or links is None:
        return channels
    check_known(model, links)
    inside = channels.no is None or bool(
        model.mapping.axis.covers(channels.no.double(), channels.time).all()
    )
    if inside and all(model.held(links.tolist(), channels.a.dtype, channels.time)):
        return channels
    if channels.no is not None and not inside:
        warn_of_noise(model, channels.no, channels.time)
    # Users in one place are apart by less than single precision sums their paths to.
    a = own.channel(channels.frequencies, links, dtype=torch.complex128, time=channels.time)
    return replace(channels, a=a.to(channels.a.dtype), trusted=False)


def _known(found: Recognised, certify: str | None) -> tuple[Tensor, Tensor]:
    """Indices of the items that are links, and of the others; a pure query believes all names."""
    items = torch.arange(len(found.links), device=found.links.device)
    if certify is None:
        return items, items[:0]
    known = [link >= 0 for link in found.links.tolist()]
    if all(known):
        return items, items[:0]
    if not any(known):
        return items[:0], items
    return items[found.links >= 0], items[found.links < 0]


def _needed(operation: Operation, unused: Sequence[str], certify: str | None) -> Needed:
    """Components that are evaluated: for a proof all of them, as they are."""
    if certify == "call":
        return replace(Needed.of(operation), derived=False)
    return Needed.of(operation, unused)


def _recalled(
    recall: Recall, channels: Channels, certify: str | None, tolerance: Tolerance | None
) -> Answers:
    """What items get that are trained links."""
    if certify == "call":
        return ProvenAnswers(recall, channels, tolerance or recall.model.tolerance)
    return RecalledAnswers.of(recall, channels, certify, tolerance)
