"""Which of two ways takes less time on a GPU, found out while both are used.

The first calls of each shape take the kernel and PyTorch's way by turns, each once to be compiled
and once with a clock; later ones take the faster of the two. Every call's result is used, and
nothing is computed for the sake of the measurement. On a CPU kernels are always faster.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch

# Whether the kernel is taken, by turns.
_TURNS = (True, False, True, False)
_asked: ContextVar[bool | None] = ContextVar("asked", default=None)


@contextmanager
def always(kernel: bool) -> Iterator[None]:
    """Take one way whatever it takes, where a kernel could: for measurements."""
    token = _asked.set(kernel)
    try:
        yield
    finally:
        _asked.reset(token)


@dataclass
class Lap:
    """A call by one of the ways.

    :param kernel: whether by the kernel
    :param end: told when it has done all
    """

    kernel: bool
    end: Callable[[], None] = lambda: None


def lap(device: torch.device, *key: Hashable) -> Lap:
    """The next call on a device.

    :param key: what the time depends on: a shape and the like
    """
    asked = _asked.get()
    if asked is not None or device.type != "cuda":
        return Lap(asked is not False)
    return _race(device, *key).next()


class Race:
    """Two ways at one shape.

    :param event: makes an event of a GPU's clock
    """

    def __init__(self, event: Callable[[], Any]) -> None:
        self._event = event
        self._begun = 0
        self._timed: dict[bool, tuple[Any, Any]] = {}

    def next(self) -> Lap:
        """The next call."""
        if self._begun >= len(_TURNS):
            return Lap(self._is_faster)
        kernel = _TURNS[self._begun]
        self._begun += 1
        begin, end = self._event(), self._event()
        begin.record()

        def ended() -> None:
            end.record()
            self._timed[kernel] = begin, end  # of two, the second

        return Lap(kernel, ended)

    @functools.cached_property
    def _is_faster(self) -> bool:
        times = {}
        for kernel, (begin, end) in self._timed.items():
            end.synchronize()
            times[kernel] = begin.elapsed_time(end)
        # What failed on the way has no time.
        return times.get(True, 0.0) < times.get(False, math.inf)


@functools.lru_cache(maxsize=256)
def _race(*key: Hashable) -> Race:
    del key
    return Race(functools.partial(torch.cuda.Event, enable_timing=True))
