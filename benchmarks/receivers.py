"""All receivers beside Sionna's on one slot, another link at every call.

``python -m benchmarks.receivers`` writes the tables of docs/receivers.md: linear receivers at the
size of the scenario's links, detectors of all streams together at a smaller one, as Sionna's take
minutes and gigabytes for more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import torch

from benchmarks.command import run, say
from benchmarks.kernels import kernels, settings
from benchmarks.paper.sheet import Row, Settings, Sheet
from neumatc_mimo import Scenario, load_scenario
from neumatc_mimo.bench.blocks import Point
from neumatc_mimo.bench.tasks import (
    MMSE,
    RECEIVERS,
    Detection,
    Forcing,
    Joint,
    LinearDetection,
    Matching,
    Ratios,
    Task,
)
from neumatc_mimo.bench.timing import side_by_side
from neumatc_mimo.bench.turns import Turns
from neumatc_mimo.solvers import Exact

_LINEAR: tuple[type[Task], ...] = (MMSE, Forcing, Matching, Detection, LinearDetection, Ratios)
_JOINT = tuple(task for task in RECEIVERS if issubclass(task, Joint))
_SMALL, _QUICK = Point(4, 16), Point(2, 4, fft_size=96)
_LINKS = 4
_CAPTION = (
    "Milliseconds of one call, medians of ways that take turns, and quartiles; each call has other "
    "links than the one before. Kernels: the variant of the C++ kernels, or off, which changes "
    "nothing of Sionna's. Error: of the symbols, ratios or bits on a subcarrier against double "
    "precision, median."
)
_DETECTORS = (
    " 64-QAM, QPSK for maximum likelihood; K-best keeps 64 paths, EP takes ten iterations, PIC two."
)


def sheets(chosen: Settings) -> Iterator[Sheet]:
    """Linear receivers, and detectors of all streams together."""
    base = load_scenario("munich")
    points = (_QUICK, _QUICK) if chosen.quick else (Point.of(base), _SMALL)
    for name, title, tasks, point, caption in (
        ("linear", "Linear receivers", _LINEAR, points[0], _CAPTION),
        ("joint", "Detectors of all streams together", _JOINT, points[1], _CAPTION + _DETECTORS),
    ):
        if chosen.wants(name):
            started = time.perf_counter()
            scenario = point.scenario(base, _LINKS)
            rows = list(_rows(scenario, point, tasks, 0.2 if chosen.quick else 1.0))
            title = f"{title} on one slot, {base.name}, {point.label}"
            yield Sheet(name, title, caption, rows, seconds=time.perf_counter() - started)


@torch.no_grad()
def _rows(
    scenario: Scenario, point: Point, tasks: Sequence[type[Task]], seconds: float
) -> Iterator[Row]:
    """Sionna's way, and ours with and without the kernels."""
    assert scenario.multi_user is not None
    for task in tasks:
        say(f"{point.label}: {task.title}")
        turns = Turns(task, scenario.multi_user, point.slot)
        first = turns.first
        theirs = first.theirs()
        assert theirs is not None
        reference, slowest = first.reference(), 0.0
        for variant, on in settings().items():
            with kernels(on):
                calls = {"exact": turns.ours(Exact())}
                found = {"exact": first.ours(Exact())()}
                if not slowest:
                    found["Sionna"] = theirs()
                    calls["Sionna"] = turns.theirs(lambda call: call) or theirs
                times = side_by_side(calls, seconds=seconds)
            if "Sionna" in times:
                slowest = times["Sionna"].median
            for way, spread in reversed(times.items()):
                ms = spread.times(1e3)
                yield {
                    "block": task.title,
                    "way": way,
                    "kernels": None if way == "Sionna" else variant,
                    "ms": ms.median,
                    "low": ms.low,
                    "high": ms.high,
                    "times faster": slowest / spread.median,
                    "error, dB": first.error_db(found[way], reference)[0],
                }


if __name__ == "__main__":
    run("receivers", __doc__, sheets)
