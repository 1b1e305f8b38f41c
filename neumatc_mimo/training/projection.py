"""Variable projection: readout and latent tensors in closed form for given units."""

from __future__ import annotations

import torch
from torch import Tensor


def project(
    hidden: Tensor, targets: Tensor, weights: Tensor, rank: int, penalty: Tensor
) -> tuple[Tensor | None, Tensor]:
    r"""Best readout and latent tensor of rank r for given units.

    Minimises :math:`\sum_i w_i \|h_i^T Z - y_i\|^2 + \lambda \, \mathrm{tr}(Z^T P Z)` over
    Z [width, n]. Where r is smaller than the width, Z is truncated to rank r in the metric of the
    fitted values (reduced-rank ridge regression), Z ≈ readout · latent. Normal equations by
    Cholesky, all in float64.

    :param hidden: h, [N, width], float64
    :param targets: y, [num_links, N, n], float64
    :param weights: w, [num_links, N], non-negative; 0 leaves a point out
    :param rank: r
    :param penalty: P, [width, width]; λ is the mean diagonal of the normal matrix

    :return: readout [num_links, width, r], with φ = h^T readout orthonormal over the weighted
        points up to the penalty, or None where r is the width; latent [num_links, r, n]
    """
    if bool((weights == weights[:1]).all()):
        weights = weights[:1]  # one factor for all links
    weighted = hidden.mT[None] * weights[:, None]  # [num_links or 1, width, N]
    normal = weighted @ hidden
    scale = normal.diagonal(dim1=-2, dim2=-1).mean(-1)
    factor = torch.linalg.cholesky(normal + scale[:, None, None] * penalty.to(normal))
    if rank >= hidden.shape[1]:
        return None, torch.cholesky_solve(weighted, factor) @ targets
    # L^T Z = L^{-1} H^T W y: its left singular vectors are those of the fitted values.
    image = torch.linalg.solve_triangular(factor, weighted @ targets, upper=False)
    vectors = torch.linalg.eigh(image @ image.mT).eigenvectors.flip(-1)[..., :rank]
    readout = torch.linalg.solve_triangular(factor.mT, vectors, upper=True)
    return readout, vectors.mT @ image
