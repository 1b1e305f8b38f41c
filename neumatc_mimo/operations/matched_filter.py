"""Conjugate beamforming."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from neumatc_mimo.operations.base import Components, Operation, frobenius
from neumatc_mimo.operations.precoding import Precoding
from neumatc_mimo.operations.tracking import normalised, unit


class MatchedFilter(Operation):
    r"""Precoder V [n, m] of the rows :math:`a_k` of A [m, n] by conjugate beamforming, or
    maximum-ratio transmission,

    .. math:: v_k = a_k^{\mathsf{H}} / \lVert a_k \rVert ,

    columns of unit norm, and zero for a row of zeros. It takes less time than a query, so no
    scenario file trains it.
    """

    name: ClassVar[str] = "matched_filter"
    title: ClassVar[str] = "matched filter"
    component_names: ClassVar[tuple[str, ...]] = ("v",)
    noise_free: ClassVar[tuple[str, ...]] = ("v",)
    follows_rows: ClassVar[bool] = True
    answer_type: ClassVar[Any] = Precoding

    def component_shapes(self, num_rows: int, num_cols: int) -> tuple[tuple[int, ...], ...]:
        return ((num_cols, num_rows),)

    def exact(self, a: Tensor, no: Tensor | float = 0.0) -> Components:
        del no
        # In the unit of the largest entry of a row: squares of weak ones vanish.
        parts = torch.view_as_real(a.resolve_conj()) if a.is_complex() else a[..., None]
        size = parts.detach().abs().amax((-2, -1))
        v, _ = normalised((a / torch.where(size > 0, size, 1.0)[..., None]).mH)
        return (v,)

    def residual(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Tensor:
        """Distance from the exact result over its norm."""
        (v,), (exact,) = components, self.exact(a, no)
        size = frobenius(exact)
        return frobenius(v - exact) / torch.where(size > 0, size, 1.0)

    def scale(self, components: Components, left: Tensor, right: Tensor) -> Components:
        (v,) = components
        return (right.conj()[..., :, None] * v * left.conj()[..., None, :],)

    def permute(self, components: Components, order: Tensor) -> Components:
        (v,) = components
        return (v.gather(-1, order[:, None, None, :].expand_as(v)),)

    def free_gains(self, no: Tensor | None) -> bool:
        del no
        return True

    def answer(
        self, components: Components, no: Tensor | float = 0.0, rows: Tensor | None = None
    ) -> Precoding:
        del no
        (v,) = components
        return Precoding(v if rows is None else v * unit(rows).conj()[..., None, :])
