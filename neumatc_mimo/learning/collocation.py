"""Collocation points, where only the residual is known, and their adaptive choice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from neumatc_mimo.families.base import Family
from neumatc_mimo.learning.network import NeuMatC
from neumatc_mimo.operations.base import Operation


@dataclass(frozen=True)
class Refinement:
    """One look at the candidates.

    :param step: gradient steps done
    :param loss: Eq. (3) at the last of them
    :param failure_probability: share of the candidates whose residual exceeds the threshold
    :param candidates: [candidates, d] in the domain's own units
    :param residual: [candidates]
    :param added: indices of the candidates that became collocation points
    :param num_collocation: collocation points from now on
    """

    step: int
    loss: float
    failure_probability: float
    candidates: Tensor
    residual: Tensor
    added: Tensor
    num_collocation: int


class Collocation:
    """Points where only the residual is known, with their matrices in single precision."""

    def __init__(self, operation: Operation, family: Family, model: NeuMatC) -> None:
        self._operation = operation
        self._family = family
        self._model = model
        self._points = torch.empty(0, device=model.domain.device)
        self._matrices = torch.empty(0, device=model.domain.device)

    def __len__(self) -> int:
        return len(self._points)

    def add(self, p: Tensor) -> None:
        """Take points [B, d] in."""
        points, matrices = self._model.coordinate(p), self._single(p)
        empty = len(self) == 0
        self._points = points if empty else torch.cat([self._points, points])
        self._matrices = matrices if empty else torch.cat([self._matrices, matrices])

    def residual(self, latents: Sequence[Tensor]) -> Tensor:
        """The residual at every point with these latent tensors, differentiable, [len]."""
        return self._residual(self._points, self._matrices, latents)

    @torch.no_grad()
    def residual_at(self, p: Tensor) -> Tensor:
        """The residual at other points [B, d]: [B]; infinite where it is no number."""
        residual = self._residual(self._model.coordinate(p), self._single(p))
        return torch.nan_to_num(residual, nan=math.inf)

    @torch.no_grad()
    def corrected(self, steps: int, most: float) -> tuple[Tensor, list[Tensor]]:
        """Points whose residual correcting brings to ``most`` at most, in rows as targets are."""
        operation, model = self._operation, self._model
        components = model.components(model.rows(model.trunk(self._points)))
        for _ in range(steps):
            components = operation.correct(self._matrices, components)
        good = operation.residual(self._matrices, components) <= most
        rows = [
            (layout.pack(c[good]) / scale).float()
            for layout, scale, c in zip(model.layouts, model.scales, components, strict=True)
        ]
        return self._points[good], rows

    def uniform(self, num: int, generator: torch.Generator) -> Tensor:
        """Points drawn from the domain, [num, d]."""
        return self._family.uniform(num, generator).to(self._points.device)

    def _single(self, p: Tensor) -> Tensor:
        a = self._family(p)
        return a.to(torch.complex64 if a.is_complex() else torch.float32)

    def _residual(
        self, points: Tensor, matrices: Tensor, latents: Sequence[Tensor] | None = None
    ) -> Tensor:
        model = self._model
        components = model.components(model.rows(model.trunk(points), latents))
        return self._operation.residual(matrices, components)
