"""Problems over more than one parameter: scattered test points, families, and a rival."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.interpolate import NdBSpline, make_interp_spline
from torch import Tensor

from benchmarks.paper.flops import entries, flops
from benchmarks.paper.problems import Metric, Problem, generator
from neumatc_mimo import load_scenario
from neumatc_mimo.families import Family
from neumatc_mimo.families.waves import Augmented, PlaneWaves
from neumatc_mimo.learning.algorithm1 import Algorithm1Config, train_algorithm1
from neumatc_mimo.learning.network import MLPTrunk, NeuMatC
from neumatc_mimo.metrics.measures import relative_error
from neumatc_mimo.operations import Components, Operation
from neumatc_mimo.scenario.path_links import PathLinks
from neumatc_mimo.solvers import Channels, Solver, Trained
from neumatc_mimo.solvers.approximating import Approximating
from neumatc_mimo.solvers.approximation import Approximation

NUM_TESTED = 100

# A user at 30 km/h at 3.5 GHz, Hz; the noise power relative to that of a channel's entry, dB.
_DOPPLER = 97.0
_DURATION = 5e-3
_NOISE_DB = (-20.0, 10.0)

_DEGREE = 5


def unseen_points(family: Family) -> Tensor:
    """Where errors are taken, [NUM_TESTED, d]."""
    return family.uniform(NUM_TESTED, generator(99))


def scattered(operation: Operation, family: Family, metric: Metric) -> Problem:
    """A problem at the test points; frequencies are their numbers."""
    matrices = family(unseen_points(family))
    single = matrices.to(torch.complex64 if matrices.is_complex() else torch.float32)
    numbers = torch.arange(NUM_TESTED, dtype=torch.float64)
    return Problem(
        operation,
        Channels(single[None], numbers),
        operation.exact(matrices),
        torch.ones(NUM_TESTED, dtype=torch.bool),
        metric,
        float(torch.linalg.cond(matrices).median()),
    )


def filter_error(answer: Any, exact: Components) -> Tensor:
    """Relative error of the MMSE filter, the upper block of the pseudo-inverse."""
    (w, *_) = exact
    upper = slice(0, w.shape[-2] - w.shape[-1])
    return relative_error(answer[0][0, :, upper].to(w.dtype), w[:, upper])


def multipath(seed: int, num_users: int = 4, num_antennas: int = 16, num_paths: int = 4) -> Family:
    """MMSE over frequency, time and noise: users in motion before a linear array.

    Over 20 MHz and 5 ms the delays are one turn of a path at most, Doppler shifts half a turn.
    """
    g = generator(seed)
    size = (num_users, 1, num_paths)
    sine, delay, angle = torch.rand(3, *size, dtype=torch.float64, generator=g)
    gain = torch.randn(size, dtype=torch.complex128, generator=g) / math.sqrt(num_paths)
    antenna = torch.arange(num_antennas, dtype=torch.float64)[:, None]
    steering = torch.exp(1j * math.pi * antenna * (2 * sine - 1))
    delay = 50e-9 * (delay - delay.amin(-1, keepdim=True))
    return _moving(gain * steering, delay, angle, 20e6)


def munich(link: int, bandwidth: float, num_users: int = 4) -> Family:
    """The same for users of a ray-traced link, their first-arrival delays taken out.

    The data has no motion: the way that each user goes is drawn at random.

    :param bandwidth: Hz
    """
    links = load_scenario("munich").multi_user
    assert isinstance(links, PathLinks)
    users = slice(0, num_users)
    delays = links.delays[link].expand(links.num_rows, -1, -1)
    delays = (delays - links.row_delays[link][:, None, None])[users]
    angle = torch.rand(delays.shape, dtype=torch.float64, generator=generator(link))
    return _moving(links.coefficients[link, users], delays, angle, bandwidth)


def _moving(coefficients: Tensor, delays: Tensor, angle: Tensor, bandwidth: float) -> Family:
    """[H(f, t), σ I]; the angle between a path and its user's way in turns."""
    doppler = _DOPPLER * torch.cos(2 * math.pi * angle)
    band, slot = (-bandwidth / 2, bandwidth / 2), (0.0, _DURATION)
    waves = PlaneWaves(coefficients, torch.stack([delays, -doppler], dim=-1), [band, slot])
    return Augmented(waves, _NOISE_DB)


class _OnPoints:
    """A mapping asked by the numbers of points."""

    def __init__(self, mapping: NeuMatC, points: Tensor) -> None:
        self.mapping, self.points = mapping, points

    @property
    def trunk(self) -> MLPTrunk:
        return self.mapping.trunk

    def __call__(self, numbers: Tensor) -> Components:
        return self.mapping(self.points[numbers[:, 0].long()])


def learned(
    operation: Operation, family: Family, nums: tuple[int, ...], config: Algorithm1Config
) -> tuple[Solver, float]:
    """Algorithm 1 from a grid of samples, and the seconds it took."""
    mapping, report = train_algorithm1(operation, family, family.grid(nums), config)
    return Trained([_OnPoints(mapping, unseen_points(family))]), report.seconds


@dataclass(frozen=True)
class TensorSpline(Approximating):
    """Splines of degree 5 along every coordinate through the exact results of a grid.

    :param family: A(p)
    :param nums: samples along every coordinate
    """

    prepares: ClassVar[bool] = True

    family: Family
    nums: tuple[int, ...]

    def _approximate(self, operation: Operation, channels: Channels) -> Approximation:
        exact = operation.exact(self.family(self.family.grid(self.nums)))
        x = self.family.coordinate(unseen_points(self.family)).numpy()
        splines = [self._spline(c) for c in exact]

        def approximation(subcarriers: slice) -> Components:
            found = [torch.from_numpy(spline(x[subcarriers])) for spline in splines]
            return tuple(
                (torch.view_as_complex(f) if c.is_complex() else f)[None].to(
                    channels.a.dtype if c.is_complex() else channels.a.real.dtype
                )
                for f, c in zip(found, exact, strict=True)
            )

        return approximation

    def _spline(self, component: Tensor) -> NdBSpline:
        values = torch.view_as_real(component) if component.is_complex() else component
        coefficients, knots = values.unflatten(0, self.nums).numpy(), []
        for axis, num in enumerate(self.nums):
            spline = make_interp_spline(np.linspace(-1, 1, num), coefficients, _DEGREE, axis=axis)
            # SciPy puts the axis that it interpolates along first.
            coefficients = np.moveaxis(spline.c, 0, axis)
            knots.append(spline.t)
        return NdBSpline(tuple(knots), coefficients, _DEGREE)


@flops.register
def _(solver: TensorSpline, given: Problem) -> float:
    return 2.0 * (_DEGREE + 1) ** len(solver.nums) * entries(given)
