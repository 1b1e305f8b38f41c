"""Inverses of many small positive definite matrices."""

from __future__ import annotations

import pytest
import torch

from neumatc_mimo.operations.definite_inverse import definite_inverse


def gram(*batch: int, m: int, dtype: torch.dtype, excess: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(m)
    a = torch.randn(*batch, m, m + excess, dtype=dtype, generator=generator)
    return a @ a.mH


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
@pytest.mark.parametrize("m", [1, 2, 8, 16, 17])
def test_equals_the_library(m: int, dtype: torch.dtype) -> None:
    a = gram(3, 700, m=m, dtype=dtype)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    expected = torch.linalg.inv(a.to(wide))
    for given in (a, a[:, :5]):  # by elimination where m is small, by Cholesky
        found = definite_inverse(given)
        assert found.dtype == dtype and found.shape == given.shape
        error = torch.linalg.norm(found - expected[:, : given.shape[1]], dim=(-2, -1))
        scale = torch.linalg.cond(given.to(wide)) * torch.finfo(dtype).eps
        assert (error / torch.linalg.norm(found, dim=(-2, -1)) < 4 * m * scale).all()


@pytest.mark.parametrize("size", [10, 5000])
def test_what_is_not_definite_becomes_nan_by_itself(size: int) -> None:
    a = gram(size, m=4, dtype=torch.complex64)
    a[3] = 0
    a[5] = -a[5]
    a[7, 0, 0] = torch.nan
    found = definite_inverse(a)
    bad = torch.zeros(size, dtype=torch.bool)
    bad[[3, 5, 7]] = True
    assert torch.equal(torch.isnan(found).any(-1).any(-1), bad)
