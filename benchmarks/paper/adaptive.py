"""Adaptive sampling: collocation points where the residual is largest, or as many random ones."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

from torch import Tensor

from benchmarks.paper.channels import gram, munich
from benchmarks.paper.problems import generator, reconstructed
from benchmarks.paper.sheet import Row, Settings, Sheet, main
from benchmarks.paper.trials import Trial, median, trial
from neumatc_mimo.families import Family
from neumatc_mimo.learning.algorithm1 import PLAIN_ADAM, Algorithm1Config
from neumatc_mimo.operations import SVD, Components, Inverse, Operation

# NeuMatC, Section 4: 50 samples, 50 collocation points, 10 more a round for 10 rounds.
NUM_SAMPLES = 50
SCHEDULE = Algorithm1Config(
    width=64,
    rank=48,
    omega0=10.0,
    lam=0.1,
    ridge=1e-5,
    steps=600,
    learning_rate=3e-3,
    num_collocation=50,
    refine_every=25,
    added=10,
    rounds=10,
    # Ten of a hundred: among more candidates the ten worst are neighbours in a single gap.
    candidates=100,
    # Always ten, failed or not, so that both ways get as many.
    threshold=1e-9,
    tolerance=0.0,
)
# As many rounds over the longer run of Adam alone. Latent tensors that are projected out, and steps
# that lower the residual at collocation points, are not in the paper.
_LONGER = PLAIN_ADAM["steps"] / SCHEDULE.steps
CORRECTIONS = 3
FORMS: dict[str, dict[str, Any]] = {
    "Adam, as published": PLAIN_ADAM | {"refine_every": round(_LONGER * SCHEDULE.refine_every)},
    "variable projection": {},
    "variable projection, corrected": {"corrections": CORRECTIONS},
}
_SHARE = 0.3


@dataclass(frozen=True)
class Task:
    """What is learned.

    :param title: as it is printed
    :param operation: what is wanted of the family
    :param family: made when it is needed
    :param result: what RelErr compares, of the components
    """

    title: str
    operation: Operation
    family: Callable[[], Family]
    result: Callable[[Components], Tensor] = itemgetter(0)


TASKS = (
    Task(
        "SVD, 2 of 4 triplets",
        SVD(2),
        lambda: munich("single_user", 30, share=_SHARE),
        reconstructed,
    ),
    Task("inversion, 8 users", Inverse(), lambda: gram(munich("multi_user", 2, share=_SHARE))),
)


def run(settings: Settings) -> Sheet:
    """Both ways from the same samples, trunk and first points, seed by seed."""
    num_seeds = 1 if settings.quick else 10
    config = replace(SCHEDULE, steps=300, refine_every=12) if settings.quick else SCHEDULE
    sheet = Sheet(
        "adaptive",
        "Adaptive against random collocation",
        f"Munich, real part of ray-traced channels of 64 antennas over {100 * _SHARE:.0f} % of the "
        f"band; {NUM_SAMPLES} samples drawn uniformly, {config.num_collocation} collocation points "
        f"and {config.added} more every {config.refine_every} steps for {config.rounds} rounds, "
        f"of {config.candidates} candidates the worst or any; {config.steps} steps, rank "
        f"{config.rank}, λ = {config.lam:g}; Adam alone {_LONGER:.1f} times as long. "
        "Collocation points bring their residual into the loss; corrected: "
        f"{CORRECTIONS} Newton-like steps lower it after every refinement, and points that "
        f"reach {config.corrected:g} join the samples (no exact result is computed). "
        f"{num_seeds} seeds of samples, trunk and points: median [least, largest]. Wins: seeds "
        "with a smaller error.",
    )
    for task in TASKS:
        for form, changes in FORMS.items():
            found = compared(task, replace(config, **changes), num_seeds)
            sheet.rows += [{"task": task.title, "training": form} | line for line in found]
    return sheet


def compared(task: Task, config: Algorithm1Config, num_seeds: int) -> list[Row]:
    """A row for either way."""
    family = task.family()
    trials = {
        adaptive: [trained(task, family, config, seed, adaptive) for seed in range(num_seeds)]
        for adaptive in (False, True)
    }
    ways = ((name, trials[adaptive], trials[not adaptive]) for name, adaptive in _NAMES)
    return [
        {
            "collocation": name,
            "points": own[0].num_collocation,
            "RelErr": median([t.error for t in own]),
            "wins": _wins([t.error for t in own], [t.error for t in other]),
            "largest RelErr": median([t.worst for t in own]),
            "wins there": _wins([t.worst for t in own], [t.worst for t in other]),
            "error of components": median([t.component for t in own]),
            "training, s": statistics.median(t.seconds for t in own),
        }
        for name, own, other in ways
    ]


def trained(
    task: Task, family: Family, config: Algorithm1Config, seed: int, adaptive: bool
) -> Trial:
    """One run; the samples depend on the seed alone."""
    samples = family.uniform(NUM_SAMPLES, generator(1000 + seed))
    own = replace(config, seed=seed, adaptive=adaptive)
    return trial(task.operation, family, samples, own, task.result)


_NAMES = (("random", False), ("adaptive", True))


def _wins(own: list[float], other: list[float]) -> str:
    return f"{sum(a < b for a, b in zip(own, other, strict=True))} of {len(own)}"


if __name__ == "__main__":
    main(run)
