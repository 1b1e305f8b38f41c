"""What each part of the method is worth: projection, training of the trunk, rank, alignment."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.paper.channels import munich
from benchmarks.paper.problems import generator, reconstructed
from benchmarks.paper.sheet import Row, Settings, Sheet, main
from benchmarks.paper.trials import trial
from benchmarks.paper.variants import (
    MEDIANS,
    NUM_SAMPLES,
    SHARE,
    default,
    num_seeds,
    row,
    task,
    trials,
)
from neumatc_mimo.learning.algorithm1 import PLAIN_ADAM, Algorithm1Config
from neumatc_mimo.operations import SVD, Components

RANKS = (8, 16, 24, 32, 40)
METHODS: dict[str, dict[str, Any]] = {
    "Adam, as published": PLAIN_ADAM,
    "Adam at one rate, 600 steps": {"projection": False, "learning_rate": 1e-2},
    "projected, held in the gradient": {"projection": True, "held": True},
    "projected, gradient through it": {"projection": True, "held": False},
}
# Steps so small that the trunk stays the random one that it was.
UNTRAINED: dict[str, Any] = {"steps": 1, "learning_rate": 1e-12, "lam": 0.0}


class Unaligned(SVD):
    """Triplets as LAPACK leaves them, its own phases, strongest first at every sample."""

    def exact(self, a: Tensor, no: Tensor | float = 0.0) -> Components:
        del no
        u, s, vh = torch.linalg.svd(a, full_matrices=False)
        count = self.num_streams
        return u[..., :count], s[..., :count], vh[..., :count, :].mH

    def align(self, components: Components) -> Components:
        return components


class AnyPhase(Unaligned):
    """Triplets of random phases, which are as exact as any others."""

    def exact(self, a: Tensor, no: Tensor | float = 0.0) -> Components:
        u, s, v = super().exact(a, no)
        angle = 2 * math.pi * torch.rand(s.shape, dtype=s.dtype, generator=generator(0))
        turn = torch.polar(torch.ones_like(angle), angle)[..., None, :]
        return u * turn, s, v * turn


GAUGES = {"aligned": SVD(2), "as LAPACK leaves it": Unaligned(2), "any phase": AnyPhase(2)}


def run(settings: Settings) -> Sheet:
    """Groups of rows, one for each part."""
    sheet = Sheet(
        "ablations",
        "Ablations",
        f"{task(settings)} {MEDIANS} Times Eckart–Young: the error of all unseen points together "
        "over the smallest that any trunk of the rank can reach there; – where the results have "
        f"no higher rank. Adam, as published: {PLAIN_ADAM['steps']} steps, latent tensors at "
        f"{PLAIN_ADAM['latent_rate']:g} times the trunk's rate of {PLAIN_ADAM['learning_rate']:g}, "
        f"β₂ = {PLAIN_ADAM['beta2']:g}; at one rate: 1e-2, the best of 3e-3, 1e-2, 2e-2, 3e-2 and "
        "6e-2. Untrained: a random trunk, latent tensors by least squares. Gauge: the "
        f"2 strongest triplets of a Munich link of 4 x 64, complex, over {100 * SHARE:.0f} % of "
        "the band.",
    )
    sheet.rows = [row("method", name, trials(settings, **m)) for name, m in METHODS.items()]
    ranks = RANKS[::2] if settings.quick else RANKS
    for trained, changes in (("trained", {}), ("untrained", UNTRAINED)):
        sheet.rows += [
            row(f"rank, trunk {trained}", rank, trials(settings, rank=rank, **changes))
            for rank in ranks
        ]
    sheet.rows += [_svd(settings, gauge) for gauge in GAUGES]
    return sheet


def _svd(settings: Settings, gauge: str) -> Row:
    """The SVD of a link from samples in one gauge or in any."""
    family = munich("single_user", 30, share=SHARE, real=False)
    config: Algorithm1Config = replace(default(settings), rank=40)
    found = [
        trial(
            GAUGES[gauge],
            family,
            family.grid(NUM_SAMPLES),
            replace(config, seed=seed),
            reconstructed,
        )
        for seed in range(num_seeds(settings))
    ]
    return row("SVD, gauge of the samples", gauge, found)


if __name__ == "__main__":
    main(run)
