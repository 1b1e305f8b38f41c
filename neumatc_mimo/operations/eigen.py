"""Eigenvalues and right eigenvectors of any square matrix, in one gauge along the parameter."""

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
    together,
)
from neumatc_mimo.operations.registry import register
from neumatc_mimo.operations.tracking import first_order, matched, normalised, tracked, turned, unit
from neumatc_mimo.tensors import lu


class Eigenpairs(NamedTuple):
    """All eigenpairs, A v = λ v, a branch in each column.

    :param values: [..., n] complex
    :param vectors: [..., n, n] complex, columns of unit norm
    """

    values: Tensor
    vectors: Tensor


class EigenpairOperation(SimilarityOperation):
    """Components ``values`` [k] and ``vectors`` [n, k], tracked along the parameter by vectors."""

    title: ClassVar[str] = "eigendecomposition"
    component_names: ClassVar[tuple[str, ...]] = ("values", "vectors")
    noise_free: ClassVar[tuple[str, ...]] = ("values", "vectors")

    def align(self, components: Components) -> Components:
        values, v = components
        order, phase = tracked(v)
        return values.gather(-1, order), turned(v, order, phase)

    def align_to(self, components: Components, reference: Components) -> Components:
        values, v = components
        order, phase = matched(reference[1], v)
        return values.gather(-1, order), turned(v, order, phase)

    def _turned(self, components: Components, factor: Tensor) -> Components:
        """D A D^H = (D V) Λ (D V)^{-1}, and D V has columns of the same norms."""
        values, v = components
        return values, factor[..., :, None] * v


@register
class Eigen(EigenpairOperation):
    r"""Eigendecomposition :math:`A V = V \Lambda` of a square matrix that has n eigenvectors.

    Components are ``values`` [n] and ``vectors`` [n, n] with columns of unit norm, complex for a
    real matrix too. Branches are tracked along the parameter in the gauge of
    :func:`~neumatc_mimo.operations.tracking.tracked`, the largest eigenvalue in magnitude first at
    the centre sample. They are continuous only where they stay apart: where eigenvalues meet,
    vectors may coincide, and two real branches go on as a complex pair (Kato, 1966, Chapter II).
    Unlike singular values, eigenvalues are answered by branch, since a complex pair is equal in
    strength.
    """

    name: ClassVar[str] = "eigen"
    answer_type: ClassVar[Any] = Eigenpairs

    def component_shapes(self, num_rows: int, num_cols: int) -> tuple[tuple[int, ...], ...]:
        check_square(self.title, num_rows, num_cols)
        return (num_rows,), (num_rows, num_rows)

    def exact(self, a: Tensor, no: Tensor | float = 0.0) -> Components:
        """Eigenpairs of a [..., n, n] by the QR algorithm.

        :raises ValueError: if the matrices are not square
        """
        del no
        check_square(self.title, *a.shape[-2:])
        values, v = torch.linalg.eig(a)
        # Stable: of a complex pair, equal in magnitude, the one above the real axis comes first.
        order = values.abs().argsort(dim=-1, descending=True, stable=True)
        return values.gather(-1, order), v.gather(-1, order[..., None, :].expand_as(v))

    def residual(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Tensor:
        r""":math:`\lVert A V - V \Lambda \rVert_F / \lVert A \rVert_F` and the distances of
        :math:`\lVert v_k \rVert^2` from 1, together.

        It does not detect an eigenpair that occurs twice. The certificate does.
        """
        del no
        v = components[1]
        power = (v * v.conj()).real.sum(-2)
        return together(
            frobenius(_defect(a, components)) / positive(frobenius(a)),
            torch.linalg.vector_norm(power - 1, dim=-1),
        )

    def range_error(self, a: Tensor, components: Components) -> Tensor:
        r"""The backward error.

        Components are the eigendecomposition of A − E with :math:`E = (A V - V \Lambda) V^{-1}`;
        the range error is :math:`\lVert E \rVert_F / \lVert A \rVert_F` plus the rounding of the
        residual, amplified alike. The second term refuses linearly dependent vectors, such as an
        eigenpair that occurs twice, whose residual may be zero.
        """
        inverse = lu.inverse(components[1])
        backward = frobenius(_defect(a, components) @ inverse) / positive(frobenius(a))
        return backward + torch.finfo(backward.dtype).eps * frobenius(inverse)

    def correct(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Components:
        r"""One step of perturbation theory, in the gauge of the input.

        With :math:`S = V^{-1} A V` the eigenvalues are :math:`S_{jj}` and the vectors V (I + E),
        :math:`E_{ij} = S_{ij} / (\lambda_j - \lambda_i)`, up to the square of V's error (Golub and
        Van Loan, 2013, Section 7.2).
        """
        del no
        _, v = components
        s = lu.inverse(v) @ (a.to(v.dtype) @ v)
        values = s.diagonal(dim1=-2, dim2=-1)
        better, _ = normalised(v + v @ first_order(s, values))
        # Columns that are not orthogonal turn by their neighbours' shares.
        overlap = (v.conj() * better).sum(-2)
        return values, better * unit(overlap.conj())[..., None, :]


def _defect(a: Tensor, components: Components) -> Tensor:
    """A V − V Λ."""
    values, v = components
    return a.to(v.dtype) @ v - v * values[..., None, :]
