"""The thin QR decomposition, unique by the diagonal of R."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from neumatc_mimo.operations.base import (
    Components,
    Operation,
    frobenius,
    identity,
    positive,
    together,
)
from neumatc_mimo.operations.cholesky import (
    newton_factor,
    phase_error,
    positive_diagonal,
    shape_defects,
)
from neumatc_mimo.operations.registry import register
from neumatc_mimo.operations.tracking import unit


class QRFactors(NamedTuple):
    """The thin QR decomposition, A = Q R.

    :param q: [..., m, n] orthonormal columns
    :param r: [..., n, n] upper triangular, its diagonal real and positive
    """

    q: Tensor
    r: Tensor


@register
class QR(Operation):
    r"""Thin QR decomposition :math:`A = Q R` of a matrix [m, n], m >= n, of full rank.

    Components are ``q`` [m, n] and ``r`` [n, n]. With a real positive diagonal of R they are
    unique, and continuous where A is: :math:`R^H` is the Cholesky factor of :math:`A^H A`. If A
    loses its rank, they are neither unique nor continuous.
    """

    name: ClassVar[str] = "qr"
    component_names: ClassVar[tuple[str, ...]] = ("q", "r")
    follows_rows: ClassVar[bool] = True
    noise_free: ClassVar[tuple[str, ...]] = ("q", "r")

    def component_shapes(self, num_rows: int, num_cols: int) -> tuple[tuple[int, ...], ...]:
        _check_tall(num_rows, num_cols)
        return (num_rows, num_cols), (num_cols, num_cols)

    def exact(self, a: Tensor, no: Tensor | float = 0.0) -> Components:
        """Q and R of a [..., m, n] by Householder reflections.

        :raises ValueError: if the matrices have more columns than rows
        """
        del no
        _check_tall(*a.shape[-2:])
        q, r = torch.linalg.qr(a)
        turn = unit(r.diagonal(dim1=-2, dim2=-1))
        return q * turn[..., None, :], positive_diagonal(r.mH).mH

    def residual(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Tensor:
        r""":math:`\lVert A - Q R \rVert_F / \lVert A \rVert_F`,
        :math:`\lVert Q^H Q - I \rVert_F` and what R has where it should have none, over
        :math:`\lVert R \rVert_F = \lVert A \rVert_F`, together.
        """
        del no
        q, r = components
        size = positive(frobenius(a))
        return together(
            frobenius(a - q @ r) / size,
            frobenius(q.mH @ q - identity(q)),
            *(defect / size for defect in shape_defects(r.mH)),
        )

    def range_error(self, a: Tensor, components: Components) -> Tensor:
        """Distance of the diagonal's phases from 1.

        A column of Q times any phase, and the row of R divided by it, leave Q R as it is.
        """
        del a
        return phase_error(components[1])

    def correct(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Components:
        r"""One Newton step towards the Cholesky factor of :math:`A^H A`, without forming it.

        With :math:`Q_0 = A R^{-1}` and :math:`X + X^H = Q_0^H Q_0 - I`, X upper triangular,
        R ← (I + X) R and :math:`Q = Q_0 (I - X)`: errors are squared.
        """
        del no
        r = positive_diagonal(components[1].triu().mH).mH
        q = torch.linalg.solve_triangular(r, a, upper=True, left=False)
        x = newton_factor(q.mH @ q - identity(q)).mH
        return q - q @ x, r + x @ r

    def scale(self, components: Components, left: Tensor, right: Tensor) -> Components:
        """D_L A D_R = (D_L Q D_R) (D_R^H R D_R)."""
        q, r = components
        right = right[..., None, :]
        return left[..., :, None] * q * right, right.mH * r * right

    def permute(self, components: Components, order: Tensor) -> Components:
        """Rows of A are rows of Q."""
        q, r = components
        return q.gather(-2, order[:, None, :, None].expand_as(q)), r

    def answer(
        self, components: Components, no: Tensor | float = 0.0, rows: Tensor | None = None
    ) -> QRFactors:
        del no
        q, r = components
        if rows is not None:
            gain = rows.abs()
            q, r = q * (rows / gain)[..., None], r * gain[..., :1, None]
        return QRFactors(q, r)


def _check_tall(num_rows: int, num_cols: int) -> None:
    if num_rows < num_cols:
        raise ValueError(
            f"There is no thin QR decomposition of a matrix of {num_rows} x {num_cols}, more "
            "columns than rows: take its transpose."
        )
