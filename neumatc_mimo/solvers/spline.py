"""Spline interpolation of every component between exact samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neumatc_mimo.operations.base import Components, Operation
from neumatc_mimo.solvers.approximation import Approximation
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
        collocation = _dense(*_bsplines(x[points], knots, degree), len(points))
        inverse = lu.inverse(collocation)
        coefficients = tuple(_weighted(inverse, c) for c in samples)
        first, values = _bsplines(x, knots, degree)

        def approximation(subcarriers: slice) -> Components:
            here, weights = first[subcarriers], values[subcarriers]
            low, high = int(here[0]), int(here[-1]) + degree + 1
            dense = _dense(here - low, weights, high - low)
            return tuple(_weighted(dense, c[:, low:high]) for c in coefficients)

        return approximation


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

    :return: index of the first of them, [B], and the values of it and the next, [B, degree + 1]
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
    return interval - degree, values


def _dense(first: Tensor, values: Tensor, num: int) -> Tensor:
    """Rows [B, num] with the values [B, d + 1] from a column first [B] on."""
    columns = first[:, None] + torch.arange(values.shape[1], device=first.device)
    return values.new_zeros(len(first), num).scatter_(1, columns, values)


def _weighted(weights: Tensor, values: Tensor) -> Tensor:
    """Real weights [B, S] times values [num_items, S, ...]: [num_items, B, ...]."""
    rows = torch.view_as_real(values.resolve_conj()) if values.is_complex() else values
    shape = rows.shape[2:]
    rows = (weights.to(rows.dtype) @ rows.flatten(2)).unflatten(-1, shape)
    return torch.view_as_complex(rows) if values.is_complex() else rows
