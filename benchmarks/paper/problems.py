"""The parametric problems of the tables: matrices on a grid, exact results, unseen points."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neumatc_mimo.families import CosineFamily, Family, Product
from neumatc_mimo.metrics.measures import relative_error
from neumatc_mimo.operations import SVD, Components, Inverse, Operation
from neumatc_mimo.solvers import Channels

# NeuMatC, Section 3.1: 40 values of the parameter to learn from, 100 to test on.
NUM_SAMPLES = 40
_BETWEEN = 4
# Condition numbers of larger matrices take longer than all the rest.
_LARGEST_SVD = 512
NUM_POINTS = _BETWEEN * (NUM_SAMPLES - 1) + 1  # an even grid; every fourth point is a sample


Metric = Callable[[Any, Components], Tensor]


@dataclass(frozen=True)
class Problem:
    """One family on an even grid, in single precision, as every method gets it.

    :param operation: what is wanted
    :param channels: one item, [1, num_points, m, n]
    :param exact: components in double precision, [num_points, ...] each
    :param unseen: [num_points] bool, points that are no sample of any method
    :param metric: an answer's tensors, [1, b, ...], and the exact components there, [b, ...], to
        errors [b]
    :param condition: median condition number of the matrices, NaN for large ones
    """

    operation: Operation
    channels: Channels
    exact: Components
    unseen: Tensor
    metric: Metric
    condition: float

    @property
    def num_samples(self) -> int:
        """Number of points that methods may know exact results at."""
        return int((~self.unseen).sum())

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a matrix."""
        return self.channels.a.shape[-2], self.channels.a.shape[-1]

    def error(self, answer: Any, points: slice = slice(None)) -> Tensor:
        """RelErr of an answer at those of its points that are unseen."""
        found = self.operation.results(answer)
        return self.metric(found, tuple(c[points] for c in self.exact))[self.unseen[points]]


def problem(
    operation: Operation,
    matrices: Tensor,
    metric: Metric,
    *,
    between: int = _BETWEEN,
) -> Problem:
    """A problem from matrices [num_points, m, n] on an even grid, float64 or complex128.

    :param between: every how manieth point is a sample
    """
    num_points = len(matrices)
    unseen = torch.ones(num_points, dtype=torch.bool)
    unseen[torch.linspace(0, num_points - 1, (num_points - 1) // between + 1).round().long()] = (
        False
    )
    single = matrices.to(torch.complex64 if matrices.is_complex() else torch.float32)
    channels = Channels(single[None], torch.arange(num_points, dtype=torch.float64))
    condition = math.nan
    if min(matrices.shape[1:]) <= _LARGEST_SVD:
        values = torch.linalg.svdvals(matrices[:: max(num_points // 16, 1)])
        condition = float((values[..., 0] / values[..., -1]).median())
    return Problem(operation, channels, operation.exact(matrices), unseen, metric, condition)


def inverse_error(answer: Any, exact: Components) -> Tensor:
    r""":math:`\lVert \hat W - A^{-1} \rVert_F / \lVert A^{-1} \rVert_F`."""
    return relative_error(answer[0][0].to(exact[0].dtype), exact[0])


def reconstruction_error(answer: Any, exact: Components) -> Tensor:
    r""":math:`\lVert \hat U \hat S \hat V^H - A_L \rVert_F / \lVert A_L \rVert_F`, with A_L the
    exact sum of the L strongest triplets: what truncation leaves out is nobody's error.
    """
    found = tuple(c[0].to(like.dtype) for c, like in zip(answer, exact, strict=True))
    return relative_error(reconstructed(found), reconstructed(exact))


def reconstructed(triplets: Components) -> Tensor:
    """U S V^H of triplets [..., m, L], [..., L], [..., n, L]."""
    u, s, v = triplets
    return (u * s[..., None, :]) @ v.mH


def spread_over(batch: int) -> tuple[int, int]:
    """The largest even grid of at most ``batch`` points with 40 samples.

    :return: every how manieth point is a sample, number of points
    """
    between = (batch - 1) // (NUM_SAMPLES - 1)
    return between, between * (NUM_SAMPLES - 1) + 1


def generator(seed: int) -> torch.Generator:
    """A source of random numbers."""
    return torch.Generator().manual_seed(seed)


def cosines(n: int, seed: int, **changes: Any) -> Family:
    """n x n of the paper's cosines: frequencies of up to one period over half the domain."""
    settings = {"num_frequencies": 16, "max_frequency": 2 * math.pi, "shift": 3.0} | changes
    return CosineFamily((n, n), generator(seed), **settings)


def decaying_product(n: int, rank: int, seed: int) -> Family:
    """n x n of a rank, factors of cosines whose columns decay to a fiftieth."""
    left, right = (
        CosineFamily(
            (n, rank),
            generator(2 * seed + side),
            num_frequencies=8,
            max_frequency=math.pi,
            decay=0.02,
        )
        for side in range(2)
    )
    return Product(left, right)


def on_grid(family: Family, num_points: int = NUM_POINTS) -> Tensor:
    """A family of one parameter on an even grid, [num_points, m, n]."""
    return family(family.grid(num_points))


# Data sets of Tables 1 and 2; fewer of the largest matrices, for time.
NUM_SETS, NUM_SETS_LARGE = 20, 8
SIZES = (64, 128, 256)


def data_sets(make: Callable[[int, int], Problem], quick: bool) -> Iterator[list[Problem]]:
    """The problems of every size, by the number of the data set."""
    for n in SIZES[: 1 if quick else None]:
        num_sets = 2 if quick else NUM_SETS if n < SIZES[-1] else NUM_SETS_LARGE
        yield [make(n, seed) for seed in range(num_sets)]


def synthetic_inversion(n: int, seed: int) -> Problem:
    """Inversion of Table 1."""
    return problem(Inverse(), on_grid(cosines(n, seed)), inverse_error)


def synthetic_svd(n: int, seed: int, num_triplets: int = 16) -> Problem:
    """SVD of Table 2: the matrices have as many triplets as are wanted."""
    matrices = on_grid(decaying_product(n, num_triplets, seed))
    return problem(SVD(num_triplets), matrices, reconstruction_error)
