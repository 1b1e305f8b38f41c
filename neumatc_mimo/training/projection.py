"""Variable projection: readout and latent tensors in closed form for given sine units."""

from __future__ import annotations

import torch
from torch import Tensor


def project(
    hidden: Tensor, targets: Tensor, weights: Tensor, rank: int, ridge: float
) -> tuple[Tensor, Tensor]:
    r"""Best readout and latent tensor of rank r for given hidden units.

    Minimises :math:`\sum_i w_i \|h_i^T Z - y_i\|^2 + \lambda \|Z\|^2` over Z [width, n] and
    truncates Z to rank r in the metric of the fitted values (reduced-rank ridge regression),
    Z ≈ readout · latent. Normal equations by Cholesky, all in float64.

    :param hidden: h, [N, width], float64
    :param targets: y, [num_links, N, n], float64
    :param weights: w, [num_links, N], non-negative; 0 leaves a point out
    :param rank: r
    :param ridge: λ relative to the mean diagonal of the normal matrix

    :return: readout [num_links, width, r], latent [num_links, r, n]; φ = h^T readout is
        orthonormal over the weighted points up to the ridge
    """
    weighted = hidden.mT[None] * weights[:, None]  # [num_links, width, N]
    normal = weighted @ hidden
    diagonal = normal.diagonal(dim1=-2, dim2=-1)
    diagonal.add_(ridge * diagonal.mean(-1, keepdim=True))
    factor = torch.linalg.cholesky(normal)
    # L^T Z = L^{-1} H^T W y: its left singular vectors are those of the fitted values.
    image = torch.linalg.solve_triangular(factor, weighted @ targets, upper=False)
    rank = min(rank, image.shape[-2])
    vectors = torch.linalg.eigh(image @ image.mT).eigenvectors.flip(-1)[..., :rank]
    readout = torch.linalg.solve_triangular(factor.mT, vectors, upper=True)
    return readout, vectors.mT @ image
