"""Every block beside Sionna's, another link at every call, with and without the C++ kernels.

``python -m benchmarks.speed`` writes the tables that README.md, docs/performance.md and
docs/kernels.md show; ``--only exact`` those of exact blocks that no query stands beside. The same
link again has columns of its own, in which exact results that are kept belong.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.command import run, say
from benchmarks.exact import cases
from benchmarks.kernels import kernels, settings
from benchmarks.paper.sheet import Row, Settings, Sheet
from neumatc_mimo import Scenario, ScenarioModel, load_scenario, train
from neumatc_mimo.bench.blocks import Point, at_point, few_links
from neumatc_mimo.bench.tasks import Task, tasks_of
from neumatc_mimo.bench.timing import Spread

BASE = "blocks"
EXACT = "exact"
# Only the pseudo-inverse is trained there.
LARGEST = "blocks_32_256"
# Sheets of more users and antennas by their names.
LARGER = {
    f"blocks_{num_users}_{num_antennas}": Point(num_users, num_antennas)
    for num_users, num_antennas in ((16, 128), (32, 256))
}
_CAPTION = (
    "Milliseconds of one call, medians of ways that take turns, and quartiles; each call has other "
    "links than the one before. Kernels: the variant of the C++ kernels, or off. Again: the same "
    "links at every call. Bandwidth: what has to be read and written at the speed of a copy. "
    "Alone: the solver's answers, without what the block does with them. Limit: known matrices "
    "applied with PyTorch. Error: of the symbols on a subcarrier, or of the ratios of one bit, "
    "against double precision, median. Training: seconds a link."
)
_EXACT_CAPTION = (
    "Milliseconds of one call of exact blocks, medians and quartiles; each call has other links "
    "than the one before. Kernels: the variant of the C++ kernels, or off. Error: of the symbols "
    "on a subcarrier against double precision, median."
)
_EXACT_COLUMNS = ("block", "kernels", "way", "ms", "low", "high", "error, dB")


def sheets(chosen: Settings) -> Iterator[Sheet]:
    """The scenario's own sizes, and larger ones, where Sionna's blocks are not timed."""
    base = load_scenario("munich")
    points = {BASE: Point.of(base)} | ({} if chosen.quick else LARGER)
    seconds = 0.3 if chosen.quick else 1.5
    for name, point in points.items():
        if chosen.wants(name):
            started = time.perf_counter()
            say(f"{point.label}: training")
            scenario = point.scenario(base, few_links(point))
            if name == LARGEST:
                scenario = _inverses_of(scenario)
            model = train(scenario, progress=False)
            rows = list(_rows(scenario, point, model, seconds, theirs=name == BASE))
            title = f"Blocks on one slot, {base.name}, {point.label}"
            yield Sheet(name, title, _CAPTION, rows, seconds=time.perf_counter() - started)
    if chosen.wants(EXACT):
        started = time.perf_counter()
        rows = list(_exact_rows(base, seconds))
        title = f"Exact blocks on one slot, {base.name}"
        yield Sheet(EXACT, title, _EXACT_CAPTION, rows, seconds=time.perf_counter() - started)


def _inverses_of(scenario: Scenario) -> Scenario:
    """The same, with the pseudo-inverse alone: all operations would be trained for an hour."""
    many = scenario.config.multi_user
    assert many is not None
    changes = {"multi_user": many.model_copy(update={"operation": ()}), "single_user": None}
    return scenario.with_config(scenario.config.model_copy(update=changes))


def _exact_rows(base: Scenario, seconds: float) -> Iterator[Row]:
    """Exact blocks, with and without the kernels."""
    for scenario, tasks in cases(base):
        point = Point.of(scenario)
        for task in tasks:
            for variant, on in settings().items():
                say(f"{task.title}, kernels {variant}")
                with kernels(on):
                    for row in _task(scenario, point, None, task, seconds, False, variant):
                        if row["way"] == "exact":
                            yield {name: row[name] for name in _EXACT_COLUMNS}


def _rows(
    scenario: Scenario, point: Point, model: ScenarioModel, seconds: float, theirs: bool
) -> Iterator[Row]:
    for task in tasks_of(scenario.config):
        if getattr(scenario.config, task.kind) is None:
            continue
        for variant, on in settings().items():
            say(f"{point.label}: {task.title}, kernels {variant}")
            # Kernels change nothing of Sionna's, which take longest.
            once = theirs and variant == next(iter(settings()))
            with kernels(on):
                yield from _task(scenario, point, model, task, seconds, once, variant)


def _task(
    scenario: Scenario,
    point: Point,
    model: ScenarioModel | None,
    task: type[Task],
    seconds: float,
    theirs: bool,
    variant: str,
) -> Iterator[Row]:
    for row in at_point(
        scenario, point, model, tasks=[task], seconds=seconds, theirs=theirs, spline_samples=()
    ):
        yield {
            "block": row.block,
            "kernels": variant,
            "way": row.way,
            "ms": row.milliseconds.median,
            "low": row.milliseconds.low,
            "high": row.milliseconds.high,
            "again": _median(row.again),
            "alone": _median(row.alone),
            "bandwidth": row.bandwidth,
            "limit": row.milliseconds.median / row.over_limit,
            "error, dB": row.error_db,
            "training": row.training,
            "state, MB": row.state_bytes / 1e6,
            "repaid, slots": _finite(row.repaid),
        }


def _median(spread: Spread | None) -> float | None:
    return None if spread is None else spread.median


def _finite(value: float | None) -> float | None:
    """JSON knows no infinity, which stands for never."""
    return None if value is None or value == float("inf") else value


if __name__ == "__main__":
    run("speed", __doc__, sheets)
