"""The solution of linear systems with fixed right-hand sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from neumatc_mimo.operations.base import (
    Components,
    Operation,
    check_square,
    positive,
    underivable,
)
from neumatc_mimo.operations.registry import register
from neumatc_mimo.tensors import lu

# Of conjugate gradients in a correction: a few, so that it stays cheaper than a factorisation.
_STEPS = 8


class Solution(NamedTuple):
    """The solution.

    :param x: [..., n, k] with A X = B
    """

    x: Tensor


@register
class LinearSolve(Operation):
    r"""Solution :math:`X = A^{-1} B` for right-hand sides that do not depend on the parameter.

    The only component is ``x`` [n, k] (NeuMatC, Appendix H). It is smaller than the inverse by
    k / n, and often of lower rank along the parameter.

    :param b: B, [n, k], or [n] for one right-hand side: a tensor or nested lists
    :param imag: Imaginary part of B, likewise; a complex ``b`` brings its own

    :raises ValueError: if ``b`` is no matrix, or a column is zero or not finite
    """

    name: ClassVar[str] = "linear_solve"
    answer_type: ClassVar[Any] = Solution
    title: ClassVar[str] = "solution for fixed right-hand sides"
    component_names: ClassVar[tuple[str, ...]] = ("x",)
    noise_free: ClassVar[tuple[str, ...]] = ("x",)

    def __init__(
        self,
        b: Tensor | Sequence[float] | Sequence[Sequence[float]],
        imag: Tensor | Sequence[float] | Sequence[Sequence[float]] | None = None,
    ) -> None:
        value = _matrix(b)
        if imag is not None:
            part = _matrix(imag)
            if part.shape != value.shape:
                raise ValueError("Real and imaginary parts of right-hand sides differ in shape.")
            value = value + 1j * part
        norms = torch.linalg.vector_norm(value, dim=0)
        if not bool((torch.isfinite(norms) & (norms > 0)).all()):
            raise ValueError("A right-hand side is zero or not finite.")
        self.b = value

    def component_shapes(self, num_rows: int, num_cols: int) -> tuple[tuple[int, ...], ...]:
        self._check(num_rows, num_cols)
        return (tuple(self.b.shape),)

    def exact(self, a: Tensor, no: Tensor | float = 0.0) -> Components:
        """:math:`A^{-1} B` of a [..., n, n] by LU factorisation; NaN where A is singular.

        :raises ValueError: if the matrices are not square or B has another number of rows
        """
        del no
        self._check(*a.shape[-2:])
        b = self._right_hand_sides(a)
        return (lu.solution(a.to(b.dtype), b.expand(*a.shape[:-2], -1, -1)),)

    def residual(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Tensor:
        r"""Root mean square of :math:`\lVert A x_j - b_j \rVert / \lVert b_j \rVert` over j.

        A regular system has only one solution, so nothing else has to be proven.
        """
        del no
        (x,) = components
        b = self._right_hand_sides(x)
        defect = (a.to(b.dtype) @ x - b) / torch.linalg.vector_norm(b, dim=-2, keepdim=True)
        return torch.linalg.norm(defect, dim=(-2, -1)) / b.shape[-1] ** 0.5

    def correct(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Components:
        """A few steps of conjugate gradients on A^H A X = A^H B, each column by itself.

        In exact arithmetic the residual falls at every step, whatever A, by
        ((κ − 1)/(κ + 1)) a step at least with κ the condition number of A, up to a factor of two
        (CGLS; Björck, 1996, Section 7.4). Eight steps take 16 k n² multiplications, a
        factorisation n³/3; with k = 1 they are faster from n = 1000 or so (CPU, one thread).
        """
        del no
        (x,) = components
        b = self._right_hand_sides(x)
        a = a.to(b.dtype)
        adjoint = a.mH.resolve_conj()  # once, not at every step
        rest = b - a @ x
        gradient = adjoint @ rest
        direction, power = gradient, _power(gradient)
        for _ in range(_STEPS):
            image = a @ direction
            step = power / positive(_power(image))
            x, rest = x + step * direction, rest - step * image
            gradient = adjoint @ rest
            before, power = power, _power(gradient)
            direction = gradient + power / positive(before) * direction
        return (x,)

    def scale(self, components: Components, left: Tensor, right: Tensor) -> Components:
        """(c A D_R)^{-1} B = c* D_R^H A^{-1} B for |c| = 1; other factors of the rows would be
        those of B.
        """
        (x,) = components
        if not torch.allclose(left, left[..., :1].expand_as(left)):
            raise underivable(self.title, "D_L A D_R", "unless D_L is one factor for all rows")
        return ((left[..., :1] * right).conj()[..., :, None] * x,)

    def settings(self) -> dict[str, Any]:
        imag = self.b.imag.tolist() if self.b.is_complex() else None
        return {"name": self.name, "b": self.b.real.tolist(), "imag": imag}

    def _check(self, num_rows: int, num_cols: int) -> None:
        check_square(self.title, num_rows, num_cols)
        if len(self.b) != num_rows:
            raise ValueError(
                f"Right-hand sides of {len(self.b)} rows do not suit matrices of {num_rows}."
            )

    def _right_hand_sides(self, like: Tensor) -> Tensor:
        """B on the device of ``like`` and in its precision, complex where either is."""
        dtype = like.dtype.to_complex() if self.b.is_complex() else like.dtype
        return self.b.to(device=like.device, dtype=dtype)


def _matrix(b: Tensor | Sequence[float] | Sequence[Sequence[float]]) -> Tensor:
    """[n, k] float64 or complex128, whatever the precision of b: A decides on the result's."""
    value = b.detach().cpu() if isinstance(b, Tensor) else torch.from_numpy(np.asarray(b))
    value = value.to(torch.complex128 if value.is_complex() else torch.float64)
    if value.ndim == 1:
        value = value[:, None]
    if value.ndim != 2 or not value.numel():
        raise ValueError(f"Right-hand sides are [n, k], not {list(value.shape)}.")
    return value


def _power(x: Tensor) -> Tensor:
    """Squared norms of columns, [..., 1, k]."""
    return torch.linalg.vector_norm(x, dim=-2, keepdim=True).square()
