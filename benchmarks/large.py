"""What large arrays cost, exact, queried and interpolated, another link at every call.

``python -m benchmarks.large`` writes the tables of docs/scale.md: users and antennas, and 400 MHz
at 120 kHz. ``--only K_M`` makes that of one size.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from benchmarks.clusters import clustered_users
from benchmarks.command import run, say
from benchmarks.paper.sheet import Row, Settings, Sheet
from neumatc_mimo import Scenario, ScenarioModel, load_scenario, train
from neumatc_mimo.bench.blocks import LIMIT, Point, at_point
from neumatc_mimo.bench.blocks import Row as BlockRow
from neumatc_mimo.bench.tasks import Slot, Task, tasks_of
from neumatc_mimo.solvers import DFT, RandomizedSVD, Solver, Spline

NAME = "large"
_LINKS = 2
_BLOCKS = ("ZFPrecoder", "MMSEEqualizer", "SVDBeamformer", "WMMSEPrecoder")
_CAPTION = (
    "Milliseconds of one call on a slot of 14 OFDM symbols, medians and quartiles. Exact and "
    "queried blocks take turns, and so do the rivals with the exact block. Each call has another "
    "link than the one before. The first call of each link, from which on a model keeps its "
    "repairs, is not timed. Exact and queried blocks run in the kernels where these cover them. "
    "Spline, DFT and randomised SVD: their answers are proven in each call, and what fails is "
    "computed exactly. Error: of the symbols on a subcarrier against double precision, median. "
    "Trained: seconds a link; MB: megabytes a link. Corrected, patched: shares of the subcarriers. "
    "Peak: memory of the process so far, in GB."
)


class Case(NamedTuple):
    """A size, and the operations that are learned there.

    :param point: users, antennas, subcarriers and streams
    :param base: the scenario whose paths or channels are taken
    :param operations: the others are computed exactly
    :param rivals: whether interpolation is timed, too: it takes minutes of the largest arrays
    """

    point: Point
    base: Callable[[], Scenario]
    operations: tuple[str, ...] = ("pseudo_inverse", "svd")
    rivals: bool = True


_MUNICH = partial(load_scenario, "munich")
_MUNICH_400 = partial(load_scenario, "munich400")
_STREAMS = Point(32, 256, bs=(16, 16), ue=(8, 4), num_streams=16)
_FEW_STREAMS = Point(4, 16, 96, bs=(4, 4), ue=(2, 2), num_streams=3, slot=Slot(2, 1))

CASES = {
    "8_64": Case(Point(8, 64, num_streams=4), _MUNICH, ("pseudo_inverse", "svd", "wmmse")),
    "16_128": Case(Point(16, 128, num_streams=8), _MUNICH, ("pseudo_inverse", "svd", "wmmse")),
    "32_256": Case(Point(32, 256), _MUNICH, ("pseudo_inverse",)),
    "64_256": Case(Point(64, 256), _MUNICH, ("pseudo_inverse",)),
    "64_1024": Case(Point(64, 1024, fft_size=1584), _MUNICH, ("pseudo_inverse",), rivals=False),
    "400_mhz": Case(Point(8, 256, fft_size=3168, ue=(8, 1), num_streams=8), _MUNICH_400),
    # A user of Munich has no sixteen streams.
    "16_streams": Case(_STREAMS, partial(clustered_users, _STREAMS, _LINKS, 40e-9), ("svd",)),
    "16_streams_100_ns": Case(
        _STREAMS, partial(clustered_users, _STREAMS, _LINKS, 100e-9), ("svd",)
    ),
    "16_streams_300_ns": Case(
        _STREAMS, partial(clustered_users, _STREAMS, _LINKS, 300e-9), ("svd",)
    ),
}
_QUICK = {
    "4_16": Case(Point(4, 16, 96, num_streams=2, slot=Slot(2, 1)), _MUNICH),
    "3_streams": Case(
        _FEW_STREAMS, partial(clustered_users, _FEW_STREAMS, _LINKS, 40e-9), ("svd",)
    ),
}


def sheets(chosen: Settings) -> Iterator[Sheet]:
    """A sheet for each size."""
    for name, case in (_QUICK if chosen.quick else CASES).items():
        if chosen.wants(name):
            started = time.perf_counter()
            say(f"{case.point.label}: training")
            scenario = scenario_of(case)
            model = train(scenario, progress=False)
            rows = list(rows_of(case, scenario, model, 0.1 if chosen.quick else 0.4))
            title = f"Large arrays, {scenario.name}, {case.point.label}"
            yield Sheet(name, title, _CAPTION, rows, seconds=time.perf_counter() - started)


def scenario_of(case: Case) -> Scenario:
    """The links of a size, which learn its operations alone."""
    scenario = case.point.scenario(case.base(), _LINKS)
    config = scenario.config
    kinds: dict[str, Any] = {}
    for kind in ("multi_user", "single_user"):
        section = getattr(config, kind)
        if section is None:
            continue
        if section.always not in case.operations:
            kinds[kind] = None
            continue
        asked = tuple(keys for keys in section.operation if keys.name in case.operations)
        kinds[kind] = section.model_copy(update={"operation": asked})
    return scenario.with_config(config.model_copy(update=kinds))


def rows_of(case: Case, scenario: Scenario, model: ScenarioModel, seconds: float) -> Iterator[Row]:
    """Every block of a size, in all ways."""
    num = case.point.fft_size
    few = math.ceil(num / 6)
    sampled: dict[str, Solver] = {f"spline, {few} samples": Spline(few)}
    sampled[f"DFT, {few} samples"] = DFT(few)
    rivals_of = {
        "pseudo_inverse": sampled,
        "svd": sampled | {"randomised SVD": RandomizedSVD()},
    }
    for task in tasks_of(scenario.config):
        if task.title not in _BLOCKS or task.operation not in model.models:
            continue
        rivals = (rivals_of.get(task.operation) if case.rivals else None) or {}
        say(f"{case.point.label}: {task.title}")
        yield from _block(case, scenario, model, task, rivals, seconds)


def _block(
    case: Case,
    scenario: Scenario,
    model: ScenarioModel,
    task: type[Task],
    rivals: dict[str, Solver],
    seconds: float,
) -> Iterator[Row]:
    part = model.models[task.operation]
    learned = {
        "trained, s": float(part.training["seconds_per_link"]),
        "MB": part.num_bytes / part.links.num_links / 1e6,
        "corrected": part.training["corrected_share"],
        "patched": float(part.marks.exact.double().mean()),
    }
    timed = partial(
        at_point,
        scenario,
        case.point,
        tasks=[task],
        seconds=seconds,
        theirs=False,
        spline_samples=(),
    )
    for row in timed(model, ways={"queried"}):
        if row.way != LIMIT:
            yield _line(row, learned if row.way == "queried" else dict.fromkeys(learned))
    # By turns with these, whose results fill the memory that is kept, the others would seem slow.
    for row in timed(rivals=rivals, ways=()) if rivals else ():
        if row.way in rivals:
            yield _line(row, dict.fromkeys(learned))


def _line(row: BlockRow, learned: Row) -> Row:
    return {
        "block": row.block,
        "way": row.way,
        "ms": row.milliseconds.median,
        "low": row.milliseconds.low,
        "high": row.milliseconds.high,
        "exact over it": row.query,
        "error, dB": row.error_db,
        **learned,
        "peak, GB": _peak(),
    }


def _peak() -> float:
    """Most memory that the process has held, in GB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


if __name__ == "__main__":
    run(NAME, __doc__, sheets)
