"""Neural Newton inversion: a fixed matrix at a time, from the scaled conjugate transpose."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neumatc_mimo.solvers.checks import check_positive
from neumatc_mimo.solvers.inverting import Inverting
from neumatc_mimo.solvers.registry import register


@register(name="neural_newton")
@dataclass(frozen=True)
class NeuralNewton(Inverting):
    r"""Discrete Zhang neural network for the inverse of one matrix (Zhang, Ma, Cai, 2008).

    .. math:: W \leftarrow W - h \, W (B W - I), \qquad
              W^{(0)} = B^H / (\lVert B \rVert_1 \lVert B \rVert_\infty).

    ("From Zhang neural network to Newton iteration for matrix inversion", IEEE TCAS-I 56(7).) With
    h = 1 it is Newton's iteration: I - B W is squared in each step, which tells after some
    :math:`2 \log_2 \mathrm{cond}(B)` of them; with other h in (0, 2) its size falls by
    :math:`|1 - h|` a step. The start is Ben-Israel's, from which it converges for every B that has
    an inverse. Points are computed on their own, nothing is learned from their neighbours.

    :param steps: Iterations at each point
    :param step_size: h

    :raises ValueError: in ``start``, if the operation's components are no inverses
    """

    steps: int = 20
    step_size: float = 1.0

    def __post_init__(self) -> None:
        check_positive(self, steps=self.steps)
        if not 0 < self.step_size < 2:
            raise ValueError(f"step_size is {self.step_size}, it lies between 0 and 2.")

    def _inverse(self, b: Tensor) -> Tensor:
        eye = torch.eye(b.shape[-1], dtype=b.dtype, device=b.device)
        columns, rows = b.abs().sum(-2).amax(-1), b.abs().sum(-1).amax(-1)
        w = b.mH / (columns * rows)[..., None, None]
        for _ in range(self.steps):
            w = w - self.step_size * (w @ (b @ w - eye))
        return w
