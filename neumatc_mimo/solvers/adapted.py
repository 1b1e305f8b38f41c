"""NeuMatC for links that no training has seen, in closed form from few exact results."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from neumatc_mimo.foundation.coordinate import coordinate
from neumatc_mimo.learning.projection import Design, project
from neumatc_mimo.mapping.axes import NoiseAxis
from neumatc_mimo.mapping.basis import SplineBasis
from neumatc_mimo.mapping.compact import CompactMapping
from neumatc_mimo.mapping.layout import Layout
from neumatc_mimo.mapping.trunk import Trunk
from neumatc_mimo.operations import certified
from neumatc_mimo.operations.base import Components, Operation, Tolerance, where_components
from neumatc_mimo.solvers.base import Answers, Channels, Counts, Solver
from neumatc_mimo.solvers.exact import Exact
from neumatc_mimo.solvers.grouped import GroupedAnswers
from neumatc_mimo.solvers.sampled import ApproximateAnswers, check_positive, mapped, with_samples
from neumatc_mimo.tensors.memo import Memo
from neumatc_mimo.tensors.waves import wave

# Pairs of neighbouring subcarriers that tell the mean delay of a row.
_NUM_PAIRS = 64
# Fewer samples than these are no grid to learn along.
_LEAST_SAMPLES = 16


@dataclass(frozen=True, eq=False)
class Adapted(Solver):
    r"""A compact mapping :math:`\hat Y_i(p) = C_i \times_3 \phi(p)` of each item's own.

    The trunk φ is that of trained models, B-splines with knots on subcarriers; what is found for a
    new channel are its latent tensors C. Algorithm 1 of NeuMatC in closed form, once:

    1. exact results at evenly spread subcarriers, one more than splines, and a first C from them;
    2. half-way between, where nothing is computed exactly, steps of the operation's correction
       lower the residual of what the first C gives (collocation points); where it stays above the
       threshold the exact result is computed, too;
    3. C by least squares from all these points, with the roughness penalty of the trunk.

    The mean delay of each row is taken out before and put back afterwards. Every other subcarrier
    is certified as it is asked for, corrected or computed exactly where that fails. An item with
    many failing points, one that varies too fast for the grid, is computed exactly as a whole.

    :param spacing: subcarriers between two knots; a tenth of the subcarriers is computed exactly
    :param steps: correction steps at a collocation point at most
    :param threshold: residual above which a collocation point has failed
    :param most_failed: share of failing collocation points above which an item is computed exactly
    """

    prepares: ClassVar[bool] = True

    spacing: int = 10
    steps: int = 4
    threshold: float = 3e-3
    most_failed: float = 0.25
    _plans: Memo = field(default_factory=lambda: Memo(4), init=False, repr=False)

    def __post_init__(self) -> None:
        check_positive(self, spacing=self.spacing, steps=self.steps)

    def start(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
    ) -> Answers:
        plan = self._plan(channels)
        varies = channels.no is not None and channels.no.ndim > 1
        if plan is None or varies or not channels.a.is_complex():
            return Exact().start(operation, channels, certify, tolerance)
        rows = _rows(channels, operation.antennas_per_user)
        points, promoted, usable = self._points(operation, channels, plan, rows)
        groups: list[tuple[Answers, Tensor]] = []
        known, unknown = usable.nonzero()[:, 0], (~usable).nonzero()[:, 0]
        if len(known):
            mapping = plan.mapping(operation, tuple(c[known] for c in points))
            settled = torch.zeros_like(channels.frequencies, dtype=torch.bool, device=known.device)
            settled[plan.samples] = True
            some = tuple(c[known, ::2] for c in points)
            num_promoted = int(promoted[known].sum())
            counts = Counts(
                links_adapted=len(known),
                exact=len(known) * len(plan.samples) + num_promoted,
                # Their tiles will count them again.
                queried=-num_promoted,
            )
            answers = ApproximateAnswers(
                operation,
                channels.select(known),
                certify,
                tolerance,
                with_samples(mapped(mapping, channels), plan.samples, some),
                settled,
                counts,
                rows[known],
            )
            groups.append((answers, known))
        if len(unknown):
            groups.append((Exact().start(operation, channels.select(unknown)), unknown))
        return groups[0][0] if len(groups) == 1 else GroupedAnswers(operation, groups)

    def _plan(self, channels: Channels) -> _Plan | None:
        """Where to sample a grid and how to fit; None where it has too few points."""
        num = len(channels.frequencies)
        if num < self.spacing * _LEAST_SAMPLES:
            return None
        basis = SplineBasis.on_grid(num, num // self.spacing)
        frequencies, dtype = channels.frequencies.to(channels.a.device), channels.a.real.dtype
        return self._plans((frequencies, dtype), lambda: _Plan.of(basis, frequencies, dtype))

    def _points(
        self, operation: Operation, channels: Channels, plan: _Plan, rows: Tensor
    ) -> tuple[Components, Tensor, Tensor]:
        """What a mapping is fitted to.

        :return: components at all points; collocation points that were computed exactly,
            [num_items, num_samples - 1]; items that the grid is fine enough for
        """
        # In double precision, as in training: in single an inverse of products is as far off as the
        # square of the condition says, and no step mends that.
        a = (channels.a[:, plan.points] / rows[:, plan.points, :, None]).to(torch.complex128)
        no = channels.noise()
        between = a[:, 1::2]
        samples = operation.align(operation.exact(a[:, ::2], no))
        first = found = plan.first(operation, samples)
        for _ in range(self.steps):
            # Well below the threshold, which counts as a failure at the end only.
            above = ~(operation.residual(between, found, no) <= self.threshold / 10)
            found = certified.repair(operation, between, found, no, above, torch.zeros_like(above))
        nowhere = torch.zeros(between.shape[:2], dtype=torch.bool, device=a.device)
        failed = ~(operation.residual(between, found, no) <= self.threshold)
        usable = failed.double().mean(1) <= self.most_failed
        promoted = failed & usable[:, None]
        # In the gauge of the first mapping: what a step has spoilt has none.
        exact = certified.repair(operation, between, first, no, nowhere, promoted)
        points = []
        for sample, other in zip(samples, where_components(promoted, exact, found), strict=True):
            kind = channels.a.dtype if sample.is_complex() else channels.a.real.dtype
            shape = (len(a), len(plan.points), *sample.shape[2:])
            both = torch.empty(shape, dtype=kind, device=a.device)
            both[:, ::2], both[:, 1::2] = sample, other
            points.append(both)
        return tuple(points), promoted, usable


def _rows(channels: Channels, antennas_per_user: int) -> Tensor:
    r"""e^{-j2πfτ} for the mean delay τ of each user, [num_items, num_frequencies, m].

    Weighted by power, from the turn of the phase between neighbouring subcarriers.
    """
    a, frequencies = channels.a, channels.frequencies.to(channels.a.device)
    steps = frequencies.diff()
    close = (steps <= steps.min() * 1.001).nonzero()[:, 0]
    close = close[:: max(len(close) // _NUM_PAIRS, 1)]
    turn = (a[:, close + 1] * a[:, close].conj()).sum((1, 3))  # [num_items, m]
    shared = turn.unflatten(1, (-1, antennas_per_user)).sum(-1)
    angle = torch.angle(shared).to(torch.float64).repeat_interleave(antennas_per_user, 1)
    delays = -angle / (2 * math.pi * steps.min())
    return wave(frequencies[:, None], delays[:, None]).to(a.dtype)


@dataclass(frozen=True)
class _Plan:
    """Where a grid is sampled, and the linear maps of the fit, which all items share.

    :param basis: of the trunk
    :param band: frequencies in Hz of x = -1 and 1
    :param points: [2 num_samples - 1] subcarriers, samples and collocation points in turn
    :param gain: latent tensors of values at all points, [width, 2 num_samples - 1]
    :param interpolation: values half-way between those at the samples,
        [num_samples - 1, num_samples]
    """

    basis: SplineBasis
    band: tuple[float, float]
    points: Tensor
    gain: Tensor
    interpolation: Tensor

    @classmethod
    def of(cls, basis: SplineBasis, frequencies: Tensor, dtype: torch.dtype) -> _Plan:
        """For a grid [num_frequencies] in Hz."""
        num_samples = basis.width + 1
        last = len(frequencies) - 1
        points = torch.linspace(0, last, 2 * num_samples - 1, dtype=torch.float64).round().long()
        points = points.to(frequencies.device)
        band = basis.band(frequencies)
        values = basis.values(coordinate(frequencies[points], band))
        first = values[1::2] @ _gain(values[::2], basis.penalty())
        return cls(basis, band, points, _gain(values, basis.penalty()).to(dtype), first)

    @property
    def samples(self) -> Tensor:
        """Subcarriers that are computed exactly."""
        return self.points[::2].contiguous()

    def first(self, operation: Operation, samples: Components) -> Components:
        """Components half-way between samples [num_items, num_samples, ...]."""
        return tuple(
            layout.unpack(self.interpolation @ layout.pack(c))
            for layout, c in zip(_layouts(operation, samples), samples, strict=True)
        )

    def mapping(self, operation: Operation, points: Components) -> CompactMapping:
        """The mapping through components at all points."""
        layouts = _layouts(operation, points)
        latents = tuple(
            (self.gain @ layout.pack(c))[:, :, None]
            for layout, c in zip(layouts, points, strict=True)
        )
        return CompactMapping(Trunk(self.basis), NoiseAxis.at(0.0), latents, layouts, self.band)


def _gain(values: Tensor, penalty: Tensor) -> Tensor:
    """Coefficients [width, N] of unit values at each of N points, by :func:`project`."""
    targets = torch.eye(len(values), dtype=torch.float64, device=values.device)[None]
    _, latent = project(
        Design.of(values), targets, targets.new_ones(1, len(values)), values.shape[1], penalty
    )
    return latent[0]


def _layouts(operation: Operation, components: Components) -> tuple[Layout, ...]:
    return tuple(
        Layout.of(tuple(c.shape[2:]), c, name in operation.hermitian)
        for name, c in zip(operation.component_names, components, strict=True)
    )
