"""Projections that a fit makes one after the other, with kernels and without."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from neumatc_mimo.kernels.lanes import local
from neumatc_mimo.learning.projection import Design, project
from neumatc_mimo.learning.projector import Projected, projector
from neumatc_mimo.mapping.basis import Basis, SineBasis, SplineBasis

needs_kernels = pytest.mark.skipif(not local.solves(), reason="no kernels")
POINTS = 400


def drawn(columns: int, share: float) -> tuple[Tensor, Tensor]:
    """Targets and weights of three links; what has no weight is no number."""
    generator = torch.Generator().manual_seed(columns)
    targets = torch.randn(3, POINTS, columns, generator=generator)
    weights = (torch.rand(3, POINTS, generator=generator) < share).double()
    return targets, weights


def expected(basis: Basis, rank: int, targets: Tensor, weights: Tensor) -> Projected:
    """In double precision, by dense matrices."""
    hidden = basis.values(torch.linspace(-1, 1, POINTS, dtype=torch.float64))
    design = Design(hidden, hidden, hidden.mT)
    readout, latent = project(design, targets.double(), weights, rank, basis.penalty())
    coefficients = latent if readout is None else readout @ latent
    return Projected(readout, latent, hidden @ coefficients)


@pytest.mark.parametrize("share", [1.0, 0.9, 0.4])
@pytest.mark.parametrize("columns", [1, 32, 77])
@pytest.mark.parametrize("basis", [SplineBasis(200), SplineBasis(60, 3), SplineBasis(9, 1)])
def test_projections_are_those_of_dense_matrices(
    basis: SplineBasis, columns: int, share: float
) -> None:
    targets, weights = drawn(columns, share)
    x = torch.linspace(-1, 1, POINTS, dtype=torch.float64)
    found = projector(basis, x, basis.width)(targets, weights)
    wanted = expected(basis, basis.width, targets, weights)
    assert found.readout is None
    for mine, theirs in zip(found[1:], wanted[1:], strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("basis", [SplineBasis(60), SineBasis(40)])
def test_a_rank_below_the_width_has_a_readout(basis: Basis) -> None:
    targets, weights = drawn(12, 1.0)
    x = torch.linspace(-1, 1, POINTS, dtype=torch.float64)
    found = projector(basis, x, 6)(targets, weights)
    assert found.readout is not None and found.readout.shape == (3, basis.width, 6)
    wanted = expected(basis, 6, targets, weights)
    torch.testing.assert_close(found.fitted.double(), wanted.fitted, rtol=1e-5, atol=1e-5)


@needs_kernels
def test_targets_without_weight_are_not_read() -> None:
    basis = SplineBasis(60)
    targets, weights = drawn(40, 0.7)
    project_rows = projector(basis, torch.linspace(-1, 1, POINTS, dtype=torch.float64), basis.width)
    clean = project_rows(targets, weights)
    dirty = project_rows(targets.masked_fill(weights[..., None] == 0, torch.nan), weights)
    assert torch.equal(clean.latent, dirty.latent) and torch.equal(clean.fitted, dirty.fitted)


def test_too_few_points_are_refused() -> None:
    basis = SplineBasis(60)
    project_rows = projector(basis, torch.linspace(-1, 1, POINTS, dtype=torch.float64), basis.width)
    with pytest.raises(torch.linalg.LinAlgError):
        project_rows(torch.ones(1, POINTS, 1), -torch.ones(1, POINTS, dtype=torch.float64))
