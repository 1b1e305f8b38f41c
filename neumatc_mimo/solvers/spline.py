"""Spline interpolation of every component between exact samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neumatc_mimo.kernels.lanes import local
from neumatc_mimo.learning.projector import Local
from neumatc_mimo.mapping.layout import Latents
from neumatc_mimo.operations.base import Components, Operation
from neumatc_mimo.solvers.approximation import Approximation, Summed, weighted
from neumatc_mimo.solvers.base import Channels
from neumatc_mimo.solvers.registry import register
from neumatc_mimo.solvers.sampled import Sampled
from neumatc_mimo.tensors import lu


@register(name="spline")
@dataclass(frozen=True)
class Spline(Sampled):
    r"""Interpolating spline of degree d with not-a-knot ends (de Boor, 1978), entry by entry.

    .. math:: \hat Y(p) = \sum_j c_j B_{j,d}(p), \qquad \hat Y(p_s) = Y(p_s),

    real and imaginary parts alike, as the B-splines are real. A point depends on d + 1
    coefficients. Between samples a distance h apart the error is of order :math:`h^{d+1}`.

    :param num_samples: Number of samples, evenly spread, both ends included
    :param degree: d; 1 is linear interpolation, 3 the cubic spline
    """

    degree: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.degree < self.num_samples:
            raise ValueError(
                f"A spline of degree {self.degree} through {self.num_samples} samples does not "
                "exist, the degree is at least zero and below the number of samples."
            )

    def _interpolate(
        self, operation: Operation, channels: Channels, points: Tensor, samples: Components
    ) -> Approximation:
        # All in double precision up to the weights: positions in Hz, and their differences.
        x = channels.frequencies.to(torch.float64)
        degree = min(self.degree, len(points) - 1)
        knots = _not_a_knot(x[points], degree)
        at_samples = _bsplines(x[points], knots, degree)
        return Summed(*_bsplines(x, knots, degree), _coefficients(*at_samples, samples))


def _not_a_knot(x: Tensor, degree: int) -> Tensor:
    """Knots of the splines of a degree that interpolate at x [S]: [S + degree + 1].

    Odd degrees have knots at samples, even ones half-way between them; those next to the ends are
    left out, as many as make the interpolation unique.
    """
    inner = x if degree % 2 else (x[1:] + x[:-1]) / 2
    skipped = (degree + 1) // 2
    inner = inner[skipped : len(inner) - skipped]
    return torch.cat([x[:1].expand(degree + 1), inner, x[-1:].expand(degree + 1)])


def _bsplines(x: Tensor, knots: Tensor, degree: int) -> tuple[Tensor, Tensor]:
    """The B-splines that differ from zero at x [B], by the Cox-de Boor recursion.

    :return: their indices, which follow each other, and their values, [B, degree + 1] each
    """
    num = len(knots) - degree - 1
    # The knot interval of x; the last one is closed.
    interval = (torch.searchsorted(knots, x, right=True) - 1).clamp(degree, num - 1)
    values = torch.ones_like(x)[:, None]
    for d in range(1, degree + 1):
        offsets = torch.arange(d, device=x.device)
        right = knots[interval[:, None] + 1 + offsets]
        left = knots[interval[:, None] + 1 - d + offsets]
        share = values / (right - left)
        rising, falling = (x[:, None] - left) * share, (right - x[:, None]) * share
        none = torch.zeros_like(x)[:, None]
        values = torch.cat([falling, none], -1) + torch.cat([none, rising], -1)
    return interval[:, None] - degree + torch.arange(degree + 1, device=x.device), values


def _coefficients(columns: Tensor, values: Tensor, samples: Components) -> Components:
    """Coefficients [num_items, S, ...] of the S splines that take on the samples' values.

    :param columns: of the splines that differ from zero at each sample, [S, degree + 1]
    :param values: of these, likewise
    """
    num = len(columns)
    side_by_side = Latents.of(samples)
    rows = side_by_side.rows
    if rows.dtype == torch.float32 and local.solves(rows):
        every = values.new_ones(1, num)
        solved = Local(columns, values, values.new_zeros(1, num))(rows, every)
        return side_by_side.split(solved.latent)
    collocation = values.new_zeros(num, num).scatter_(1, columns, values)
    inverse = lu.inverse(collocation)
    return tuple(weighted(inverse, c) for c in samples)
