"""NeuMatC for links that no training has seen, in closed form from few exact results."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from neumatc_mimo.mapping.basis import SplineBasis
from neumatc_mimo.operations.base import Components, Operation, Tolerance
from neumatc_mimo.solvers.adapted_plan import AdaptedPlan
from neumatc_mimo.solvers.approximate_answers import ApproximateAnswers
from neumatc_mimo.solvers.base import Answers, Channels, Counts, Solver
from neumatc_mimo.solvers.checks import check_positive
from neumatc_mimo.solvers.exact import Exact
from neumatc_mimo.solvers.filled import filled
from neumatc_mimo.solvers.grouped import GroupedAnswers
from neumatc_mimo.tensors.autocast import full_precision
from neumatc_mimo.tensors.cache import BoundedCache, digest
from neumatc_mimo.tensors.waves import wave

# Pairs of neighbouring subcarriers that tell the mean delay of a row.
_NUM_PAIRS = 64
# Plans of grids that are kept: one of 3276 subcarriers in single precision takes 2 MB.
_PLAN_BYTES = 2**26
# Fewer samples than these are no grid to learn along.
_LEAST_SAMPLES = 16


@dataclass(frozen=True, eq=False)
class Adapted(Solver):
    r"""A separate compact mapping :math:`\hat Y_i(p) = C_i \times_3 \phi(p)` for each item.

    The trunk φ is that of trained models, B-splines with knots on subcarriers. For a new channel,
    its latent tensors C are computed, by Algorithm 1 of NeuMatC in closed form, once:

    1. exact results at evenly spread subcarriers, one to two knots;
    2. at points between, two to a knot, correction steps lower the residual of interpolated results
       (collocation points). A point whose residual becomes negligible is then a known point, too;
    3. when this makes no more progress, the middle of every stretch of unknown points is computed
       exactly, and (2) continues from there (:func:`~neumatc_mimo.solvers.filled.filled`);
    4. C by least squares from all these points, with the roughness penalty of the trunk.

    The mean delay of each row is removed before and put back afterwards. Every other subcarrier is
    certified when a block needs it. If the certificate fails, it is corrected or computed exactly.
    If many points of an item fail, because it varies too fast for the grid, the whole item is
    computed exactly.

    :param spacing: subcarriers between two knots
    :param every: one of how many points is computed exactly at first. By default these are a
        twentieth of the subcarriers
    :param steps: largest number of correction steps at a collocation point
    :param threshold: residual above which a collocation point has failed
    :param most_failed: share of failing collocation points above which an item is computed exactly
    """

    prepares: ClassVar[bool] = True

    spacing: int = 7
    every: int = 6
    steps: int = 4
    threshold: float = 3e-3
    most_failed: float = 0.25
    _plans: BoundedCache[tuple[bytes, torch.dtype, torch.device], AdaptedPlan] = field(
        default_factory=lambda: BoundedCache(_PLAN_BYTES), init=False, repr=False
    )

    def __post_init__(self) -> None:
        check_positive(self, spacing=self.spacing, every=self.every, steps=self.steps)

    @full_precision()
    def start(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
    ) -> Answers:
        plan = self._plan(channels)
        varies = channels.no is not None and channels.no.ndim > 1
        if plan is None or varies or not channels.a.is_complex() or not len(channels.a):
            return Exact().start(operation, channels, certify, tolerance)
        rows = _rows(channels, operation)
        points, promoted, usable = self._points(operation, channels, plan, rows)
        groups: list[tuple[Answers, Tensor]] = []
        known, unknown = usable.nonzero()[:, 0], (~usable).nonzero()[:, 0]
        if len(known):
            some, num_promoted = channels.select(known), int(promoted[known].sum())
            mine = tuple(c[known] for c in points)
            answers = ApproximateAnswers(
                operation,
                some,
                certify,
                tolerance,
                plan.approximation(operation, some, mine),
                plan.is_sample(len(channels.frequencies)),
                Counts(
                    links_adapted=len(known),
                    exact=len(known) * len(plan.samples) + num_promoted,
                    # Their tiles will count them again.
                    queried=-num_promoted,
                ),
                rows[known],
            )
            groups.append((answers, known))
        if len(unknown):
            groups.append((Exact().start(operation, channels.select(unknown)), unknown))
        return groups[0][0] if len(groups) == 1 else GroupedAnswers(operation, groups)

    def _plan(self, channels: Channels) -> AdaptedPlan | None:
        """Where to sample a grid and how to fit; None where it has too few points."""
        num = len(channels.frequencies)
        if 2 * num < self.spacing * self.every * _LEAST_SAMPLES:
            return None
        frequencies, a = channels.frequencies.to(torch.float64), channels.a
        return self._plans.get(
            (digest(frequencies), a.real.dtype, a.device),
            lambda: AdaptedPlan.of(
                SplineBasis.on_grid(num, num // self.spacing),
                frequencies.to(a.device),
                self.every,
                a.real.dtype,
            ),
            lambda plan: plan.num_bytes,
        )

    def _points(
        self, operation: Operation, channels: Channels, plan: AdaptedPlan, rows: Tensor
    ) -> tuple[Components, Tensor, Tensor]:
        """What a mapping is fitted to.

        :return: components at all points; how many collocation points were computed exactly,
            [num_items]; items that the grid is fine enough for
        """
        # In double precision, as in training: in single an inverse of products is as far off as the
        # square of the condition says, and no step mends that.
        a = (channels.a[:, plan.points] / rows[:, plan.points, :, None]).to(torch.complex128)
        found = filled(
            operation,
            a,
            channels.noise(),
            plan.points.double(),
            plan.first,
            steps=self.steps,
            threshold=self.threshold,
            most_failed=self.most_failed,
        )
        promoted = found.exact.sum(1) - len(plan.first)
        points = tuple(
            c.to(channels.a.dtype if c.is_complex() else channels.a.real.dtype)
            for c in found.components
        )
        return points, promoted, ~found.failed


def _rows(channels: Channels, operation: Operation) -> Tensor:
    r"""e^{-j2πfτ} for the mean delay τ of each user, [num_items, num_frequencies, m]; ones where
    results do not follow factors of the rows.

    Weighted by power, from the turn of the phase between neighbouring subcarriers.
    """
    a, frequencies = channels.a, channels.frequencies.to(channels.a.device)
    if not operation.follows_rows:
        return torch.ones(a.shape[:3], dtype=a.dtype, device=a.device)
    antennas_per_user = operation.antennas_per_user
    steps = frequencies.diff()
    close = (steps <= steps.min() * 1.001).nonzero()[:, 0]
    close = close[:: max(len(close) // _NUM_PAIRS, 1)]
    turn = (a[:, close + 1] * a[:, close].conj()).sum((1, 3))  # [num_items, m]
    shared = turn.unflatten(1, (-1, antennas_per_user)).sum(-1)
    angle = torch.angle(shared).to(torch.float64).repeat_interleave(antennas_per_user, 1)
    delays = -angle / (2 * math.pi * steps.min())
    return wave(frequencies[:, None], delays[:, None]).to(a.dtype)
