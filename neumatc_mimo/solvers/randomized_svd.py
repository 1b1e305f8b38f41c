"""Randomised SVD: the strongest triplets from the range of A times random vectors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neumatc_mimo.operations.base import Components, Operation
from neumatc_mimo.solvers.approximating import Approximating
from neumatc_mimo.solvers.approximation import Approximation
from neumatc_mimo.solvers.base import Channels
from neumatc_mimo.solvers.checks import check_positive, num_triplets
from neumatc_mimo.solvers.registry import register


@register(name="randomized_svd")
@dataclass(frozen=True)
class RandomizedSVD(Approximating):
    r"""Randomised SVD of every point by itself (Halko, Martinsson, Tropp, SIAM Rev. 53(2), 2011).

    .. math:: Y = (A A^H)^q A \Omega, \qquad Y = Q R, \qquad
              Q^H A = \tilde U S V^H, \qquad U = Q \tilde U,

    with Ω [n, L + oversampling] Gaussian, drawn again at every grid point. It is exact where L +
    oversampling reaches the rank of A. Otherwise the error follows the ratio of singular values
    left out to those taken, to the power 2 q + 1: many MIMO channels are too small and too flat for
    it. The small SVD is that of :math:`Q^H A A^H Q`, as in the exact solver; the bases between
    powers are made orthonormal.

    :param oversampling: Columns of Ω beyond the number L of triplets
    :param power_iterations: q
    :param seed: Of Ω

    :raises ValueError: in ``start``, if the operation's components are no triplets
    """

    oversampling: int = 2
    power_iterations: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        check_positive(self, oversampling=self.oversampling + 1)
        check_positive(self, power_iterations=self.power_iterations + 1)

    def _approximate(self, operation: Operation, channels: Channels) -> Approximation:
        num_streams = num_triplets(self, operation, channels)
        _, num_points, m, n = channels.a.shape
        omega = self._omega(channels.a, num_points, min(num_streams + self.oversampling, m, n))

        def approximation(subcarriers: slice) -> Components:
            a = channels.a[:, subcarriers].contiguous()
            return self._triplets(a, omega[subcarriers], num_streams)

        return approximation

    def _omega(self, a: Tensor, num_points: int, num_columns: int) -> Tensor:
        """Ω at every grid point, [num_points, n, num_columns]; items share it."""
        # Drawn on the CPU in double precision: the same numbers everywhere.
        wide = torch.promote_types(a.dtype, torch.float64)
        generator = torch.Generator().manual_seed(self.seed)
        size = (num_points, a.shape[-1], num_columns)
        return torch.randn(size, dtype=wide, generator=generator).to(a)

    def _triplets(self, a: Tensor, omega: Tensor, num_streams: int) -> Components:
        basis, _ = torch.linalg.qr(a @ omega)
        for _ in range(self.power_iterations):
            basis, _ = torch.linalg.qr(a @ (a.mH @ basis))
        projected = a.mH @ basis
        _, vectors = torch.linalg.eigh(projected.mH @ projected)
        u = basis @ vectors[..., -num_streams:].flip(-1)
        image = a.mH @ u
        s = torch.linalg.vector_norm(image, dim=-2)
        return u, s, image / s.clamp_min(torch.finfo(s.dtype).tiny)[..., None, :]
