"""Zeroing neural network for the inverse, integrated along the parameter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from neumatc_mimo.operations.base import Components, Operation
from neumatc_mimo.solvers.checks import check_positive
from neumatc_mimo.solvers.inverting import SquareInverses
from neumatc_mimo.solvers.marching import Marching, Path
from neumatc_mimo.solvers.registry import register


@register(name="zhang_inverse")
@dataclass(frozen=True)
class ZhangInverse(Marching):
    r"""Zeroing dynamics of E = B W - I (Gerontitis et al., Neural Comput. Appl. 35(19), 2023).

    .. math:: \dot E = -\gamma \Phi(E)
              \quad\Rightarrow\quad
              \dot W = -W \bigl(\dot B W + \gamma \Phi(B W - I)\bigr),

    with W in place of :math:`B^{-1}` before the bracket (Getz and Marsden, 1997), which saves the
    linear system of the implicit model. One unit of time is one step of the grid. Between two grid
    points B is taken as linear in p, its derivative as their difference, and the equation is
    integrated by the classical Runge-Kutta method. The first point is exact. An error that is there
    decays as :math:`e^{-\gamma k}` over k grid steps; what integration adds is of order two in the
    grid step for a given γ, and of order four in that of the substeps.

    Φ is the sign-bi-power activation of Li, :math:`\Phi(e) = (|e|^{r-1} + |e|^{1/r-1}) e / 2`, of
    every entry: linear for r = 1, of finite convergence time for r < 1, though its steep slope at
    zero then needs more substeps. (The authors' extended form adds terms that we have not seen in
    print.)

    :param gamma: γ, per grid step
    :param substeps: Runge-Kutta steps for a grid step; stable for γ / substeps below some 2.7
    :param power: r, in (0, 1]
    :param max_residual: Without certificates, the residual above which a point is computed exactly;
        infinity for the authors' dynamics alone

    :raises ValueError: in ``start``, if the operation's components are no inverses
    """

    gamma: float = 2.0
    substeps: int = 1
    power: float = 1.0

    def __post_init__(self) -> None:
        check_positive(self, substeps=self.substeps)
        if not self.gamma > 0:
            raise ValueError(f"gamma is {self.gamma}, it is positive.")
        if not 0 < self.power <= 1:
            raise ValueError(f"power is {self.power}, it lies above zero and is at most one.")

    def _check(self, operation: Operation) -> None:
        SquareInverses(self, operation)

    def _next(self, path: Path, k: int) -> Components | None:
        if k == 0:
            return None
        square = SquareInverses(self, path.operation)
        a, no = path.matrix(k)
        a_before, no_before = path.matrix(k - 1)
        before = square.matrices(a_before, no_before)
        change = square.matrices(a, no) - before
        w = square.inverses(path.at(k - 1), no_before)
        eye = torch.eye(w.shape[-1], dtype=w.dtype, device=w.device)

        def slope(time: float, w: Tensor) -> Tensor:
            error = (before + time * change) @ w - eye
            return -w @ (change @ w + self.gamma * self._activated(error))

        step = 1 / self.substeps
        for i in range(self.substeps):
            w = _runge_kutta(slope, i * step, w, step)
        return square.components(a, w)

    def _activated(self, error: Tensor) -> Tensor:
        if self.power == 1:
            return error
        size = error.abs().clamp_min(torch.finfo(error.dtype).tiny)
        return error * (size ** (self.power - 1) + size ** (1 / self.power - 1)) / 2


def _runge_kutta(
    slope: Callable[[float, Tensor], Tensor], time: float, w: Tensor, h: float
) -> Tensor:
    """One step of the classical fourth-order method."""
    first = slope(time, w)
    second = slope(time + h / 2, w + h / 2 * first)
    third = slope(time + h / 2, w + h / 2 * second)
    fourth = slope(time + h, w + h * third)
    return w + h / 6 * (first + 2 * second + 2 * third + fourth)
