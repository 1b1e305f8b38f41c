"""Parametric matrices A(p): what a family has to tell."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from neumatc_mimo.foundation.coordinate import coordinate, in_band


class Family(ABC):
    """A matrix A(p) that depends on a parameter p of dimension d, for a batch of p at once.

    :param domain: [d, 2] lowest and highest value of every coordinate of p, in its own units

    :raises ValueError: if the domain is no list of finite intervals
    """

    def __init__(self, domain: Tensor | Sequence[Sequence[float]]) -> None:
        self.domain = torch.as_tensor(domain, dtype=torch.float64)
        if self.domain.ndim != 2 or self.domain.shape[1] != 2 or not len(self.domain):
            raise ValueError(
                f"A domain is [dimension, 2], one interval a coordinate, not "
                f"{list(self.domain.shape)}."
            )
        width = self.domain[:, 1] - self.domain[:, 0]
        if not bool((torch.isfinite(width) & (width > 0)).all()):
            raise ValueError(f"The domain {self.domain.tolist()} has an interval without width.")

    @property
    def dimension(self) -> int:
        """Number d of coordinates of p."""
        return len(self.domain)

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Rows m and columns n of A(p)."""

    @abstractmethod
    def __call__(self, p: Tensor) -> Tensor:
        """A(p) at p [B, d]: [B, m, n] float64 or complex128, on the device of p."""

    def coordinate(self, p: Tensor) -> Tensor:
        """p [B, d] mapped to x in [-1, 1]^d, float64.

        :raises ValueError: if p has another shape
        """
        if p.ndim != 2 or p.shape[1] != self.dimension:
            raise ValueError(f"Parameters are [batch, {self.dimension}] here, not {list(p.shape)}.")
        return coordinate(p.to(torch.float64), self._bounds(p))

    def parameter(self, x: Tensor) -> Tensor:
        """The inverse of :meth:`coordinate`: x in [-1, 1]^d as p [B, d] in its own units."""
        return in_band(x, self._bounds(x))

    def uniform(self, num: int, generator: torch.Generator) -> Tensor:
        """``num`` points drawn uniformly from the domain, [num, d] float64."""
        x = torch.rand(num, self.dimension, dtype=torch.float64, generator=generator)
        return self.parameter(2 * x - 1)

    def grid(self, num: int | Sequence[int]) -> Tensor:
        """A regular grid, ends included: [points, d] float64, the last coordinate fastest.

        :param num: points along every coordinate, or one number for all of them

        :raises ValueError: if there are not as many numbers as coordinates
        """
        nums = [num] * self.dimension if isinstance(num, int) else list(num)
        if len(nums) != self.dimension:
            raise ValueError(
                f"A grid of {len(nums)} coordinates does not suit a domain of {self.dimension}."
            )
        axes = [torch.linspace(-1, 1, points, dtype=torch.float64) for points in nums]
        mesh = torch.meshgrid(axes, indexing="ij")
        return self.parameter(torch.stack(mesh, dim=-1).flatten(0, -2))

    def _bounds(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Lowest and highest value of every coordinate, on the device of another tensor."""
        low, high = self.domain.to(like.device).unbind(-1)
        return low, high
