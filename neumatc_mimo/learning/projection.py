"""Variable projection: readout and latent tensors in closed form for given functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from neumatc_mimo.learning.banded import bandwidth, solve_banded

# Below this share of values that are not zero, products with a sparse matrix are faster.
_SPARSE = 0.05


@dataclass(frozen=True)
class Design:
    """Values H of functions at points, as products need them.

    :param hidden: H, [N, width], float64
    :param forward: the same, sparse where most of it is zero
    :param backward: its transpose likewise
    """

    hidden: Tensor
    forward: Tensor
    backward: Tensor

    @classmethod
    def of(cls, hidden: Tensor) -> Design:
        """From H [N, width]."""
        if (hidden != 0).double().mean() < _SPARSE:
            return cls(hidden, hidden.to_sparse(), hidden.mT.to_sparse())
        return cls(hidden, hidden, hidden.mT)

    def fitted(self, coefficients: Tensor) -> Tensor:
        """H Z for Z [num_links, width, n]."""
        return _times(self.forward, coefficients)

    def against(self, values: Tensor) -> Tensor:
        """H^T Y for Y [num_links, N, n]."""
        return _times(self.backward, values)


def project(
    design: Design, targets: Tensor, weights: Tensor, rank: int, penalty: Tensor
) -> tuple[Tensor | None, Tensor]:
    r"""Best readout and latent tensor of rank r for given functions.

    Minimises :math:`\sum_i w_i \|h_i^T Z - y_i\|^2 + \lambda \, \mathrm{tr}(Z^T P Z)` over
    Z [width, n]. Where r is smaller than the width, Z is truncated to rank r in the metric of the
    fitted values (reduced-rank ridge regression), Z ≈ readout · latent. Normal equations by
    Cholesky, all in float64; those of local functions are banded.

    :param design: h of the N points
    :param targets: y, [num_links, N, n], float64
    :param weights: w, [num_links, N], non-negative; 0 leaves a point out
    :param rank: r
    :param penalty: P, [width, width]; λ is the mean diagonal of the normal matrix

    :return: readout [num_links, width, r], with φ = h^T readout orthonormal over the weighted
        points up to the penalty, or None where r is the width; latent [num_links, r, n]
    """
    right = design.against(weights[..., None] * targets)
    if bool((weights == weights[:1]).all()):
        weights = weights[:1]  # one factor for all links
    normal = design.against(weights[..., None] * design.hidden)
    scale = normal.diagonal(dim1=-2, dim2=-1).mean(-1)
    normal = normal + scale[:, None, None] * penalty.to(normal)
    if rank >= normal.shape[-1]:
        width = bandwidth(normal)
        if width < normal.shape[-1] // 4:
            return None, solve_banded(normal, right, width)
        return None, torch.cholesky_solve(right, torch.linalg.cholesky(normal))
    factor = torch.linalg.cholesky(normal)
    # L^T Z = L^{-1} H^T W y: its left singular vectors are those of the fitted values.
    image = torch.linalg.solve_triangular(factor, right, upper=False)
    vectors = torch.linalg.eigh(image @ image.mT).eigenvectors.flip(-1)[..., :rank]
    readout = torch.linalg.solve_triangular(factor.mT, vectors, upper=True)
    return readout, vectors.mT @ image


def project_latents(basis: Tensor, targets: Sequence[Tensor], ridge: float) -> list[Tensor]:
    r"""Latent tensors that suit a trunk best, by Cholesky of the normal equations in float64.

    .. math:: C = \arg\min_C \tfrac{1}{S} \lVert \Phi C - Y \rVert^2 + \varrho \lVert C \rVert^2

    :param basis: Φ, [S, rank]
    :param targets: Y, [S, size] for every component, in units of its scale
    :param ridge: ϱ

    :return: C, [rank, size] float32 for every component, differentiable
    """
    phi = basis.double()
    normal = phi.mT @ phi / len(phi)
    normal = normal + ridge * torch.eye(len(normal), dtype=normal.dtype, device=normal.device)
    moments = phi.mT @ torch.cat(list(targets), dim=-1).double() / len(phi)
    latents = torch.cholesky_solve(moments, torch.linalg.cholesky(normal)).float()
    return list(latents.split([target.shape[-1] for target in targets], dim=-1))


def _times(matrix: Tensor, right: Tensor) -> Tensor:
    """A dense or sparse matrix times each of a batch."""
    if matrix.is_sparse:
        return torch.stack([matrix @ one for one in right])
    return matrix @ right
