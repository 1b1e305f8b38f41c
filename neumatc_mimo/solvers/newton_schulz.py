"""Newton-Schulz along the grid: every point starts from those before it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neumatc_mimo.operations.base import Components
from neumatc_mimo.solvers.checks import check_positive
from neumatc_mimo.solvers.marching import Marching, Path
from neumatc_mimo.solvers.registry import register


@register(name="newton_schulz")
@dataclass(frozen=True)
class NewtonSchulz(Marching):
    r"""The operation's correction, warm-started along the parameter (Schulz, 1933).

    For an inverse a step is :math:`W \leftarrow W (2 I - A W)`, which squares the residual
    I - A W. It starts from the polynomial through the points before,

    .. math:: W_k^{(0)} = \sum_{i=1}^{q+1} W_{k-i}
              \prod_{j \ne i} \frac{p_k - p_{k-j}}{p_{k-i} - p_{k-j}},

    of degree q. The first point is exact, and so is every point at which the certificate fails, or,
    without certificates, the residual exceeds a limit. For other operations the step is the one
    that they correct with, for an SVD Rayleigh-Ritz.

    :param steps: Corrections at each point
    :param degree: q; 0 starts from the neighbour, 1 extrapolates linearly
    :param max_residual: Residual limit without certificates
    """

    steps: int = 1
    degree: int = 1

    def __post_init__(self) -> None:
        check_positive(self, steps=self.steps, degree=self.degree + 1)

    def _next(self, path: Path, k: int) -> Components | None:
        if k == 0:
            return None
        first = max(k - 1 - self.degree, 0)
        weights = _extrapolation(path.channels.frequencies[first : k + 1])
        components = tuple(
            torch.tensordot(c[:, first:k], weights.to(c.dtype), dims=([1], [0])).unsqueeze(1)
            for c in path.components
        )
        a, no = path.matrix(k)
        for _ in range(self.steps):
            components = path.operation.correct(a, components, no)
        return components


def _extrapolation(p: Tensor) -> Tensor:
    """Weights [q + 1] of the values at all but the last of the points p [q + 2], for the last."""
    known, target = p[:-1].to(torch.float64), p[-1].to(torch.float64)
    weights = []
    for i in range(len(known)):
        others = torch.cat([known[:i], known[i + 1 :]])
        weights.append(((target - others) / (known[i] - others)).prod())
    return torch.stack(weights)
