"""Randomised SVD of a parametric matrix: one random projection shared along the parameter."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from neumatc_mimo.solvers.randomized_svd import RandomizedSVD
from neumatc_mimo.solvers.registry import register


@register(name="shared_projection_svd")
@dataclass(frozen=True)
class SharedProjectionSVD(RandomizedSVD):
    r"""Randomised SVD with a constant projection (Kressner and Lam, Adv. Comput. Math. 50, 2024).

    .. math:: A(p) \approx Q(p) Q(p)^H A(p), \qquad (A(p) A(p)^H)^q A(p) \Omega = Q(p) R(p),

    as in :class:`~neumatc_mimo.solvers.randomized_svd.RandomizedSVD`, but with the same Gaussian Ω
    at every p: the result is as smooth along p as A is, and Ω is drawn once. (Where A is a short
    sum of constant matrices with coefficients that depend on p, as it is in the paper but not here,
    the products with Ω are also shared.)

    :param oversampling: Columns of Ω beyond the number L of triplets
    :param power_iterations: q, none in the paper
    :param seed: Of Ω
    """

    power_iterations: int = 0

    def _omega(self, a: Tensor, num_points: int, num_columns: int) -> Tensor:
        return super()._omega(a, 1, num_columns).expand(num_points, -1, -1)
