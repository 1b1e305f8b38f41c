"""How long calls take side by side, and how much memory one needs."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.benchmark import Timer

from neumatc_mimo.progress import Callbacks, Event, reported

Call = Callable[[], Any]

# A call that takes longer is not repeated more often than asked for at least.
_LONG = 2.0


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of repeated runs, in seconds unless told otherwise."""

    low: float
    median: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3g} [{self.low:.3g}, {self.high:.3g}]"

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Of repeated runs."""
        low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
        return cls(float(low), float(median), float(high))

    def times(self, factor: float) -> Spread:
        """In another unit, or of equal parts."""
        return Spread(self.low * factor, self.median * factor, self.high * factor)


def side_by_side(
    calls: Mapping[str, Call],
    *,
    seconds: float = 1.5,
    least: int = 3,
    most: int = 50,
    device: str = "cpu",
    callback: Callbacks = None,
) -> dict[str, Spread]:
    """Time calls by turns, so that a change of the machine's load meets all of them.

    A call is warm when it counts: a first one allocates and plans, Sionna's equalizer takes twice
    its usual time in it. Then each runs once a round: as many rounds as fit into ``seconds``,
    spread evenly over those of the call that has most.

    :param calls: by name
    :param seconds: of each call
    :param least: runs of a call at least, or one where it takes over two seconds
    :param most: runs of a call at most
    :param device: on a GPU CUDA events tell the time
    :param callback: told of each call at its first run, under its name, and of the rounds
    """
    clock = _events if torch.device(device).type == "cuda" else _timer
    wanted = {}
    runs: dict[str, list[float]] = {}
    with reported(callback) as tell:
        for name, call in calls.items():
            tell(Event(name))
            if clock is _events:
                call()
            once = clock(call)
            runs[name] = [once]
            wanted[name] = min(most, max(1 if once > _LONG else least, int(seconds / once)))
        rounds = max(wanted.values())
        for number in range(rounds):
            for name, call in calls.items():
                if math.floor((number + 1) * wanted[name] / rounds) > len(runs[name]):
                    runs[name].append(clock(call))
            tell(Event("timing by turns", number + 1, rounds, "rounds"))
    return {name: Spread.of(values) for name, values in runs.items()}


def peak_bytes(call: Call, device: str = "cpu") -> int:
    """Most bytes that a warm call holds at once beside what it was given, its result included."""
    if torch.device(device).type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    with _silent(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run:
        result = call()
    del result
    held, most = 0, 0
    events = (e for e in run.profiler.kineto_results.events() if e.name() == "[memory]")
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


@contextmanager
def _silent() -> Iterator[None]:
    """Without what the profiler's library announces of itself on the process's standard error."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _timer(call: Call) -> float:
    """Seconds of one run, after another one from which the timer learns how long it lasts."""
    timer = Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
    return float(timer.blocked_autorange(min_run_time=1e-3).median)


def _events(call: Call) -> float:
    """Seconds of one run on a GPU, from CUDA events."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3
