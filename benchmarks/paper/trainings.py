"""NeuMatC's MLP on a problem of the tables, trained as published and by variable projection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.paper.methods import Method
from benchmarks.paper.problems import Problem
from neumatc_mimo.families import Family
from neumatc_mimo.learning.algorithm1 import PLAIN_ADAM, Algorithm1Config, train_algorithm1
from neumatc_mimo.solvers import Solver, Trained


class Grid(Family):
    """Matrices known on an even grid only; a parameter stands for the nearest point.

    Points drawn from the domain are points of the grid at which no error is taken.

    :param matrices: [num_points, m, n]
    :param allowed: indices of the points that training may see
    """

    def __init__(self, matrices: Tensor, allowed: Tensor) -> None:
        super().__init__([(0.0, len(matrices) - 1.0)])
        self._matrices = matrices
        self._allowed = allowed

    @property
    def shape(self) -> tuple[int, int]:
        return self._matrices.shape[1], self._matrices.shape[2]

    def __call__(self, p: Tensor) -> Tensor:
        return self._matrices[p[:, 0].round().long()]

    def uniform(self, num: int, generator: torch.Generator) -> Tensor:
        """``num`` of the allowed points, [num, 1]."""
        index = torch.randint(len(self._allowed), (num,), generator=generator)
        return self._allowed[index, None].double()


# What Adam moves: all of the mapping, as published, or the trunk alone, with latent tensors
# projected out at every step.
TRAININGS: dict[str, dict[str, Any]] = {
    "Adam, as published": PLAIN_ADAM,
    "variable projection": {"projection": True, "learning_rate": 3e-3, "steps": 300},
}


def mlps(rank: int, num_sets: int | None = None, **changes: Any) -> list[Method]:
    """NeuMatC with its MLP, a row for either training.

    :param rank: r
    :param num_sets: data sets at most
    :param changes: settings other than those of ``trained``, for both
    """
    return [
        Method(f"NeuMatC, {name}", _way(rank, training | changes), rank, num_sets)
        for name, training in TRAININGS.items()
    ]


def _way(
    rank: int, changes: dict[str, Any]
) -> Callable[[Problem, int], tuple[Solver, float | None]]:
    return lambda given, seed: trained(given, rank, seed, **changes)


def trained(given: Problem, rank: int, seed: int = 0, **changes: Any) -> tuple[Solver, float]:
    """The mapping as a solver, and the seconds of its training.

    The samples are the problem's; collocation points lie half-way between them.

    :param rank: r
    :param seed: of the trunk
    :param changes: settings of a training, those of ``TRAININGS``
    """
    matrices = given.channels.a[0]
    wide = matrices.to(torch.complex128 if matrices.is_complex() else torch.float64)
    samples = (~given.unseen).nonzero()
    half = samples[1:, 0] - (samples[1:, 0] - samples[:-1, 0]) // 2
    family = Grid(wide, half)
    settings: dict[str, Any] = {"omega0": 10.0, "lam": 1e-2, "width": 64} | changes
    config = Algorithm1Config(
        depth=2,
        rank=rank,
        num_collocation=16,
        refine_every=max(settings["steps"] // 4, 1),
        added=4,
        candidates=len(half),
        seed=seed,
        **settings,
    )
    mapping, report = train_algorithm1(given.operation, family, samples.double(), config)
    return Trained([mapping]), report.seconds
