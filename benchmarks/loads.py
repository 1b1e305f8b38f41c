"""Exact blocks alone, in batches, beside a busy process, and over what their last product takes.

``python -m benchmarks.loads`` times blocks on links of Munich, another one at every call. The limit
is the kernels' own emitter with filters that are known.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

import neumatc_mimo as nm
from benchmarks.command import run, say
from benchmarks.eight_links import CASES, NUM_LINKS, Case, Slots
from benchmarks.kernels import kernels, settings
from benchmarks.paper.sheet import Settings, Sheet
from neumatc_mimo import load_scenario
from neumatc_mimo.bench.timing import Spread
from neumatc_mimo.kernels.lanes import operators
from neumatc_mimo.kernels.lanes.library import SourceKind
from neumatc_mimo.kernels.lanes.sources import conjugate_chirp

BLOCKS = ("ZFPrecoder", "MMSEEqualizer", "WMMSEPrecoder", "SVDBeamformer", "SVDCombiner")
BATCH = 16
_BUSY = "while True: pass"
_CAPTION = (
    "Milliseconds of one call, medians; each call has another link than the one before. Sixteen: a "
    "batch of so many links, each told by one symbol, a link's share of it. Busy: beside a process "
    "that never rests, on the same cores. Limit: the last product alone, by the kernels, with "
    "filters that are known."
)


def sheets(chosen: Settings) -> Iterator[Sheet]:
    """One table, all blocks with and without kernels."""
    scenario, rounds = load_scenario("munich"), 2 if chosen.quick else 6
    rows = []
    slots: Slots | None = None
    for number, name in enumerate(BLOCKS):
        case = CASES[name]
        if slots is None or case.slots is not CASES[BLOCKS[number - 1]].slots:
            slots = case.slots(scenario)
        for variant, on in settings().items():
            say(f"{name}, kernels {variant}")
            with kernels(on):
                timed = _Timed(case, slots, rounds)
                alone, sixteen = timed.alone(), timed.sixteen()
                with _busy_process():
                    busy = timed.alone()
                limit = _limit(name, slots, rounds) if on else None
            rows.append(
                {
                    "block": name,
                    "kernels": variant,
                    "ms": alone.median,
                    "low": alone.low,
                    "high": alone.high,
                    "sixteen": sixteen.median,
                    "sixteen over one": sixteen.median / alone.median,
                    "busy": busy.median,
                    "slowdown": busy.median / alone.median,
                    "limit": limit,
                    "over the limit": None if limit is None else alone.median / limit,
                }
            )
    yield Sheet("loads", "Exact blocks under load", _CAPTION, rows)


@dataclass(frozen=True)
class _Timed:
    """A block on the links of a scenario.

    :param case: what it is called with
    :param slots: links and symbols
    :param rounds: over all links
    """

    case: Case
    slots: Slots
    rounds: int

    def alone(self) -> Spread:
        """One link at each call."""
        block = self._block()
        calls = [
            partial(block, *self.case.inputs(self.slots, number, number))
            for number in range(NUM_LINKS)
        ]
        return _spread(calls, self.rounds)

    def sixteen(self) -> Spread:
        """A batch at each call; a link's share."""
        block = self._block()
        batches = [self._batch(first) for first in range(2)]
        calls = [partial(block, *self.case.inputs(batch, 0, 0)) for batch in batches]
        return _spread(calls, self.rounds, BATCH)

    def _block(self) -> Any:
        return self.case.block(self.slots.grid, self.slots.streams, nm.Exact())

    def _batch(self, first: int) -> Slots:
        def joined(parts: Sequence[Tensor]) -> list[Tensor]:
            return [torch.cat([parts[(first + i) % NUM_LINKS] for i in range(BATCH)])]

        slots = self.slots
        # One symbol of each channel, repeated: sixteen of them written out take 3 GB.
        h = [part[..., :1, :].expand_as(part) for part in slots.h]
        h = [
            t.expand(*t.shape[:-2], h[0].shape[-2], -1) for t in joined([t[..., :1, :] for t in h])
        ]
        return Slots(slots.grid, slots.streams, h, joined(slots.x), joined(slots.y))


def _limit(name: str, slots: Slots, rounds: int) -> float | None:
    """Milliseconds of the emitter alone; None where a combiner has none."""
    h, x, y = slots.h, slots.x, slots.y
    if name == "SVDCombiner":
        return None
    uplink = name == "MMSEEqualizer"
    streams = 1 if uplink else x[0].shape[2]
    antennas = h[0].shape[2] if uplink else h[0].shape[4]
    streams = h[0].shape[3] if uplink else streams
    symbols, num = h[0].shape[-2:]
    filters = [torch.randn(1, streams, antennas, num, dtype=torch.complex64) for _ in h]
    chirp = conjugate_chirp(antennas, torch.complex64, torch.device("cpu"))
    calls: list[Callable[[], Any]] = []
    if uplink:
        out = torch.empty(1, streams, symbols, num, dtype=torch.complex64)
        no_eff = torch.empty(1, streams, num)
        places = [0, num, 0]
        for w, given in zip(filters, y, strict=True):
            everyone = range(streams)
            known = partial(operators.receive, SourceKind.KNOWN, w, None, None)
            call = partial(known, given[:, 0], out, no_eff, range(symbols), everyone, places)
            calls.append(partial(call, chirp, [], []))
    else:
        out = torch.empty(1, antennas, symbols, num, dtype=torch.complex64)
        for w, sent in zip(filters, x, strict=True):
            call = partial(operators.precode, SourceKind.KNOWN, w, None, sent[:, 0], out)
            calls.append(partial(call, range(symbols), chirp, 0, 1, None, [], []))
    return _spread(calls, rounds).median


def _spread(calls: Sequence[Callable[[], Any]], rounds: int, share: int = 1) -> Spread:
    """Milliseconds of the calls, one after the other, but for the first round."""
    times = []
    for _ in range(rounds + 1):
        for call in calls:
            started = time.perf_counter()
            call()
            times.append(1e3 * (time.perf_counter() - started) / share)
    return Spread.of(times[len(calls) :])


@contextmanager
def _busy_process() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", _BUSY])
    try:
        time.sleep(0.5)
        yield
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    run("loads", __doc__, sheets)
