"""The pseudo-inverse at all noise powers, as models store it: without noise, and a Gram matrix."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from neumatc_mimo.operations.base import Components, Operation, frobenius, identity


class FilterAndGram(Operation):
    r"""What gives :math:`(A^+, (A A^H + \sigma^2 I)^{-1})` at any noise power by a step of m x m.

    - ``w`` [n, m] complex, :math:`A^+`;
    - ``gram`` [m, m] complex, :math:`G = A A^H`, Hermitian.

    The step is :math:`X = (G + \sigma^2 I)^{-1}`. G is made of sums of waves, as A is, and has none
    of the poles that fades make in its inverse: wherever few functions follow :math:`A^+` they
    follow G to rounding. From an inverse without noise, X would take its errors times
    :math:`\sigma^2 / \lambda_\text{min}`.

    :param operation: the pseudo-inverse
    """

    name: ClassVar[str] = "filter_and_gram"
    title: ClassVar[str] = "filter and Gram matrix"
    component_names: ClassVar[tuple[str, ...]] = ("w", "gram")
    follows_rows: ClassVar[bool] = True
    hermitian: ClassVar[tuple[str, ...]] = ("gram",)
    noise_free: ClassVar[tuple[str, ...]] = ("w", "gram")
    applied: ClassVar[str] = "w"
    column_components: ClassVar[tuple[str, ...]] = ("w",)

    def __init__(self, operation: Operation) -> None:
        self._operation = operation

    def component_shapes(self, num_rows: int, num_cols: int) -> tuple[tuple[int, ...], ...]:
        return self._operation.component_shapes(num_rows, num_cols)

    def exact(self, a: Tensor, no: Tensor | float = 0.0) -> Components:
        del no
        w, _ = self._operation.exact(a)
        return w, _gram(a)

    def residual(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Tensor:
        r"""‖I - A W‖_F / √m, plus the relative distances of W from the range of A^H and of G from
        :math:`A A^H`.
        """
        del no
        w, gram = components
        right = frobenius(identity(gram) - a @ w) / a.shape[-2] ** 0.5
        outside = frobenius(a.mH @ (w.mH @ w) - w) / frobenius(w)
        own = _gram(a)
        return right + outside + frobenius(gram - own) / frobenius(own)

    def correct(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Components:
        """A step of the pseudo-inverse, and G as it is."""
        del no
        w, _ = self._operation.correct(a, components, 0.0)
        return w, _gram(a).expand(*w.shape[:-2], -1, -1)


def _gram(a: Tensor) -> Tensor:
    return a @ a.conj().resolve_conj().mT


__all__ = ["FilterAndGram"]
