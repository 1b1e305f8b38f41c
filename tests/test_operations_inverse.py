"""The inverse as an operation: values, residual, certificate, correction, changed matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.operations import Tolerance, make_operation
from neumatc_mimo.operations.inverse import Inverse

SIZE, ITEMS, POINTS = 6, 3, 5
OPERATION = Inverse()
DTYPES = [torch.float64, torch.complex128]


def matrices(dtype: torch.dtype, seed: int = 0) -> Tensor:
    """[ITEMS, POINTS, SIZE, SIZE] well-conditioned matrices."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(ITEMS, POINTS, SIZE, SIZE, dtype=dtype, generator=generator)
    return a / SIZE**0.5 + 3 * torch.eye(SIZE, dtype=dtype)


def unit_modulus(dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.sgn(torch.randn(ITEMS, POINTS, SIZE, dtype=dtype, generator=generator))


def test_is_registered_and_exported() -> None:
    assert nm.Inverse is Inverse
    assert isinstance(make_operation(OPERATION.settings()), Inverse)
    assert OPERATION.component_shapes(SIZE, SIZE) == ((SIZE, SIZE),)


@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_equals_numpy(dtype: torch.dtype) -> None:
    a = matrices(dtype)
    (w,) = OPERATION.exact(a)
    assert w.dtype == dtype
    np.testing.assert_allclose(w.numpy(), np.linalg.inv(a.numpy()), rtol=1e-12, atol=1e-14)
    # There is no noise power in a plain inverse.
    torch.testing.assert_close(OPERATION.exact(a, 0.3)[0], w, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_residual_is_the_relative_error_of_a_scaled_inverse(dtype: torch.dtype) -> None:
    a = matrices(dtype)
    (w,) = OPERATION.exact(a)
    assert OPERATION.residual(a, (w,)).max() < 1e-14
    for error in (1e-6, 1e-3, 1.0):
        # A (1 + ε) A^{-1} = (1 + ε) I, and ‖I‖_F = √n.
        residual = OPERATION.residual(a, (w * (1 + error),))
        torch.testing.assert_close(residual, torch.full_like(residual, error))


def test_residual_grows_with_the_error_and_can_be_differentiated() -> None:
    a = matrices(torch.float64)
    (w,) = OPERATION.exact(a)
    noise = matrices(torch.float64, seed=1)
    residuals = [OPERATION.residual(a, (w + size * noise,)) for size in (1e-4, 1e-3, 1e-2)]
    assert (residuals[0] < residuals[1]).all() and (residuals[1] < residuals[2]).all()
    near = (w + 1e-2 * noise).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: OPERATION.residual(a[0, :1], (x,)), near[0, :1])


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
    broken = w.clone()
    broken[0, 1, 2, 3] = torch.nan
    for wrong in (torch.zeros_like(w), w.mH, w.conj(), w.roll(1, 0), -w, w.flip(-1)):
        assert not OPERATION.certificate(a, (wrong,), 0.0, Tolerance()).ok.any()
    ok = OPERATION.certificate(a, (broken,), 0.0, Tolerance()).ok
    assert not ok[0, 1] and ok.sum() == ok.numel() - 1


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


@pytest.mark.parametrize("dtype", DTYPES)
def test_scale_and_permute_match_the_changed_matrix(dtype: torch.dtype) -> None:
    a = matrices(dtype)
    components = OPERATION.exact(a)
    left, right = unit_modulus(dtype, 1), unit_modulus(dtype, 2)
    scaled = left[..., :, None] * a * right[..., None, :]
    torch.testing.assert_close(
        OPERATION.scale(components, left, right)[0], OPERATION.exact(scaled)[0]
    )
    generator = torch.Generator().manual_seed(3)
    order = torch.stack([torch.randperm(SIZE, generator=generator) for _ in range(ITEMS)])
    permuted = torch.stack([one[:, rows] for one, rows in zip(a, order, strict=True)])
    torch.testing.assert_close(
        OPERATION.permute(components, order)[0], OPERATION.exact(permuted)[0]
    )


def test_answer_knows_rows_of_any_gain() -> None:
    a = matrices(torch.complex128)
    gains = 0.5 + matrices(torch.complex128, seed=4)[..., 0].abs() * unit_modulus(a.dtype, 5)
    assert OPERATION.free_gains(None)
    answer = OPERATION.answer(OPERATION.exact(a), rows=gains)
    torch.testing.assert_close(answer.w, torch.linalg.inv(gains[..., :, None] * a))
    (result,) = OPERATION.results(OPERATION.solve(a))
    torch.testing.assert_close(result, torch.linalg.inv(a))


def test_singular_matrices_fail_alone() -> None:
    a = matrices(torch.complex128)
    a[1, 2, 0] = 0
    (w,) = OPERATION.exact(a)
    finite = torch.isfinite(torch.view_as_real(w)).flatten(2).all(-1)
    assert not finite[1, 2] and finite.sum() == finite.numel() - 1
    assert not OPERATION.certificate(a, (w,), 0.0, Tolerance()).ok[1, 2]


def test_matrices_that_are_not_square_are_refused() -> None:
    with pytest.raises(ValueError, match="not one of 4 x 6"):
        OPERATION.exact(matrices(torch.float64)[..., :4, :])
    with pytest.raises(ValueError, match="Only square matrices"):
        OPERATION.component_shapes(4, 6)
