"""The inverse beyond what all operations share: its residual and correction in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from neumatc_mimo.operations import Tolerance
from neumatc_mimo.operations.inverse import Inverse

SIZE, ITEMS, POINTS = 6, 3, 5
OPERATION = Inverse()
DTYPES = [torch.float64, torch.complex128]


def matrices(dtype: torch.dtype, seed: int = 0) -> Tensor:
    """[ITEMS, POINTS, SIZE, SIZE] well-conditioned matrices."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(ITEMS, POINTS, SIZE, SIZE, dtype=dtype, generator=generator)
    return a / SIZE**0.5 + 3 * torch.eye(SIZE, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_residual_is_the_relative_error_of_a_scaled_inverse(dtype: torch.dtype) -> None:
    a = matrices(dtype)
    (w,) = OPERATION.exact(a)
    assert OPERATION.residual(a, (w,)).max() < 1e-14
    for error in (1e-6, 1e-3, 1.0):
        # A (1 + ε) A^{-1} = (1 + ε) I, and ‖I‖_F = √n.
        residual = OPERATION.residual(a, (w * (1 + error),))
        torch.testing.assert_close(residual, torch.full_like(residual, error))


@pytest.mark.parametrize("dtype", DTYPES)
def test_certificate_is_the_residual_in_db(dtype: torch.dtype) -> None:
    a = matrices(dtype)
    (w,) = OPERATION.exact(a)
    assert OPERATION.certificate(a, (w,), 0.0, Tolerance()).quality.min() > 250
    for error, ok in ((0.99e-2, True), (1.01e-2, False)):
        certificate = OPERATION.certificate(a, (w * (1 + error),), 0.0, Tolerance(40.0))
        expected = torch.full_like(certificate.quality, -20 * np.log10(error))
        torch.testing.assert_close(certificate.quality, expected)
        assert (certificate.ok == ok).all()
        assert (certificate.range_error == 0).all()


def test_certificate_refuses_what_is_no_inverse() -> None:
    a = matrices(torch.complex128)
    (w,) = OPERATION.exact(a)
    for wrong in (torch.zeros_like(w), w.mH, w.conj(), w.roll(1, 0), -w, w.flip(-1)):
        assert not OPERATION.certificate(a, (wrong,), 0.0, Tolerance()).ok.any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_correction_squares_the_defect(dtype: torch.dtype) -> None:
    a = matrices(dtype)
    (w,) = OPERATION.exact(a)
    eye = torch.eye(SIZE, dtype=dtype)
    for size in (1e-1, 1e-2, 1e-3):
        near = w + size * matrices(dtype, seed=1) / SIZE
        (corrected,) = OPERATION.correct(a, (near,))
        defect = eye - a @ near
        assert torch.linalg.matrix_norm(defect, 2).max() > size / 10
        torch.testing.assert_close(eye - a @ corrected, defect @ defect, rtol=0, atol=1e-13)


def test_singular_matrices_fail_alone() -> None:
    a = matrices(torch.complex128)
    a[1, 2, 0] = 0
    (w,) = OPERATION.exact(a)
    finite = torch.isfinite(torch.view_as_real(w)).flatten(2).all(-1)
    assert not finite[1, 2] and finite.sum() == finite.numel() - 1
    assert not OPERATION.certificate(a, (w,), 0.0, Tolerance()).ok[1, 2]
