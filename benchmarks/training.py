"""What the training of a link costs, and which of its stages take how much.

``python -m benchmarks.training`` trains both models of Munich: all links, as users do, and a few of
them link by link with one thread, where each stage is measured for itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from statistics import median
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.command import run, say
from benchmarks.kernels import OFF, kernels
from benchmarks.kernels import settings as kernel_settings
from benchmarks.paper.sheet import Row, Settings, Sheet
from neumatc_mimo import Scenario, load_scenario, train
from neumatc_mimo.learning import fit
from neumatc_mimo.mapping.refined import RefinedMapping
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.training import certification
from neumatc_mimo.training.batch import train_batch
from neumatc_mimo.training.jobs import Job, jobs

NAME = "training"
# Links of each kind whose stages are measured, and trainings of all links.
NUM_LINKS, NUM_TRAININGS = 6, 3

# What stands for a stage: a function, and where it is looked up. One in it counts for itself.
_STAGES: tuple[tuple[str, Any, str], ...] = (
    ("channels", LinkSet, "channel"),
    ("exact samples", fit.Problem, "exact"),
    ("projections", fit._Mappings, "_project"),
    ("residuals and the steps that lower them", fit, "refined"),
    ("targets taken in", fit._Mappings, "extend"),
    ("knots", fit, "refined_splines"),
    ("evaluation on the grid", RefinedMapping, "evaluate"),
    ("certificates", certification, "certificate"),
    ("what is corrected, patched or left", certification._Proof, "_mend"),
    ("errors of some answers", certification._Proof, "_error"),
)
REST = "the rest"


class Stages:
    """Processor seconds of the stages while the block lasts, each without those in it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys([stage for stage, _, _ in _STAGES], 0.0)
        self.seconds[REST] = 0.0
        self._open, self._since = [REST], time.process_time()

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure what is called in the block."""
        with ExitStack() as stack:
            for stage, owner, name in _STAGES:
                stack.enter_context(patch.object(owner, name, self._timed(stage, owner, name)))
            self._since = time.process_time()
            yield
            self._charge()

    def _timed(self, stage: str, owner: Any, name: str) -> Callable[..., Any]:
        function = getattr(owner, name)

        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._charge()
            self._open.append(stage)
            try:
                return function(*args, **kwargs)
            finally:
                self._charge()
                self._open.pop()

        return timed

    def _charge(self) -> None:
        now = time.process_time()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now


def stages(job: Job, num_links: int) -> dict[str, float]:
    """Processor milliseconds of each stage, medians over links, the first of which warms up."""
    found: list[dict[str, float]] = []
    for number in range(num_links + 1):
        one = Stages()
        with one.measured():
            train_batch(job, torch.tensor([number % job.links.num_links]))
        found.append(one.seconds)
    return {name: 1e3 * median(one[name] for one in found[1:]) for name in found[0]}


def stage_rows(scenario: Scenario, num_links: int) -> list[Row]:
    """A row for each stage, a column for each operation with the kernels and without."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        columns: dict[str, dict[str, float]] = {}
        for setting, on in kernel_settings().items():
            with kernels(on):
                for job in jobs(scenario):
                    say(f"{job.operation.name}, kernels {setting}: stages")
                    columns[_column(job.operation.name, setting)] = stages(job, num_links)
    finally:
        torch.set_num_threads(threads)
    names = list(next(iter(columns.values())))
    rows: list[Row] = [
        {"stage": name} | {c: found[name] for c, found in columns.items()} for name in names
    ]
    whole = {c: sum(found.values()) for c, found in columns.items()}
    return [*rows, {"stage": "all"} | whole]


def training_rows(scenario: Scenario, num_trainings: int) -> list[Row]:
    """Seconds a link of each kind together, of whole trainings by turns."""
    links = max(job.links.num_links for job in jobs(scenario))
    variants = kernel_settings()
    seconds: dict[str, list[float]] = {setting: [] for setting in variants}
    for number in range(num_trainings):
        for setting, taken in seconds.items():
            say(f"training {number + 1} of {num_trainings}, kernels {setting}")
            with kernels(variants[setting]):
                started = time.perf_counter()
                train(scenario, progress=False)
                taken.append((time.perf_counter() - started) / links)
    return [
        {
            "kernels": None if setting == OFF else setting,
            "threads": torch.get_num_threads(),
            "links": links,
            "s a link": median(taken),
            "low": min(taken),
            "high": max(taken),
        }
        for setting, taken in seconds.items()
    ]


def sheets(settings: Settings) -> Iterator[Sheet]:
    """Whole trainings, and the stages of a link."""
    scenario = load_scenario("munich")
    if settings.quick:
        scenario = scenario.with_model(collocation=500, width=400)
    started = time.perf_counter()
    rows = training_rows(scenario, 1 if settings.quick else NUM_TRAININGS)
    yield Sheet(
        "seconds",
        "What the training of a link costs",
        "Munich, all links of 8 users on 64 antennas at all noise powers, and as many of a user "
        "with 4 antennas: the wall-clock time of the training of all models, certificates "
        "included, for each link of a kind; median, least and most.",
        rows,
        seconds=time.perf_counter() - started,
    )
    started = time.perf_counter()
    rows = stage_rows(scenario, 2 if settings.quick else NUM_LINKS)
    yield Sheet(
        "stages",
        "Stages of the training of a link",
        "Processor milliseconds of one thread for a link, median over links, in the order in which "
        "stages follow.",
        rows,
        seconds=time.perf_counter() - started,
    )


def _column(operation: str, setting: str) -> str:
    return f"{operation}, {'PyTorch alone' if setting == OFF else setting}"


if __name__ == "__main__":
    run(NAME, __doc__, sheets)
