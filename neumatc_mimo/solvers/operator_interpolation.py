"""Interpolation of the inverse operator: combinations of exact inverses that fit A best."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neumatc_mimo.operations.base import Components, Operation, Tolerance
from neumatc_mimo.solvers.approximation import Approximation
from neumatc_mimo.solvers.base import Answers, Channels
from neumatc_mimo.solvers.checks import check_positive
from neumatc_mimo.solvers.inverting import SquareInverses
from neumatc_mimo.solvers.registry import register
from neumatc_mimo.solvers.sampled import Sampled
from neumatc_mimo.tensors import lu


@register(name="operator_interpolation")
@dataclass(frozen=True)
class OperatorInterpolation(Sampled):
    r"""Interpolation of inverse operators (Zahm and Nouy, SIAM J. Sci. Comput. 38(2), 2016).

    With the exact inverses :math:`P_i = B(p_i)^{-1}` at S points

    .. math:: B(p)^{-1} \approx \sum_i \lambda_i(p) P_i, \qquad
              \lambda(p) = \arg\min_\lambda
              \Bigl\lVert \bigl(I - B(p) \sum_i \lambda_i P_i\bigr) \Theta \Bigr\rVert_F,

    a least-squares problem of S unknowns at every p. Θ [m, K] estimates the Frobenius norm: its
    entries are ±1 / √K at random (Rademacher), the same at all p. The result is exact where
    :math:`B(p)^{-1}` lies in the span of the P_i and m K >= S. The points are evenly spread; the
    authors also choose them greedily, one set for one family, where ours serves all items.

    :param num_samples: S, evenly spread, both ends included
    :param sketch: K; None takes Θ = I, the norm itself
    :param seed: Of Θ

    :raises ValueError: in ``start``, if the operation's components are no inverses
    """

    sketch: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sketch is not None:
            check_positive(self, sketch=self.sketch)

    def start(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
    ) -> Answers:
        SquareInverses(self, operation)
        return super().start(operation, channels, certify, tolerance)

    def _sampled(self, operation: Operation) -> Operation:
        # Inverses, at the noise power that is given.
        return operation

    def _interpolate(
        self, operation: Operation, channels: Channels, points: Tensor, samples: Components
    ) -> Approximation:
        square = SquareInverses(self, operation)
        exact = square.inverses(
            samples, channels.noise(subcarriers=points)
        )  # [1 or 2, items, S, m, m]
        theta = self._theta(exact)
        sketched = exact @ theta

        def approximation(subcarriers: slice) -> Components:
            a = channels.a[:, subcarriers].contiguous()
            b = square.matrices(a, channels.noise(subcarriers=subcarriers))
            # [1 or 2, items, tile, S, m K]: column i of the least-squares problem is B P_i Θ.
            images = (b[:, :, :, None] @ sketched[:, :, None]).flatten(-2)
            weights = _least_squares(images, theta.flatten())
            flat = weights @ exact.flatten(-2)
            return square.components(a, flat.unflatten(-1, exact.shape[-2:]))

        return approximation

    def _theta(self, like: Tensor) -> Tensor:
        """Θ [m, K] of the type of ``like`` [..., m, m]."""
        num_rows = like.shape[-1]
        if self.sketch is None:
            return torch.eye(num_rows, dtype=like.dtype, device=like.device)
        generator = torch.Generator().manual_seed(self.seed)
        signs = 2 * torch.randint(2, (num_rows, self.sketch), generator=generator) - 1
        return signs.to(like) / self.sketch**0.5


def _least_squares(images: Tensor, target: Tensor) -> Tensor:
    """Coefficients [..., S] of the rows of images [..., S, q] that come closest to a target [q].

    Neighbouring inverses are nearly the same: normal equations in double precision, with a ridge at
    the level of rounding that takes the smallest coefficients among all that fit alike.
    """
    wide = torch.promote_types(images.dtype, torch.float64)
    rows = images.to(wide)
    gram = rows.conj() @ rows.mT
    right = rows.conj() @ target.to(wide)[:, None]
    scale = gram.diagonal(dim1=-2, dim2=-1).real.sum(-1)
    level = max(torch.finfo(images.dtype).eps ** 2, torch.finfo(wide).eps)
    ridge = torch.diag_embed((level * scale)[..., None].expand(gram.shape[:-1]))
    weights = lu.solution(gram + ridge, right)
    return weights[..., 0].to(images.dtype)
