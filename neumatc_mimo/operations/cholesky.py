"""The Cholesky factor of a Hermitian positive definite matrix."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from neumatc_mimo.operations.base import (
    Components,
    SimilarityOperation,
    check_square,
    frobenius,
    identity,
    positive,
    together,
)
from neumatc_mimo.operations.registry import register
from neumatc_mimo.operations.tracking import unit


class CholeskyFactor(NamedTuple):
    """The Cholesky factor.

    :param lower: [..., n, n] L with A = L L^H, its diagonal real and positive
    """

    lower: Tensor


@register
class Cholesky(SimilarityOperation):
    r"""Cholesky decomposition :math:`A = L L^H` of a Hermitian positive definite matrix.

    The only component is ``lower`` [n, n], L lower triangular with a real positive diagonal, which
    makes it unique. It is stored whole, its upper triangle included, as every component is.

    No decomposition is cheaper: the proof, which is a matrix product, and the correction take more
    multiplications than its n³/3. They are useful if the certificate is made once, in training.
    """

    name: ClassVar[str] = "cholesky"
    answer_type: ClassVar[Any] = CholeskyFactor
    title: ClassVar[str] = "Cholesky factor"
    component_names: ClassVar[tuple[str, ...]] = ("lower",)
    noise_free: ClassVar[tuple[str, ...]] = ("lower",)

    def component_shapes(self, num_rows: int, num_cols: int) -> tuple[tuple[int, ...], ...]:
        check_square(self.title, num_rows, num_cols)
        return ((num_rows, num_rows),)

    def exact(self, a: Tensor, no: Tensor | float = 0.0) -> Components:
        """L of the Hermitian matrix with the lower triangle of a [..., n, n]; NaN if it is not
        positive definite.

        :raises ValueError: if the matrices are not square
        """
        del no
        check_square(self.title, *a.shape[-2:])
        # Such a matrix gives NaN, itself only: `cholesky` would raise for the whole batch.
        lower, info = torch.linalg.cholesky_ex(a)
        return (lower.masked_fill((info != 0)[..., None, None], torch.nan),)

    def residual(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Tensor:
        r""":math:`\lVert A - L L^H \rVert_F / \lVert A \rVert_F` and what L has where a Cholesky
        factor has none, over :math:`\lVert L \rVert_F = \sqrt{\operatorname{tr} A}`, together.
        """
        del no
        (lower,) = components
        trace = positive(a.diagonal(dim1=-2, dim2=-1).real.sum(-1))
        return together(
            frobenius(a - lower @ lower.mH) / positive(frobenius(a)),
            *(defect / trace.sqrt() for defect in shape_defects(lower)),
        )

    def range_error(self, a: Tensor, components: Components) -> Tensor:
        """Distance of the diagonal's phases from 1.

        A column of L times any phase leaves L L^H as it is.
        """
        del a
        return phase_error(components[0])

    def correct(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Components:
        r"""One Newton step, :math:`L \leftarrow L (I + \Phi(L^{-1} A L^{-H} - I))`.

        Φ is the lower triangle with half the diagonal: the lower triangular X with X + X^H given.
        """
        del no
        lower = positive_diagonal(components[0].tril())
        half = torch.linalg.solve_triangular(lower, a, upper=False)
        whole = torch.linalg.solve_triangular(lower, half.mH, upper=False)
        return (lower + lower @ newton_factor(whole - identity(whole)),)

    def _turned(self, components: Components, factor: Tensor) -> Components:
        """D A D^H = (D L D^H) (D L D^H)^H."""
        (lower,) = components
        return (factor[..., :, None] * lower * factor.conj()[..., None, :],)


def shape_defects(lower: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Norms [...] of what a lower triangular matrix with a real positive diagonal has not.

    :return: of the strict upper triangle, and of the diagonal's imaginary and negative parts
    """
    diagonal = lower.diagonal(dim1=-2, dim2=-1)
    turn = diagonal.imag if lower.is_complex() else torch.zeros_like(diagonal)
    return (
        frobenius(lower.triu(1)),
        torch.linalg.vector_norm(turn, dim=-1),
        torch.linalg.vector_norm(torch.relu(-diagonal.real), dim=-1),
    )


def phase_error(lower: Tensor) -> Tensor:
    """Largest distance [...] of a phase on the diagonal from 1; 2 where a sign is wrong."""
    diagonal = lower.diagonal(dim1=-2, dim2=-1)
    # A zero has no phase, and no column of a Cholesky factor has one on the diagonal.
    return (torch.sgn(diagonal) - 1).abs().amax(-1)


def positive_diagonal(lower: Tensor) -> Tensor:
    """Columns turned so that the diagonal is real and positive, which leaves L L^H as it is."""
    turned = lower * unit(lower.diagonal(dim1=-2, dim2=-1)).conj()[..., None, :]
    diagonal = lower.diagonal(dim1=-2, dim2=-1).abs().to(lower.dtype)
    # Exactly: rounding leaves an imaginary part.
    return turned.tril(-1) + torch.diag_embed(diagonal)


def newton_factor(defect: Tensor) -> Tensor:
    """Φ: the lower triangular X, its diagonal real, with X + X^H the Hermitian ``defect``."""
    diagonal = defect.diagonal(dim1=-2, dim2=-1).real.to(defect.dtype)
    return defect.tril(-1) + torch.diag_embed(diagonal / 2)
