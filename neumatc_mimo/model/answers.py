"""Answers of a call for items that are trained links, and for those that are none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from neumatc_mimo.foundation.counts import Counts
from neumatc_mimo.foundation.tolerance import Tolerance
from neumatc_mimo.kernels import applied as kernels
from neumatc_mimo.kernels.applied import Applied, Replaced
from neumatc_mimo.kernels.expansion import Expansion
from neumatc_mimo.kernels.lanes import Emitter
from neumatc_mimo.kernels.lanes.proven import Query
from neumatc_mimo.kernels.lanes.refined import compute, emit
from neumatc_mimo.mapping.layout import Latents
from neumatc_mimo.model.kept import DerivedAt, kept
from neumatc_mimo.model.recall import Needed, Recall
from neumatc_mimo.model.repaired import Repaired, aligned, repaired
from neumatc_mimo.model.repairs import Repairs
from neumatc_mimo.operations import certified
from neumatc_mimo.solvers.base import Answers, Channels, Emitted, ExactAnswers
from neumatc_mimo.solvers.delegating import Delegating
from neumatc_mimo.tensors.tracing import is_traced

T = TypeVar("T")


@dataclass(frozen=True)
class Unevaluated:
    """A component that kernels apply to symbols without evaluating it.

    :param index: which of the operation's components
    :param latents: its latent tensors
    """

    index: int
    latents: Latents

    @classmethod
    def of(cls, recall: Recall, channels: Channels) -> Unevaluated | None:
        """That of a call; None where kernels cannot apply it."""
        operation, names = recall.model.operation, recall.model.operation.component_names
        if (
            not channels.products
            or recall.order is not None
            or operation.applied not in names
            or channels.a.dtype != torch.complex64
            or is_traced()
            or not kernels.available(channels.a.device)
            # On a GPU products of dense matrices are faster.
            or not (kernels.in_lanes(channels.a.device) or recall.table.is_local)
        ):
            return None
        index = names.index(operation.applied)
        if not recall.needed.used[index]:
            return None
        alone = tuple(i == index for i in range(len(names)))
        needed = Needed(operation, alone, derived=False)
        return cls(index, replace(recall, needed=needed).latents)


class RecalledAnswers(Answers):
    """Answers for trained links: from their mappings, repaired where their training says so.

    :param recall: the links as the call has them
    :param channels: of the call
    :param repaired: where the mapping is not served; None takes the mapping everywhere
    :param counts: how the answers come about
    """

    def __init__(
        self, recall: Recall, channels: Channels, repaired: Repaired | None, counts: Counts
    ) -> None:
        self._recall, self._channels = recall, channels
        self._counts = _links(recall, channels)
        self._counts.add(counts)
        self._certified = repaired is not None
        self._repaired = repaired or Repaired.nowhere(recall, channels)

    @classmethod
    def of(
        cls, recall: Recall, channels: Channels, certify: str | None, tolerance: Tolerance | None
    ) -> RecalledAnswers:
        """Those of links that were certified in training, or, with None, of the mapping alone.

        :param tolerance: what the call asks for; None is what the training did
        """
        if certify is None:
            mapped = Counts(queried=len(recall.links) * len(recall.plan.frequencies))
            return cls(recall, channels, None, mapped)
        return cls(recall, channels, *repaired(recall, channels, tolerance))

    @property
    def counts(self) -> Counts:
        return self._counts

    @property
    def reads_channel(self) -> bool:
        return self._counts.exact > 0 and not self._channels.trusted

    def emitted(self, emitter: Emitter) -> Emitted | None:
        if not kernels.in_lanes(self._channels.a.device):
            return None
        if self.reads_channel and emitter.covers(
            self._recall.model.operation, self._channels.a, self._channels.no
        ):
            return self._emitted_beside(emitter)
        links = self._recall.stored(self._repairs)
        if links is None or not emitter.recalls(links):
            return None
        emitter.recall(links)
        # What was computed from the channel of the call stands among the repairs.
        witness = self._repairs.components[-1] if self.reads_channel else links.values[:0]
        return Emitted(witness, None, lambda: None)

    def _emitted_beside(self, emitter: Emitter) -> Emitted | None:
        """The same, with what is computed from the channel of the call by kernels, too."""
        recall, channels = self._recall, self._channels
        links = recall.stored(self._repaired.own)
        if links is None or not emitter.recalls(links):
            return None
        emitter.recall(links)
        operation = recall.model.operation
        done = compute(emitter, operation, channels.a, channels.no, self._repaired.chosen)
        exact = ExactAnswers(operation, channels, warned=recall.model.warned)
        return Emitted.of(done, exact.singly)

    @property
    def _repairs(self) -> Repairs:
        """Components at all subcarriers where the mapping is not served."""
        return self._repaired.all

    @cached_property
    def _unevaluated(self) -> Unevaluated | None:
        """The component that kernels apply, if any."""
        return Unevaluated.of(self._recall, self._channels)

    @cached_property
    def _evaluated(self) -> Recall:
        """The links without the component that kernels apply."""
        if self._unevaluated is None:
            return self._recall
        needed = self._recall.needed.without(self._unevaluated.index)
        return replace(self._recall, needed=needed)

    @cached_property
    def _put(self) -> Repairs:
        """The repairs of what is evaluated."""
        if not len(self._repairs.at):
            return self._repairs
        chosen = self._evaluated.needed.chosen(self._repairs.components)
        return replace(self._repairs, components=chosen)

    def entries(self, a: Tensor) -> int:
        return max(self._evaluated.latents.size // 2 * a.shape[0], 1)

    def tile(self, subcarriers: slice) -> Any:
        components = self._evaluated.evaluated(subcarriers)
        self._here(self._put, subcarriers).put_into(components)
        return self._evaluated.answer(components, subcarriers)

    def applied(self, subcarriers: slice) -> Applied | None:
        if self._unevaluated is None:
            return None
        recall, latents = self._recall, self._unevaluated.latents
        columns, values = (t[..., subcarriers, :] for t in recall.table.terms())
        (layout,) = latents.layouts
        expansion = Expansion(columns, values, latents.rows, *layout.shape)

        def filters() -> Tensor:
            return recall.mapping.evaluate(recall.table, subcarriers, latents)[0]

        if not len(self._repairs.at):
            return Applied(expansion, filters)
        here = self._here(self._repairs, subcarriers)
        given = here.components[self._unevaluated.index]
        return Applied(expansion, filters, Replaced(here.item, here.at, given))

    def _here(self, repairs: Repairs, subcarriers: slice) -> Repairs:
        """Those of a tile; where it is the whole grid nothing has to be looked up."""
        whole = subcarriers.start == 0 and subcarriers.stop >= len(self._recall.plan.frequencies)
        return repairs if whole else repairs.within(subcarriers)

    def channel(self, subcarriers: slice, given: Tensor) -> Tensor:
        if self._channels.trusted:
            return self._recall.channel(subcarriers).to(given.dtype)
        return given[:, subcarriers]

    def keep(self, name: str, subcarriers: slice, make: Callable[[Tensor], T], given: Tensor) -> T:
        # Gradients are those of the channel given.
        if not self._certified or is_traced() or given.requires_grad:
            return make(self.channel(subcarriers, given))
        return kept(
            self._recall.model.kept.derived,
            lambda: DerivedAt(self._recall.rows_at, name, subcarriers.start, subcarriers.stop),
            lambda: make(self._recall.channel(subcarriers)),
        )


class ProvenAnswers(Answers):
    """Answers for trained links, each proven against the channel of the call.

    What is not proven takes correction steps, and is computed exactly if they do not help; a kernel
    computes it at once, which costs less than a step.

    :param recall: the links as the call has them, with all components
    :param channels: of the call
    :param tolerance: what a proof has to reach
    """

    def __init__(self, recall: Recall, channels: Channels, tolerance: Tolerance) -> None:
        self._recall, self._channels, self._tolerance = recall, channels, tolerance
        self._counts = _links(recall, channels)

    @property
    def counts(self) -> Counts:
        return self._counts

    @property
    def reads_channel(self) -> bool:
        return not self._channels.trusted

    def entries(self, a: Tensor) -> int:
        return max(self._recall.latents.size // 2 * a.shape[0], 1)

    def tile(self, subcarriers: slice) -> Any:
        recall = self._recall
        components = certified.certify(
            recall.model.operation,
            aligned(recall, self._channels, subcarriers),
            recall.evaluated(subcarriers),
            recall.no,
            self._tolerance,
            self._counts,
        )
        return recall.answer(components, subcarriers)

    def emitted(self, emitter: Emitter) -> Emitted | None:
        recall, a, no = self._recall, self._channels.a, self._channels.no
        operation = recall.model.operation
        if self._channels.trusted or not emitter.proves(operation, a, no):
            return None
        places = None if recall.order is None else recall.order.argsort(-1)
        query = Query(
            *recall.table.terms(), recall.latents.rows, recall.rows, places, self._tolerance
        )
        done = emit(emitter, operation, a, no, query, looking=True)
        proven = int((done.amplification == 0).sum())
        self._counts.queried += proven
        self._counts.exact += done.amplification.numel() - proven
        self._counts.refined += done.refined
        return Emitted.of(done, self._singly)

    def _singly(self, where: Tensor) -> Any:
        """The exact answer for single matrices, [1, num_places, ...]."""
        model = self._recall.model
        exact = ExactAnswers(model.operation, self._channels, warned=model.warned)
        answer = exact.singly(where)
        self._counts.add(exact.counts)
        return answer

    def channel(self, subcarriers: slice, given: Tensor) -> Tensor:
        if self._channels.trusted:
            return self._recall.channel(subcarriers).to(given.dtype)
        return given[:, subcarriers]


class StrangersAnswers(Delegating):
    """Another solver's answers for items that are none of the model's links.

    :param answers: of the other solver
    :param channels: what it was asked for
    :param num_beyond: items whose operation, sizes, noise power or time were not trained
    """

    def __init__(self, answers: Answers, channels: Channels, num_beyond: int) -> None:
        super().__init__(answers)
        self._channels = channels
        self._num_beyond = num_beyond

    @property
    def counts(self) -> Counts:
        counts = self._inner.counts
        unknown = len(self._channels.a) - counts.links_adapted
        beyond = min(self._num_beyond, unknown)
        return replace(counts, links_unknown=unknown, links_beyond=beyond)

    def channel(self, subcarriers: slice, given: Tensor) -> Tensor:
        # Links that were named at a noise power without a mapping have their own channels.
        return self._channels.a[:, subcarriers]


def _links(recall: Recall, channels: Channels) -> Counts:
    num = len(recall.links)
    return Counts(links_trusted=num) if channels.trusted else Counts(links_recalled=num)
