"""A solver that keeps its answers for channels that come again."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace
from typing import Any

from neumatc_mimo.foundation.display import brief
from neumatc_mimo.operations.base import Operation, Tolerance
from neumatc_mimo.solvers.asked import Asked
from neumatc_mimo.solvers.base import Answers, Channels, Solver
from neumatc_mimo.solvers.delegating import DelegatingSolver
from neumatc_mimo.solvers.kept_answers import FirstAnswers, KeptAnswers, KeptCall
from neumatc_mimo.tensors.cache import outside_call, storage_bytes
from neumatc_mimo.tensors.differentiated import is_differentiated
from neumatc_mimo.tensors.tracing import is_traced


class Cached(DelegatingSolver):
    """Another solver's answers, computed once and returned again for the same channels.

    Simulations that draw new noise and new symbols over one channel need the same matrices again
    and again. The answers of the last calls are kept. They are returned again if all entries of the
    channel, the noise power and the links are equal, and also the operation, frequencies, time and
    settings. If links are trusted, the channel does not matter.

    The channel is copied and the kept answers are computed from the copy, so no tensor of the
    caller is kept after the call. Results that need a gradient are always computed by the solver
    and not kept. Threads may share this solver. A copy by ``pickle`` or ``copy`` starts with
    nothing kept.

    :param solver: The solver whose answers are kept
    :param num_calls: Number of calls whose answers are kept. A block makes one call for each
        transmitter or receiver, and for each OFDM symbol if the channel varies

    :raises ValueError: if ``num_calls`` is below one
    """

    def __init__(self, solver: Solver, num_calls: int = 1) -> None:
        if num_calls < 1:
            raise ValueError(f"num_calls is {num_calls}, at least one is needed.")
        super().__init__(solver)
        self.num_calls = num_calls
        self._lock = threading.Lock()
        self._kept: deque[KeptCall] = deque(maxlen=num_calls)

    @property
    def solver(self) -> Solver:
        """The solver whose answers are kept."""
        return self._inner

    def around(self, inner: Solver) -> Cached:
        return Cached(inner, self.num_calls)

    def start(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
    ) -> Answers:
        if is_traced() or is_differentiated(channels.a, channels.no):
            return super().start(operation, channels, certify, tolerance)
        asked = Asked.of(operation, channels, certify, tolerance)
        kept = self._find(asked)
        if kept is not None:
            return KeptAnswers(kept, kept.counts_again())
        with outside_call():
            asked = asked.copied()
            kept = KeptCall(asked, super().start(operation, asked.channels, certify, tolerance))
        with self._lock:
            self._kept.append(kept)
        return FirstAnswers(kept, replace(kept.started))

    def _find(self, asked: Asked) -> KeptCall | None:
        """What is kept of an earlier call that asked the same."""
        with self._lock:
            candidates = list(self._kept)
        # Nobody waits while channels are compared.
        for kept in reversed(candidates):
            if kept.asked.is_same(asked):
                with self._lock:
                    if kept in self._kept:
                        self._kept.remove(kept)
                        self._kept.append(kept)
                return kept
        return None

    @property
    def num_bytes(self) -> int:
        """Bytes of the kept answers and of the channels that they belong to."""
        with self._lock:
            candidates = list(self._kept)
        return storage_bytes(tensor for kept in candidates for tensor in kept.tensors())

    def clear(self) -> None:
        """Forget the answers."""
        with self._lock:
            self._kept.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {"solver": self._inner, "num_calls": self.num_calls}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"Cached({brief(self.solver)}, num_calls={self.num_calls})"
