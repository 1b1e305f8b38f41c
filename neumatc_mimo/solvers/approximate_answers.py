"""Answers of solvers that approximate: proven, corrected or replaced by exact results.

A kernel proves them with the channel of the call and applies them in one pass, as it does with
those of a model; what is not proven it computes exactly at once, which costs less than a step.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from neumatc_mimo.kernels.lanes import Emitter, emit
from neumatc_mimo.kernels.lanes.proven import Query
from neumatc_mimo.mapping.layout import Latents
from neumatc_mimo.operations import certified
from neumatc_mimo.operations.base import Components, Operation, Tolerance
from neumatc_mimo.solvers.approximation import Approximation, summed
from neumatc_mimo.solvers.base import Answers, Channels, Counts, Emitted, ExactAnswers, tiles
from neumatc_mimo.tensors.autocast import full_precision
from neumatc_mimo.tensors.tracing import is_traced


class ApproximateAnswers(Answers):
    """A solver's own components, proven, corrected or replaced as tiles are asked for.

    :param certify: None leaves them as they are; "link" and "call" are the same here, as nothing
        was proven in a training
    :param settled: [num_frequencies] grid points that need no proof and are in the counts already
    :param rows: [num_items, num_frequencies, m] factors of modulus one of the channels' rows that
        the approximation lacks, or None
    :param stored: whether the approximation is of ``operation.stored``, as a model's mapping is,
        which kernels read; else of the operation's own components
    """

    def __init__(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None,
        tolerance: Tolerance | None,
        approximation: Approximation,
        settled: Tensor,
        counts: Counts,
        rows: Tensor | None = None,
        *,
        stored: bool = False,
    ) -> None:
        # Of most operations there is no difference.
        self._stored = stored or operation.stored is operation
        self._counts = counts
        self._rows = rows
        self._operation, self._channels, self._approximation = operation, channels, approximation
        self._tolerance = None if certify is None else tolerance or Tolerance()
        self._settled = settled

    @property
    def counts(self) -> Counts:
        return self._counts

    def emitted(self, emitter: Emitter) -> Emitted | None:
        operation, a, no = self._operation, self._channels.a, self._channels.no
        # What nothing is left to prove of is applied as it is.
        if self._tolerance is None or bool(self._settled.all()) or not self._stored:
            return None
        if is_traced() or not emitter.proves(operation, a, no):
            return None
        found = summed(self._approximation, tiles(a))
        factors = self._rows
        if factors is None:
            factors = a.new_ones(1, 1, 1).expand(*a.shape[:3])
        rows = Latents.of(found.components).rows
        query = Query(found.columns, found.values, rows, factors, None, self._tolerance)
        done = emit(emitter, operation, a, no, query, looking=True)
        open_ = ~self._settled.to(done.amplification.device)
        proven = done.amplification[:, open_] == 0
        self._counts.queried += int(proven.sum())
        self._counts.exact += int((~proven).sum())
        self._counts.refined += done.refined
        return Emitted.of(done, self._singly)

    def _singly(self, where: Tensor) -> Any:
        """The exact answer for single matrices, [1, num_places, ...]."""
        exact = ExactAnswers(self._operation, self._channels)
        answer = exact.singly(where)
        self._counts.add(exact.counts)
        return answer

    @full_precision()
    def tile(self, subcarriers: slice) -> Any:
        subcarriers = slice(*subcarriers.indices(len(self._settled))[:2])
        noise = self._channels.noise(subcarriers=subcarriers)
        components = self._approximation(subcarriers)
        if self._stored:
            components = self._operation.from_stored(components, noise)
        unsettled = (~self._settled[subcarriers]).nonzero()[:, 0]
        if self._tolerance is None:
            self._counts.queried += components[0].shape[0] * len(unsettled)
        elif len(unsettled):
            components = self._proven(components, subcarriers, unsettled, self._tolerance)
        rows = None if self._rows is None else self._rows[:, subcarriers]
        return self._operation.answer(components, noise, rows)

    def _proven(
        self, components: Components, subcarriers: slice, which: Tensor, tolerance: Tolerance
    ) -> Components:
        """Components with certified ones at the points ``which`` of a tile."""
        noise = self._channels.noise(subcarriers=subcarriers)
        if isinstance(noise, Tensor) and noise.shape[1] > 1:
            noise = noise[:, which]
        a = self._channels.a[:, subcarriers].index_select(1, which)
        if self._rows is not None:
            a = a / self._rows[:, subcarriers].index_select(1, which)[..., None]
        certified_ones = certified.certify(
            self._operation,
            a,
            tuple(c.index_select(1, which) for c in components),
            noise,
            tolerance,
            self._counts,
        )
        return tuple(
            c.index_copy(1, which, part) for c, part in zip(components, certified_ones, strict=True)
        )
