"""A block on another link at every call, as a simulation calls it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from neumatc_mimo.bench.tasks import Slot, Task
from neumatc_mimo.bench.timing import Call
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.solvers.base import Solver

# Slots that take turns: nothing of one is in a processor's cache when its turn comes again, and no
# solver has kept it. Fewer of them where they would fill the memory, but never one.
_NUM_TURNS, _FEWEST = 8, 2
_MOST_BYTES = 2**32


class Turns:
    """A task on several slots that take turns: each call gets other links than the one before.

    :param kind: of the task
    :param links: whose channels the slots have, the more the fewer come again
    :param slot: sizes
    """

    def __init__(self, kind: type[Task], links: LinkSet, slot: Slot) -> None:
        self.first = kind(links, slot)
        num = max(_FEWEST, min(_NUM_TURNS, _MOST_BYTES // self.first.num_bytes))
        self._tasks = [self.first, *(kind(links, slot, turn=turn) for turn in range(1, num))]

    @property
    def num(self) -> int:
        """Slots."""
        return len(self._tasks)

    def ours(self, solver: Solver, certify: str | None = "link") -> Call:
        """Our block with a solver."""
        block = self.first.block(solver, certify)
        inputs = itertools.cycle([task.inputs() for task in self._tasks])
        return lambda: block(*next(inputs))

    def theirs(self, on_first: Callable[[Call], Call]) -> Call | None:
        """Sionna's block; None where nothing stands for it.

        :param on_first: what becomes of the call on the first slot
        """
        calls = [call for task in self._tasks if (call := task.theirs()) is not None]
        return in_turn([on_first(calls[0]), *calls[1:]]) if calls else None

    def alone(self, solver: Solver) -> Call:
        """The answers of a solver, and nothing done with them."""
        return in_turn([task.alone(solver) for task in self._tasks])

    def limit(self) -> Call:
        """Known matrices applied from and to Sionna's layout, and nothing else."""
        return in_turn([task.limit() for task in self._tasks])


def in_turn(calls: Sequence[Call]) -> Call:
    """A call that is the next one of several each time."""
    ring = itertools.cycle(calls)
    return lambda: next(ring)()
