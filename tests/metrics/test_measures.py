"""Each measure against a case whose value is known."""

from __future__ import annotations

import math

import torch

from neumatc_mimo import metrics


def _random(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, dtype=torch.complex128, generator=generator)


def test_relative_error_of_a_scaled_matrix_is_the_scale() -> None:
    a = _random(5, 3, 4)
    torch.testing.assert_close(metrics.relative_error(1.01 * a, a), torch.full((5,), 0.01).double())


def test_sir_of_a_known_leakage() -> None:
    h = torch.eye(2, 4, dtype=torch.complex128)
    w = torch.zeros(4, 2, dtype=torch.complex128)
    w[0, 0] = w[1, 1] = 1.0
    w[1, 0] = 0.1  # stream 0 leaks 1/100 of its power to user 1
    sir = metrics.sir_db(h, w)
    assert sir[0] > 200
    assert math.isclose(sir[1].item(), 10 * math.log10(101), rel_tol=1e-9)


def test_sir_does_not_depend_on_the_columns_scale() -> None:
    h, w = _random(3, 8), _random(8, 3)
    torch.testing.assert_close(metrics.sir_db(h, w), metrics.sir_db(h, w * _random(3)).clone())


def test_sinr_of_an_exact_zero_forcer_is_the_gain_over_the_noise() -> None:
    h = _random(7, 3, 8)
    w = torch.linalg.pinv(h)
    expected = -metrics.db(w.abs().square().sum(-2) * 0.01)
    torch.testing.assert_close(metrics.sinr_db(h, w, 0.01), expected)


def test_rate_along_the_singular_vectors_is_that_of_parallel_channels() -> None:
    h = _random(6, 4, 8)
    _, s, vh = torch.linalg.svd(h, full_matrices=False)
    rate = metrics.achievable_rate(h, vh.mH[..., :2], torch.tensor(0.1).double())
    expected = torch.log2(1 + s[..., :2].square() / 0.1).sum(-1)
    torch.testing.assert_close(rate, expected, rtol=1e-6, atol=1e-6)


def test_residuals_vanish_for_exact_results_only() -> None:
    h = _random(6, 4, 8)
    w = torch.linalg.pinv(h)
    assert metrics.inverse_residual(h, w).max() < 1e-12
    torch.testing.assert_close(metrics.inverse_residual(h, 0.9 * w), torch.full((6,), 0.1).double())
    u, s, vh = torch.linalg.svd(h, full_matrices=False)
    u, s, v = u[..., :2], s[..., :2], vh.mH[..., :2]
    assert metrics.svd_residual(h, u, s, v).max() < 1e-12
    assert metrics.svd_residual(h, u, s, 1j * v).min() > 0.1


def test_a_family_of_rank_two_has_two_singular_values() -> None:
    p = torch.linspace(0, 1, 50).double()
    basis = torch.stack([torch.cos(p), torch.sin(p)], dim=1).to(torch.complex128)
    samples = (basis @ _random(2, 12)).unflatten(1, (3, 4))
    decay = metrics.singular_decay(samples)
    assert decay[1] > 1e-3 and decay[2] < 1e-12
    assert metrics.eckart_young(samples, 2) < 1e-12 < metrics.eckart_young(samples, 1)


def test_sum_rate_is_that_of_the_sinrs() -> None:
    generator = torch.Generator().manual_seed(7)
    h = torch.randn(4, 3, 6, dtype=torch.complex128, generator=generator)
    w = torch.randn(4, 6, 3, dtype=torch.complex128, generator=generator)
    w = w / torch.linalg.vector_norm(w, dim=-2, keepdim=True)
    for no in (0.3, torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)):
        noise = no if isinstance(no, float) else no[:, None]
        ratios = 10 ** (metrics.sinr_db(h, w, noise) / 10)
        torch.testing.assert_close(metrics.sum_rate(h, w, no), torch.log2(1 + ratios).sum(-1))
    # As it is: half the power is that of twice the noise.
    torch.testing.assert_close(metrics.sum_rate(h, w / 2**0.5, 0.3), metrics.sum_rate(h, w, 0.6))
