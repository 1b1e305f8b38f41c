"""The inverse of a square matrix."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from torch import Tensor

from neumatc_mimo.operations.base import Components, Operation, frobenius, identity
from neumatc_mimo.operations.registry import register
from neumatc_mimo.tensors import lu


class InverseMatrix(NamedTuple):
    """The inverse.

    :param w: [..., n, n] with A W = I
    """

    w: Tensor


@register
class Inverse(Operation):
    r"""Inverse of a square matrix, :math:`W = A^{-1}`, real or complex.

    The only component is ``w`` [n, n]. ``no`` is not used. For a regularised inverse, use a
    regularised family (:class:`~neumatc_mimo.families.products.Gram`). For wide matrices, and for
    MMSE, use :class:`~neumatc_mimo.operations.pseudo_inverse.PseudoInverse`.
    """

    name: ClassVar[str] = "inverse"
    component_names: ClassVar[tuple[str, ...]] = ("w",)
    follows_rows: ClassVar[bool] = True
    noise_free: ClassVar[tuple[str, ...]] = ("w",)

    def component_shapes(self, num_rows: int, num_cols: int) -> tuple[tuple[int, ...], ...]:
        _check_square(num_rows, num_cols)
        return ((num_cols, num_rows),)

    def exact(self, a: Tensor, no: Tensor | float = 0.0) -> Components:
        """:math:`A^{-1}` of a [..., n, n] by LU factorisation; NaN where A is singular.

        :raises ValueError: if the matrices are not square
        """
        del no
        _check_square(*a.shape[-2:])
        return (lu.inverse(a),)

    def residual(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Tensor:
        r""":math:`\lVert I - A W \rVert_F / \sqrt n` (NeuMatC, Section 2.2), [...].

        A right inverse of a square matrix is its inverse, so nothing else has to be proven.
        """
        del no
        return frobenius(_defect(a, components[0])) / a.shape[-1] ** 0.5

    def correct(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Components:
        """One Newton-Schulz step, W ← W (2 I - A W), which squares the defect I - A W."""
        del no
        (w,) = components
        return (w + w @ _defect(a, w),)

    def scale(self, components: Components, left: Tensor, right: Tensor) -> Components:
        """(D_L A D_R)^{-1} = D_R^H A^{-1} D_L^H."""
        (w,) = components
        return (right.conj()[..., :, None] * w * left.conj()[..., None, :],)

    def permute(self, components: Components, order: Tensor) -> Components:
        """Rows of A in another order are columns of the inverse in this order."""
        (w,) = components
        return (w.gather(-1, order[:, None, None, :].expand_as(w)),)

    def free_gains(self, no: Tensor | None) -> bool:
        """(D A)^{-1} = A^{-1} D^{-1} for rows of any gain."""
        del no
        return True

    def answer(
        self, components: Components, no: Tensor | float = 0.0, rows: Tensor | None = None
    ) -> InverseMatrix:
        del no
        (w,) = components
        return InverseMatrix(w if rows is None else w / rows[..., None, :])


def _check_square(num_rows: int, num_cols: int) -> None:
    if num_rows != num_cols:
        raise ValueError(
            f"Only square matrices have an inverse, not one of {num_rows} x {num_cols}."
        )


def _defect(a: Tensor, w: Tensor) -> Tensor:
    """I - A W."""
    return identity(w) - a @ w
