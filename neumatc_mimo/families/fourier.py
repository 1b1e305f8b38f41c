"""Families whose entries are Fourier sums, over a domain of any dimension."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from neumatc_mimo.families.base import Family
from neumatc_mimo.families.entries import check_shape, diagonal, normal


class FourierFamily(Family):
    r"""Entries that are Fourier sums over a domain of any dimension (after NeuMatC, Table 6).

    .. math:: A_{ij}(p) = \frac{1}{\sqrt n} \sum_k c_{ijk} \, b_k(x) + \delta [i = j],
              \qquad b_k(x) = \prod_{l=1}^{d} \beta_{k_l}(x_l), \quad
              \beta \in \{1, \cos \pi q x, \sin \pi q x : q = 1, \dots, Q\},

    with c normal of standard deviation ∝ (1 + |q|)^{-smoothness}, q the frequencies of b_k. The
    rank along p is (2 Q + 1)^d. Entries have variance 1/n at every p: as with
    :class:`~neumatc_mimo.families.cosine.CosineFamily`, a shift of 3 keeps every A(p)
    well-conditioned.

    :param shape: m, n
    :param dimension: d
    :param generator: source of c
    :param order: Q
    :param smoothness: power with which the coefficients fall with the frequency
    :param shift: δ, added to the main diagonal
    :param complex_valued: c circularly-symmetric complex normal, A complex128; else real, float64
    :param domain: [d, 2] bounds, by default -1 and 1 in every coordinate

    :raises ValueError: if a number is out of its range, or domain and dimension differ
    """

    def __init__(
        self,
        shape: tuple[int, int],
        dimension: int,
        generator: torch.Generator,
        *,
        order: int = 1,
        smoothness: float = 1.0,
        shift: float = 0.0,
        complex_valued: bool = False,
        domain: Tensor | Sequence[Sequence[float]] | None = None,
    ) -> None:
        if dimension < 1 or order < 0:
            raise ValueError(
                "A Fourier sum needs a dimension of 1 or more and an order of 0 or more."
            )
        super().__init__([(-1.0, 1.0)] * dimension if domain is None else domain)
        check_shape(shape)
        if self.dimension != dimension:
            raise ValueError(
                f"The domain has {self.dimension} intervals, the dimension is {dimension}."
            )
        self._shape = shape
        self._order = order
        # Frequencies of β in the order in which `_basis` lists them: 0, 1 … Q (cos), 1 … Q (sin).
        axis = torch.cat([torch.arange(order + 1), torch.arange(1, order + 1)]).double()
        modes = torch.cartesian_prod(*[axis] * dimension).reshape(-1, dimension)
        amplitude = (1 + torch.linalg.vector_norm(modes, dim=-1)) ** -smoothness
        # cos² + sin² = 1: every frequency vector counts once in the variance of an entry, which
        # is therefore the same everywhere. With 2^z functions each weighs 2^-z, z its non-zeros.
        shares = 2.0 ** -(modes != 0).sum(-1)
        amplitude = amplitude / (amplitude.square() * shares).sum().sqrt() / math.sqrt(shape[1])
        size = (len(modes), *shape)
        self._coefficient = amplitude[:, None, None] * normal(size, complex_valued, generator)
        self._offset = diagonal(shape, shift)

    @property
    def shape(self) -> tuple[int, int]:
        return self._shape

    def __call__(self, p: Tensor) -> Tensor:
        coefficient = self._coefficient.to(p.device)
        basis = self._basis(self.coordinate(p)).to(coefficient.dtype)
        return torch.tensordot(basis, coefficient, dims=1) + self._offset.to(p.device)

    def _basis(self, x: Tensor) -> Tensor:
        """b_k at x [B, d]: [B, (2 Q + 1)^d]."""
        angle = math.pi * x[..., None] * torch.arange(1, self._order + 1, device=x.device)
        axes = torch.cat([torch.ones_like(x[..., None]), angle.cos(), angle.sin()], dim=-1)
        basis = axes[:, 0]
        for axis in axes.unbind(1)[1:]:
            basis = (basis[:, :, None] * axis[:, None]).flatten(1)
        return basis
