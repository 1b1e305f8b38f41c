"""What models store of a pseudo-inverse, and the step from it to any noise power."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from neumatc_mimo.operations import PseudoInverse
from neumatc_mimo.operations.definite_inverse import _unrolled, regularised_inverse

OPERATION = PseudoInverse()
POWERS = [0.0, 1e-6, 0.1, 30.0, 1e6]


def channels(m: int, n: int, weakest: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(m * n)
    a = torch.randn(2, 40, m, n, dtype=torch.complex128, generator=generator)
    return a * torch.logspace(0, -weakest, m, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("m, n", [(1, 1), (3, 5), (8, 16), (20, 24)])
@pytest.mark.parametrize("weakest", [0.0, 3.0])
def test_the_step_gives_exact_components_at_every_noise_power(
    m: int, n: int, weakest: float
) -> None:
    a = channels(m, n, weakest)
    stored = OPERATION.stored.exact(a)
    for no in POWERS:
        for power in (no, torch.full((2, 1), no, dtype=torch.float64)):
            for mine, theirs in zip(
                OPERATION.from_stored(stored, power), OPERATION.exact(a, power), strict=True
            ):
                assert (mine - theirs).abs().max() < 1e-9 * theirs.abs().max()


def test_single_precision_is_that_of_the_matrix_whatever_its_users_gains() -> None:
    """In units of the diagonal, users 120 dB apart are told apart to rounding."""
    a = channels(4, 16, 6.0)
    _, gram = OPERATION.stored.exact(a.to(torch.complex64))
    _, wanted = OPERATION.exact(a, 1e-12)
    found = regularised_inverse(gram, 1e-12)
    size = wanted.diagonal(dim1=-2, dim2=-1).real.sqrt()
    error = (found - wanted).abs() / (size[..., :, None] * size[..., None, :])
    assert error.max() < 1e-4


def test_what_a_graph_holds_is_the_same_inverse() -> None:
    a = channels(5, 9)
    gram = a @ a.mH
    torch.testing.assert_close(_unrolled(gram), torch.linalg.inv(gram))


def test_a_matrix_that_is_not_definite_gives_some_number() -> None:
    gram = torch.eye(3, dtype=torch.complex64).repeat(300, 1, 1)
    gram[7, 0, 1] = gram[7, 1, 0] = 2
    found = regularised_inverse(gram, 0.0)
    assert torch.isfinite(found.real).all()
    torch.testing.assert_close(found[8:], gram[8:])


def test_residual_and_step_are_those_of_the_pseudo_inverse() -> None:
    a = channels(4, 7)
    stored = OPERATION.stored
    exact = stored.exact(a)
    assert stored.residual(a, exact).max() < 1e-12
    w = exact[0] * 1.01
    gram = exact[1] * 1.02
    before = stored.residual(a, (w, gram))
    torch.testing.assert_close(
        before, OPERATION.residual(a, (w, (w.mH @ w))) + 0.02, rtol=0, atol=1e-9
    )
    assert stored.residual(a, stored.correct(a, (w, gram))).max() < 0.05 * before.min()
