"""The ablations' task, its default setting, and variants of it, several seeds each."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from functools import cache
from typing import Any

from benchmarks.paper.channels import gram, munich
from benchmarks.paper.sheet import Row, Settings
from benchmarks.paper.trials import Trial, median, trial
from neumatc_mimo.families import Family
from neumatc_mimo.learning.algorithm1 import Algorithm1Config
from neumatc_mimo.operations import Inverse

NUM_SAMPLES = 50
SHARE = 0.3
DEFAULT = Algorithm1Config(
    depth=2,
    width=64,
    rank=32,
    omega0=10.0,
    lam=1e-2,
    steps=600,
    learning_rate=3e-3,
    num_collocation=50,
    refine_every=50,
    candidates=100,
)

MEDIANS = "Seeds of the trunk: median [least, largest]."


@cache
def inversion() -> Family:
    """The family of the task."""
    return gram(munich("multi_user", 2, share=SHARE))


def num_seeds(settings: Settings) -> int:
    """Seeds of every variant."""
    return 1 if settings.quick else 3


def default(settings: Settings) -> Algorithm1Config:
    """The default setting; shorter where time is."""
    return replace(DEFAULT, steps=100, refine_every=50) if settings.quick else DEFAULT


def task(settings: Settings) -> str:
    """The setting, for captions."""
    config = default(settings)
    return (
        f"Task: the inverse of H Hᵀ + σ² I for 8 users on 64 antennas, H the real part of Munich's "
        f"ray-traced channels over {100 * SHARE:.0f} % of the band, σ² 20 dB below the mean row "
        f"power; {NUM_SAMPLES} samples on an even grid. Default: {config.depth} hidden layers of "
        f"{config.width}, rank {config.rank}, ω₀ = {config.omega0:g}, λ = {config.lam:g}, sine, "
        f"latent tensors projected out, {config.steps} steps."
    )


def trials(settings: Settings, **changes: Any) -> list[Trial]:
    """One setting off the default, every seed."""
    config = replace(default(settings), **changes)
    samples = inversion().grid(NUM_SAMPLES)
    return [
        trial(Inverse(), inversion(), samples, replace(config, seed=seed))
        for seed in range(num_seeds(settings))
    ]


def row(axis: str, value: Any, found: list[Trial]) -> Row:
    """A line of a table of variants."""
    over_bound = [t.over_bound for t in found]
    return {
        "varied": axis,
        "value": value,
        "RelErr": median([t.error for t in found]),
        "largest RelErr": median([t.worst for t in found]),
        "times Eckart–Young": median(over_bound) if max(over_bound) < math.inf else None,
        "training, s": statistics.median(t.seconds for t in found),
    }
