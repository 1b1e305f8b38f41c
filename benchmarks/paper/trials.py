"""Algorithm 1 on one family with several seeds, and what it gets wrong at unseen parameters."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter

import torch
from torch import Tensor

from neumatc_mimo.families import Family
from neumatc_mimo.learning.algorithm1 import Algorithm1Config, train_algorithm1
from neumatc_mimo.metrics.measures import eckart_young, relative_error
from neumatc_mimo.operations import Components, Operation

NUM_TESTED = 400


@dataclass(frozen=True)
class Trial:
    """What one training came to.

    :param error: RelErr, mean over the unseen points
    :param worst: the largest of them
    :param component: relative error of the components themselves, mean over them and the points
    :param over_bound: error of all components' entries at all unseen points together, over the
        smallest that any trunk of this rank can reach there (Eckart and Young); infinite where the
        results have no higher rank
    :param num_collocation: collocation points at the end
    :param seconds: of training
    """

    error: float
    worst: float
    component: float
    over_bound: float
    num_collocation: int
    seconds: float


def trial(
    operation: Operation,
    family: Family,
    samples: Tensor,
    config: Algorithm1Config,
    result: Callable[[Components], Tensor] = itemgetter(0),
) -> Trial:
    """Train once; errors are taken on an even grid of the domain, in double precision.

    :param result: what RelErr compares, of the components: the first one, or what they make up
    """
    mapping, report = train_algorithm1(operation, family, samples, config)
    p = family.grid(NUM_TESTED)
    exact = operation.exact(family(p))
    found = tuple(f.to(e.dtype) for f, e in zip(mapping(p), exact, strict=True))
    error = relative_error(result(found), result(exact))
    # The gauge is the learned mapping's own: that of its samples, carried to every point.
    exact = operation.align_to(exact, found)
    parts = [
        relative_error(f, e, tuple(range(1, e.ndim))) for f, e in zip(found, exact, strict=True)
    ]
    return Trial(
        error.mean().item(),
        error.max().item(),
        torch.stack(parts).mean().item(),
        _over_bound(found, exact, config.rank),
        report.num_collocation,
        report.seconds,
    )


def median(values: Sequence[float]) -> str:
    """Median, least and largest of several seeds."""
    return f"{statistics.median(values):.3g} [{min(values):.3g}, {max(values):.3g}]"


def _over_bound(found: Components, exact: Components, rank: int) -> float:
    rows, best = (
        # In functions of each component, as they are learned, or the largest would decide alone.
        torch.cat([(c / e.abs().square().mean().sqrt()).flatten(1) for c, e in pairs], dim=1)
        for pairs in (list(zip(found, exact, strict=True)), list(zip(exact, exact, strict=True)))
    )
    bound = eckart_young(best, rank)
    # Of results of lower rank only rounding is left.
    return relative_error(rows, best, (0, 1)).item() / bound if bound > 1e-9 else math.inf
