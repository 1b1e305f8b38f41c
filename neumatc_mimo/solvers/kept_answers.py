"""Answers that are kept, and how calls see them that share them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from torch import Tensor

from neumatc_mimo.kernels.lanes import Emitter
from neumatc_mimo.solvers.asked import Asked
from neumatc_mimo.solvers.base import Answers, Counts, Emitted
from neumatc_mimo.solvers.delegating import Delegating
from neumatc_mimo.tensors.cache import outside_call

T = TypeVar("T")


@dataclass(eq=False)
class KeptCall:
    """A call whose answers are kept, for others that ask the same.

    :param asked: what it asked for, of tensors of its own
    :param answers: of the solver, to just that
    :param started: counts when they were started
    :param tiles: answers by begin and end of their subcarriers
    :param derived: what blocks made of them, by its name, begin and end
    :param lock: held while ``answers`` computes a tile
    """

    asked: Asked
    answers: Answers
    started: Counts = field(init=False)
    tiles: dict[tuple[int, int], Any] = field(default_factory=dict)
    derived: dict[tuple[str, int, int], Any] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.started = replace(self.answers.counts)

    def counts_again(self) -> Counts:
        """Links of another call; no subcarrier is computed for it.

        Links are what they were. Those that the solver has no name for are known from the call
        before.
        """
        named = {k: v for k, v in vars(self.started).items() if k.startswith("links_")}
        counts = Counts(**named)
        counts.links_recalled += len(self.asked.channels.a) - sum(named.values())
        return counts

    def tensors(self) -> Iterator[Tensor]:
        """All that is kept."""
        yield self.asked.channels.a
        for tile in list(self.tiles.values()):
            yield from (value for value in tile if isinstance(value, Tensor))
        yield from (value for value in list(self.derived.values()) if isinstance(value, Tensor))


class KeptAnswers(Delegating):
    """Kept answers, as one call sees them.

    :param counts: of the call so far
    """

    def __init__(self, kept: KeptCall, counts: Counts) -> None:
        super().__init__(kept.answers)
        self._kept, self._counts = kept, counts

    @property
    def counts(self) -> Counts:
        return self._counts

    def tile(self, subcarriers: slice) -> Any:
        key = (subcarriers.start, subcarriers.stop)
        kept = self._kept
        with kept.lock:
            if key not in kept.tiles:
                before = replace(kept.answers.counts)
                with outside_call():
                    kept.tiles[key] = super().tile(subcarriers)
                self._counts.add(_difference(kept.answers.counts, before))
            return kept.tiles[key]

    def emitted(self, emitter: Emitter) -> Emitted | None:
        # A kernel computes anew; what is kept are tiles.
        return None

    def keep(self, name: str, subcarriers: slice, make: Callable[[Tensor], T], given: Tensor) -> T:
        del given  # equal to the copy
        key = (name, subcarriers.start, subcarriers.stop)
        derived = self._kept.derived
        if key not in derived:
            with outside_call():
                made = super().keep(name, subcarriers, make, self._kept.asked.channels.a)
            derived.setdefault(key, made)
        found: T = derived[key]
        return found

    def finish(self) -> None:
        # The solver's own answers were finished by the call that started them.
        return


class FirstAnswers(KeptAnswers):
    """Kept answers, as the call sees them that started them."""

    def finish(self) -> None:
        self._kept.answers.finish()


def _difference(counts: Counts, before: Counts) -> Counts:
    return Counts(**{name: value - vars(before)[name] for name, value in vars(counts).items()})
