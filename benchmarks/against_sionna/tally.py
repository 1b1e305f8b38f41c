"""Examples of a comparison, and what came of them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import torch

import neumatc_mimo as nm
from benchmarks.against_sionna.blocks import BLOCKS, Comparison, RefusedError
from benchmarks.against_sionna.links import LINKS
from neumatc_mimo.bench.sheet import Row

KINDS = {"any channel": BLOCKS, "a model's links": LINKS}
# Examples of a task.
CHUNK = 1000


@dataclass
class Tally:
    """What came of examples.

    :param examples: drawn
    :param refused: of these, by Sionna's block
    :param differences: those beyond the bound, with what was drawn
    :param largest: of each output's deviations, over the bound
    """

    examples: int = 0
    refused: int = 0
    differences: list[str] = field(default_factory=list)
    largest: dict[str, float] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        self.examples += other.examples
        self.refused += other.refused
        self.differences += other.differences
        for what, deviation in other.largest.items():
            self.largest[what] = max(self.largest.get(what, 0.0), deviation)

    def row(self, kind: str, block: str) -> Row:
        largest = ", ".join(f"{what} {value:.2g}" for what, value in self.largest.items())
        return {
            "block": block,
            "on": kind,
            "examples": self.examples,
            "refused by Sionna, too": self.refused,
            "beyond the bound": len(self.differences),
            "largest deviations over the bound": largest,
        }


@dataclass(frozen=True)
class Task:
    """Examples of one comparison for a process."""

    kind: str
    block: str
    seed: int
    num: int
    model: str


_MODELS: dict[str, nm.ScenarioModel] = {}


def done(task: Task) -> tuple[Task, Tally]:
    """The examples of a task, in a process of its own."""
    torch.set_num_threads(1)
    if task.model not in _MODELS:
        _MODELS[task.model] = nm.ScenarioModel.load(task.model)
    comparison = KINDS[task.kind][task.block]
    return task, tried(comparison, _MODELS[task.model], task.num, task.seed)


def tried(comparison: Comparison, model: nm.ScenarioModel, num: int, seed: int) -> Tally:
    """Examples of a comparison, all of them whatever comes of each."""
    tally = Tally()

    @hypothesis.settings(
        max_examples=num,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.seed(seed)
    @hypothesis.given(draw=comparison.draws)
    def example(draw: Any) -> None:
        _try(comparison, draw, model, tally)

    with warnings.catch_warnings():
        # What is computed exactly is said once; here it is what happens most of the time.
        warnings.simplefilter("ignore")
        example()
    return tally


def _try(comparison: Comparison, draw: Any, model: nm.ScenarioModel, tally: Tally) -> None:
    tally.examples += 1
    try:
        for what, deviation in comparison.deviations(draw, model):
            tally.largest[what] = max(tally.largest.get(what, 0.0), deviation)
            if not deviation <= 1:
                tally.differences.append(f"{what} {deviation:.3g} of the bound, {draw}")
                return
    except RefusedError:
        tally.refused += 1
    except Exception as error:  # whatever it is, Sionna's block has an answer
        tally.differences.append(f"{error!r}, {draw}")
