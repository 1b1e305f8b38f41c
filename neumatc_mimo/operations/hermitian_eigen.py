"""Eigenvalues and eigenvectors of a Hermitian matrix, in one gauge along the parameter."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from neumatc_mimo.operations.base import (
    Components,
    check_no_rows,
    check_square,
    frobenius,
    identity,
    positive,
    together,
)
from neumatc_mimo.operations.dominance import excess, singular_bound
from neumatc_mimo.operations.eigen import EigenpairOperation
from neumatc_mimo.operations.registry import register
from neumatc_mimo.operations.tracking import column_norms, first_order, orthonormal


class HermitianEigenpairs(NamedTuple):
    """Eigenpairs of a Hermitian matrix, A v = λ v, the largest in magnitude first.

    :param values: [..., k] real
    :param vectors: [..., n, k] orthonormal columns
    """

    values: Tensor
    vectors: Tensor


@register
class HermitianEigen(EigenpairOperation):
    r"""Eigenpairs of a Hermitian matrix, :math:`A V = V \Lambda` with :math:`V^H V = I`.

    The strongest are those largest in magnitude. Branches are tracked along the parameter in the
    gauge of :func:`~neumatc_mimo.operations.tracking.tracked`, strongest first at the centre
    sample; a real symmetric matrix has real vectors, whose signs are tracked. Components are
    ``values`` [k] and ``vectors`` [n, k].

    :param num_pairs: Number k of eigenpairs, the strongest; None for all n

    :raises ValueError: if ``num_pairs`` is below one
    """

    name: ClassVar[str] = "hermitian_eigen"

    def __init__(self, num_pairs: int | None = None) -> None:
        if num_pairs is not None and num_pairs < 1:
            raise ValueError(f"num_pairs is {num_pairs}, at least one is needed.")
        self.num_pairs = num_pairs

    def component_shapes(self, num_rows: int, num_cols: int) -> tuple[tuple[int, ...], ...]:
        check_square(self.title, num_rows, num_cols)
        num = num_rows if self.num_pairs is None else self.num_pairs
        if num > num_rows:
            raise ValueError(f"A matrix of {num_rows} rows has no {num} eigenpairs.")
        return (num,), (num_rows, num)

    def exact(self, a: Tensor, no: Tensor | float = 0.0) -> Components:
        """Eigenpairs of the Hermitian matrix with the lower triangle of a [..., n, n], by ``eigh``.

        :raises ValueError: if the matrices are not square or have fewer pairs than required
        """
        del no
        ((num,), _) = self.component_shapes(*a.shape[-2:])
        values, vectors = torch.linalg.eigh(a)
        strongest = values.abs().argsort(dim=-1, descending=True, stable=True)[..., :num]
        return _taken(values, vectors, strongest)

    def residual(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Tensor:
        r""":math:`\lVert A V - V \Lambda \rVert_F / \lVert A \rVert_F` and
        :math:`\lVert V^H V - I \rVert_F`, together.
        """
        del no
        values, v = components
        return together(
            frobenius(a @ v - v * values[..., None, :]) / positive(frobenius(a)),
            frobenius(v.mH @ v - identity(v)),
        )

    def range_error(self, a: Tensor, components: Components) -> Tensor:
        r"""By how much an eigenvalue that is left out is stronger than one that is kept, relative.

        As for the SVD :math:`\lVert (I - V V^H) A \rVert_2`, which bounds
        :math:`\lVert A x \rVert` for all unit x orthogonal to V, is proven to exceed the weakest
        :math:`\lVert A v_k \rVert` by no more than this, but for rounding. n orthonormal vectors
        leave nothing out.
        """
        _, v = components
        if v.shape[-1] == v.shape[-2]:
            return torch.zeros_like(components[0][..., 0])
        weakest = column_norms(a @ v).amin(-1)
        outside = singular_bound(a - v @ (v.mH @ a), weakest)
        return excess(outside, weakest, frobenius(a))

    def correct(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Components:
        """A step of refinement by products alone for all pairs, of Rayleigh-Ritz for some.

        The first converges quadratically as long as eigenvalues lie farther apart than the error
        of V, the second as the ratio of the strongest eigenvalue left out to the weakest taken.
        """
        del no
        _, v = components
        if v.shape[-1] == v.shape[-2]:
            return _refined(a, v)
        basis = orthonormal(a @ v)
        values, rotation = torch.linalg.eigh(basis.mH @ a @ basis)
        return self.align_to((values, basis @ rotation), components)

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, "num_pairs": self.num_pairs}

    def answer(
        self, components: Components, no: Tensor | float = 0.0, rows: Tensor | None = None
    ) -> HermitianEigenpairs:
        """The pairs strongest first at every matrix, whatever branch they belong to.

        Where two branches nearly cross, it depends on the spacing of the samples which one
        continues which. The order by strength does not depend on it.
        """
        del no
        check_no_rows(self.title, rows)
        values, v = components
        order = values.abs().argsort(dim=-1, descending=True, stable=True)
        return HermitianEigenpairs(*_taken(values, v, order))


def _taken(values: Tensor, v: Tensor, order: Tensor) -> Components:
    index = order[..., None, :].expand(*v.shape[:-1], order.shape[-1])
    return values.gather(-1, order), v.gather(-1, index)


def _refined(a: Tensor, v: Tensor) -> Components:
    """One step V (I + E) towards all eigenvectors (Ogita and Aishima, 2018, Algorithm 1).

    With S = V^H A V and R = I − V^H V, E solves E + E^H = R and E Λ − Λ E = S − Λ + R Λ to first
    order off the diagonal. Both halves of it are kept apart: R / 2, and an anti-Hermitian rest
    which, however much rounding there is between close eigenvalues, leaves V orthogonal.
    """
    s = v.mH @ (a @ v)
    r = identity(v) - v.mH @ v
    values = s.diagonal(dim1=-2, dim2=-1).real
    values = values / positive(1 - r.diagonal(dim1=-2, dim2=-1).real)
    mean = (values[..., None, :] + values[..., :, None]) / 2
    step = r / 2 + first_order((s + s.mH) / 2 + mean * r, values)
    return values, v + v @ step
