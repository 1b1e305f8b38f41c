"""The cheaper of exact results and queries, found out by measurement."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch

from neumatc_mimo.foundation.display import brief
from neumatc_mimo.operations.base import Operation, Tolerance
from neumatc_mimo.solvers.base import Answers, Channels, Solver
from neumatc_mimo.solvers.delegating import Delegating, DelegatingSolver
from neumatc_mimo.solvers.exact import Exact
from neumatc_mimo.tensors.tracing import is_traced

# Calls of a kind that may go uncounted, as a model makes what it keeps of their links.
FIRST_CALLS = 16


@dataclass
class _Trials:
    """What the calls of a kind have told so far.

    :param seconds: of each way, those that count
    :param uncounted: calls that do not
    """

    seconds: dict[str, list[float]]
    uncounted: int = 0


class Auto(DelegatingSolver):
    """Exact results or a model's queries, whichever is faster for a block.

    Which one is faster depends on the operation, the sizes and the machine. A query is usually
    faster for iterative precoders.  So the first calls of each kind measure it: they use both ways
    in turn, and the time includes the block's own work. All later calls use the faster way. Calls
    in which a model computes what it keeps of a link are not counted, because later calls reuse it.
    All results are certified in the same way. For links that the model does not know, adapting and
    exact results are compared in the same way.

    :param model: A ScenarioModel or any other solver
    :param num_trials: Number of measured calls of each way, after a first call that is not measured
    """

    def __init__(self, model: Solver, num_trials: int = 3) -> None:
        if not isinstance(model, Solver):
            raise TypeError(f"model is a {type(model).__name__}, it must be a Solver.")
        if num_trials < 1:
            raise ValueError(f"num_trials is {num_trials}, at least one is needed.")
        super().__init__(model)
        self.num_trials = num_trials
        # Whether to adapt to unknown links, which a model decides by a rule, is measured, too.
        queried = model.choosing(lambda way: Auto(way, num_trials))
        self._ways: dict[str, Solver] = {"exact": Exact(), "queried": queried}
        self._trials: dict[Hashable, _Trials] = {}

    @property
    def model(self) -> Solver:
        """The model, or other solver."""
        return self._inner

    def around(self, inner: Solver) -> Auto:
        return Auto(inner, self.num_trials)

    def start(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
    ) -> Answers:
        # Exact results would be those of the channel given, not of a link that is only named.
        if certify is None or channels.trusted or is_traced():
            return self.model.start(operation, channels, certify, tolerance)
        if not self.model.knows(operation, *channels.a.shape[-2:]):
            return self._ways["exact"].start(operation, channels, certify, tolerance)
        kind = _kind(operation, channels, certify)
        trials = self._trials.setdefault(kind, _Trials({way: [] for way in self._ways}))
        runs = trials.seconds
        way = self._next(runs)
        begin, made = _now(channels.a.device), self.model.num_made
        try:
            answers = self._ways[way].start(operation, channels, certify, tolerance)
        except ValueError:
            if way == "exact":
                raise
            # What the model was not trained for takes it forever.
            runs["queried"] = [math.inf] * (self.num_trials + 1)
            return self._ways["exact"].start(operation, channels, certify, tolerance)
        if len(runs[way]) > self.num_trials:
            return answers

        def finished() -> None:
            if self.model.num_made > made and trials.uncounted < FIRST_CALLS:
                trials.uncounted += 1
            else:
                runs[way].append(_now(channels.a.device) - begin)

        return _Timed(answers, finished)

    def choices(self) -> dict[Hashable, str]:
        """The way that is used for each kind of call so far, "exact" or "queried"."""
        return {kind: self._next(trials.seconds) for kind, trials in self._trials.items()}

    def _next(self, runs: dict[str, list[float]]) -> str:
        """The way that has fewer runs, and the fastest once all have enough."""
        way = min(runs, key=lambda way: len(runs[way]))
        if len(runs[way]) <= self.num_trials:
            return way
        # Not the median: a way that has a choice of its own to make tries both of them.
        return min(runs, key=lambda way: min(runs[way][1:]))

    def __repr__(self) -> str:
        return f"Auto({brief(self.model)}, num_trials={self.num_trials})"


class _Timed(Delegating):
    """Another solver's answers, and what is told of their end.

    :param finished: called then
    """

    def __init__(self, answers: Answers, finished: Callable[[], None]) -> None:
        super().__init__(answers)
        self._finished = finished

    def finish(self) -> None:
        super().finish()
        self._finished()


def _kind(operation: Operation, channels: Channels, certify: str) -> Hashable:
    settings = tuple(sorted((k, repr(v)) for k, v in operation.settings().items()))
    a = channels.a
    return settings, tuple(a.shape), str(a.dtype), str(a.device), channels.no is None, certify


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
