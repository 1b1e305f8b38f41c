"""Zeroing neural network for the SVD, with its eight-instant discretisation."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from neumatc_mimo.operations.base import Components, Operation
from neumatc_mimo.solvers.checks import require
from neumatc_mimo.solvers.marching import Marching, Path
from neumatc_mimo.solvers.registry import register
from neumatc_mimo.tensors import lu

# x_{k+1} = _SLOPE τ ẋ_k + Σ_j _VALUES[j] x_{k-j}: eight instants, exact for polynomials of degree
# four, the most that eight instants allow in a convergent formula. Of the family's three free
# numbers simple ones near those that keep all roots of z^7 - Σ_j _VALUES[j] z^{6-j} + h _SLOPE z^6
# but the leading one below 0.9 for h = γτ up to 0.3 (the construction of Uhlig, 2019).
_SLOPE = 12 / 5
_VALUES = (-9 / 40, 27 / 40, 32 / 40, -2 / 40, -9 / 40, -1 / 40, 2 / 40)
_NUM_BEFORE = len(_VALUES)


@register(name="zhang_svd")
@dataclass(frozen=True)
class ZhangSVD(Marching):
    r"""Zeroing dynamics of the SVD's equations (Chen and Zhang, Neurocomputing 383, 2020).

    For every triplet (u, s, v) the errors of :math:`A v = s u, A^H u = s v, u^H u = 1` are to decay
    as :math:`\dot E = -\gamma E`. With v eliminated (the authors' reduction of dimension) that is a
    linear system of m + 1 equations for the derivatives,

    .. math:: \begin{bmatrix} A A^H - s^2 I & -(A v + s u) \\ u^H & 0 \end{bmatrix}
              \begin{bmatrix} \dot u \\ \dot s \end{bmatrix} =
              \begin{bmatrix} -\gamma (A A^H u - s^2 u) - s \dot A v - A \dot A^H u \\
                              -\gamma (u^H u - 1) / 2 \end{bmatrix},

    and :math:`s \dot v = A^H \dot u - \dot s v + \gamma (A^H u - s v) + \dot A^H u`; a common phase
    of u and v makes :math:`v^H \dot v` real. They are discretised by an eight-instant formula,
    :math:`x_{k+1} = \beta \tau \dot x_k + \sum_j \alpha_j x_{k-j}`. (NeuMatC calls it the
    eighth-order formula; a convergent one with eight instants has order four at most, Yang, Zhang
    and Hu, 2021, and an error of order :math:`\tau^5` for a given γτ. The coefficients are ours,
    the authors' we have not seen in print.) :math:`\dot A` comes from central differences over
    seven points.

    The first seven points of every evenly spaced stretch of the grid are exact. The system is close
    to singular where singular values nearly meet.

    :param gain: h = γτ, the decay over one grid step, up to some 0.3
    :param max_residual: Without certificates, the residual above which a point is computed exactly;
        infinity for the authors' dynamics alone

    :raises ValueError: in ``start``, if the operation's components are no triplets
    """

    gain: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.gain <= 0.35:
            raise ValueError(
                f"gain is {self.gain}, the discretisation is stable above 0 and up to 0.35."
            )

    def _check(self, operation: Operation) -> None:
        require(self, operation, ("u", "s", "v"))

    def _next(self, path: Path, k: int) -> Components | None:
        low, high = _even_stretch(path.channels.frequencies, k)
        if k - low < _NUM_BEFORE:
            return None
        a = path.channels.a[:, k - 1]
        slopes = self._slopes(a, _difference(path.channels.a, k - 1, low, high), path.at(k - 1))
        components = []
        for c, slope in zip(path.components, slopes, strict=True):
            before = c[:, k - _NUM_BEFORE : k].flip(1)
            weights = torch.tensor(_VALUES, dtype=c.dtype, device=c.device)
            value = torch.tensordot(before, weights, dims=([1], [0])) + _SLOPE * slope
            components.append(value[:, None])
        return tuple(components)

    def _slopes(self, a: Tensor, change: Tensor, components: Components) -> Components:
        """Derivatives of u, s, v per grid step, from A and its derivative [num_items, m, n]."""
        u, s, v = (c[:, 0] for c in components)
        h, scale = self.gain, s[:, None, :]
        back, turned = a.mH @ u, change.mH @ u  # A^H u, dA^H u
        square = a @ a.mH
        right = -h * (square @ u - scale**2 * u) - scale * (change @ v) - a @ turned
        norm = torch.linalg.vector_norm(u, dim=-2).square()
        # One system [m + 1, m + 1] for every item and triplet.
        eye = torch.eye(a.shape[-2], dtype=a.dtype, device=a.device)
        shifted = square[:, None] - s[..., None, None] ** 2 * eye
        column = -(a @ v + scale * u).mT[..., None]
        corner = torch.zeros_like(column[..., :1, :])
        matrix = torch.cat(
            [torch.cat([shifted, column], -1), torch.cat([u.mH[..., None, :], corner], -1)], -2
        )
        goal = torch.cat([right.mT, (-h * (norm - 1) / 2).to(u.dtype)[..., None]], -1)
        solution = lu.solution(matrix, goal[..., None])
        du, ds = solution[..., :-1, 0].mT, solution[..., -1, 0].real
        dv = a.mH @ du - ds[:, None, :] * v + h * (back - scale * v) + turned
        dv = dv / scale
        # A phase common to u and v is free. The exact points before have that of transport along v,
        # which the derivatives have to continue: v^H dv real.
        turn = torch.linalg.vecdot(v, dv, dim=-2)[:, None, :]
        turn = (turn - turn.conj()) / (2 * torch.linalg.vecdot(v, v, dim=-2)[:, None, :])
        return du - turn * u, ds, dv - turn * v


def _even_stretch(p: Tensor, k: int) -> tuple[int, int]:
    """First and last point of the evenly spaced stretch of the grid that leads up to point k."""
    if k == 0:
        return 0, 0
    spacing = p.to(torch.float64).diff()
    breaks = ((spacing - spacing[k - 1]).abs() > 1e-6 * spacing[k - 1].abs()).nonzero()[:, 0]
    place = int(torch.searchsorted(breaks, k))
    low = int(breaks[place - 1]) + 1 if place else 0
    high = int(breaks[place]) if place < len(breaks) else len(p) - 1
    return low, high


def _difference(a: Tensor, k: int, low: int, high: int) -> Tensor:
    """τ dA/dp at point k from seven points between low and high, central where there is room."""
    first = min(max(k - 3, low), high - 6)
    weights = torch.tensor(_difference_weights(k - first), dtype=a.dtype, device=a.device)
    return torch.tensordot(a[:, first : first + 7], weights, dims=([1], [0]))


@functools.cache
def _difference_weights(place: int) -> tuple[float, ...]:
    """Weights of seven neighbouring values in the derivative at the one with index ``place``."""
    offsets = torch.arange(7, dtype=torch.float64) - place
    # Σ_i w_i offsets_i^q is the derivative of t^q at zero: 1 for q = 1, else 0.
    powers = offsets ** torch.arange(7, dtype=torch.float64)[:, None]
    unit = torch.zeros(7, dtype=torch.float64)
    unit[1] = 1
    return tuple(lu.solution(powers, unit[:, None])[:, 0].tolist())
