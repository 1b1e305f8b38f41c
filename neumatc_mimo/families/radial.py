"""Families whose entries are sums of radial functions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from neumatc_mimo.families.base import Family
from neumatc_mimo.families.entries import check_decay, check_shape, normal


class RadialFamily(Family):
    r"""Entries that are sums of radial basis functions (after NeuMatC, Appendix I).

    .. math:: A(p) = \sum_{k=1}^{K} C_k \exp\Bigl(-\frac{(x - x_k)^2}{2 w^2}\Bigr) D,
              \qquad x \in [-1, 1],

    with centres x_k evenly spread, C standard normal over √(n K) and D as for
    :class:`~neumatc_mimo.families.cosine.CosineFamily`. The rank along p is K, numerically less
    where w exceeds the distance of the centres.

    :param shape: m, n
    :param generator: source of C
    :param num_functions: K
    :param width: w
    :param decay: amplitude of the last column relative to the first, in (0, 1]

    :raises ValueError: if a number is out of its range
    """

    def __init__(
        self,
        shape: tuple[int, int],
        generator: torch.Generator,
        *,
        num_functions: int = 10,
        width: float = 0.4,
        decay: float = 1.0,
    ) -> None:
        super().__init__([(-1.0, 1.0)])
        check_shape(shape)
        if not width > 0:
            raise ValueError(f"The width of the radial functions is {width}, it is positive.")
        if num_functions < 2:
            raise ValueError(f"num_functions is {num_functions}, at least two are needed.")
        check_decay(decay)
        self._shape, self._width = shape, width
        self._centres = torch.linspace(-1, 1, num_functions, dtype=torch.float64)
        columns = decay ** torch.linspace(0, 1, shape[1], dtype=torch.float64)
        scale = math.sqrt(shape[1] * num_functions)
        size = (num_functions, *shape)
        self._coefficient = normal(size, False, generator) * columns / scale

    @property
    def shape(self) -> tuple[int, int]:
        return self._shape

    def __call__(self, p: Tensor) -> Tensor:
        distance = (self.coordinate(p) - self._centres.to(p.device)) / self._width
        basis = torch.exp(-distance.square() / 2)
        return torch.tensordot(basis, self._coefficient.to(p.device), dims=1)
