"""The exponential of a square matrix."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from neumatc_mimo.operations.base import (
    Components,
    SimilarityOperation,
    check_square,
    frobenius,
    positive,
)
from neumatc_mimo.operations.registry import register


class Exponential(NamedTuple):
    """The matrix exponential.

    :param e: [..., n, n]
    """

    e: Tensor


@register
class MatrixExponential(SimilarityOperation):
    r"""Exponential of a square matrix, :math:`E = e^A = \sum_k A^k / k!`.

    The only component is ``e`` [n, n].

    No cheap equation between A and E alone defines E. E commutes with A, but so does every
    polynomial of A, the identity among them; :math:`E = (e^{A/2})^2` takes an exponential that
    saves one product of some ten; :math:`E Z = e^A Z` for a few vectors Z tells the error in the
    mean, but took as long as :math:`e^A` for n up to 256 (CPU, one thread). So the residual is the
    error itself: it computes :math:`e^A`. So a collocation point takes as long as a sample, and a
    certificate as long as the result. This is useful if it is made once, in training. There is no
    cheaper correction: :meth:`correct` returns its input.
    """

    name: ClassVar[str] = "matrix_exponential"
    answer_type: ClassVar[Any] = Exponential
    title: ClassVar[str] = "matrix exponential"
    component_names: ClassVar[tuple[str, ...]] = ("e",)
    noise_free: ClassVar[tuple[str, ...]] = ("e",)

    def component_shapes(self, num_rows: int, num_cols: int) -> tuple[tuple[int, ...], ...]:
        check_square(self.title, num_rows, num_cols)
        return ((num_rows, num_rows),)

    def exact(self, a: Tensor, no: Tensor | float = 0.0) -> Components:
        """:math:`e^A` of a [..., n, n] by scaling and squaring of Taylor polynomials.

        :raises ValueError: if the matrices are not square
        """
        del no
        check_square(self.title, *a.shape[-2:])
        return (torch.linalg.matrix_exp(a.contiguous()),)

    def residual(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Tensor:
        r""":math:`\lVert E - e^A \rVert_F / \lVert e^A \rVert_F`, the relative error."""
        (exact,) = self.exact(a, no)
        return frobenius(components[0] - exact) / positive(frobenius(exact))

    def _turned(self, components: Components, factor: Tensor) -> Components:
        """exp(D A D^H) = D e^A D^H."""
        (e,) = components
        return (factor[..., :, None] * e * factor.conj()[..., None, :],)
