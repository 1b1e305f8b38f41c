"""Banded systems against dense ones, and the projection that uses them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neumatc_mimo.learning.banded import bandwidth, solve_banded
from neumatc_mimo.learning.projection import Design, project
from neumatc_mimo.mapping.basis import SplineBasis


def _matrices(num: int, width: int, count: int = 2) -> torch.Tensor:
    """Positive definite ones of a band."""
    generator = torch.Generator().manual_seed(num + width)
    lower = torch.randn(count, num, num, dtype=torch.float64, generator=generator)
    lower = lower.tril().triu(-width)
    lower.diagonal(dim1=-2, dim2=-1).abs_().add_(width + 1.0)
    return lower @ lower.mT


@pytest.mark.parametrize("num, width", [(1, 0), (5, 2), (32, 31), (33, 3), (100, 40), (257, 9)])
def test_banded_systems_are_solved(num: int, width: int) -> None:
    a = _matrices(num, width)
    assert bandwidth(a) == width
    right = torch.randn(2, num, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = np.linalg.solve(a.numpy(), right.numpy())
    np.testing.assert_allclose(solve_banded(a, right, width), expected, rtol=1e-9, atol=1e-12)


def test_a_matrix_that_is_not_definite_is_refused() -> None:
    with pytest.raises(torch.linalg.LinAlgError):
        solve_banded(-_matrices(40, 3), torch.ones(2, 40, 1, dtype=torch.float64), 3)


@pytest.mark.parametrize("share", [1.0, 0.9])
def test_sparse_designs_project_like_dense_ones(share: float) -> None:
    basis = SplineBasis(200, 3)
    x = torch.linspace(-1, 1, 400, dtype=torch.float64)
    hidden = basis.values(x)
    sparse, dense = Design.of(hidden), Design(hidden, hidden, hidden.mT)
    assert sparse.forward.is_sparse
    generator = torch.Generator().manual_seed(2)
    targets = torch.randn(3, 400, 5, dtype=torch.float64, generator=generator)
    weights = (torch.rand(3, 400, generator=generator) < share).double()
    latents = []
    for design in (sparse, dense):
        readout, latent = project(design, targets, weights, 200, basis.penalty())
        assert readout is None
        latents.append(latent)
    torch.testing.assert_close(*latents)
    torch.testing.assert_close(sparse.fitted(latents[0]), dense.fitted(latents[0]))
    # The conditions of the minimum themselves.
    (latent, _), lam = latents, weights[..., None]
    normal = hidden.mT @ (lam * hidden)
    scale = normal.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None]
    gradient = hidden.mT @ (lam * (hidden @ latent - targets)) + scale * basis.penalty() @ latent
    assert gradient.abs().max() < 1e-9 * (hidden.mT @ targets).abs().max()
