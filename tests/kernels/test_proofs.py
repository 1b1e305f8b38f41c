"""Certificates and correction steps of kernels against PyTorch's in double precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from neumatc_mimo.foundation.tolerance import Tolerance
from neumatc_mimo.kernels.lanes import library, proofs
from neumatc_mimo.operations import PseudoInverse
from neumatc_mimo.operations.base import Certificate, Components

pytestmark = pytest.mark.skipif(library.loaded() is None, reason="no kernels")

STORED = PseudoInverse().stored
POWERS = torch.tensor([0.0, 1e-3, 0.1, 3.0], dtype=torch.float64)
TOLERANCE = Tolerance(40.0, 0.1)
SHAPES = [(1, 1, 3), (2, 7, 19), (5, 6, 16), (8, 64, 40), (9, 11, 5)]


def near(
    num_rows: int, num_cols: int, num: int, off: float, weak: float = 1.0
) -> tuple[Tensor, Components]:
    """Matrices [2, num, 1, m, n] in double precision, and what models store, nearly theirs.

    :param weak: gain of the last row
    """
    generator = torch.Generator().manual_seed(num_rows * num)
    shape = (2, num, 1, num_rows, num_cols)
    a = torch.randn(shape, dtype=torch.complex128, generator=generator)
    a[..., -1, :] *= weak
    w, gram = STORED.exact(a)

    def disturbed(c: Tensor) -> Tensor:
        size = c.abs().square().mean((-2, -1), keepdim=True).sqrt()
        return c + off * size * torch.randn(c.shape, dtype=c.dtype, generator=generator)

    gram = disturbed(gram)
    return a, (disturbed(w), (gram + gram.mH) / 2)


def certified(a: Tensor, stored: Components) -> Certificate:
    """In double precision, at all powers."""
    components = PseudoInverse().from_stored(stored, POWERS)
    return PseudoInverse().certificate(a, components, POWERS, TOLERANCE)


def narrow(a: Tensor, components: Components) -> tuple[Tensor, Components]:
    return a.to(torch.complex64), tuple(c.to(torch.complex64) for c in components)


@pytest.mark.parametrize("off", [1e-4, 1e-2])
@pytest.mark.parametrize("m, n, num", SHAPES)
def test_proofs_are_those_of_the_formulas(m: int, n: int, num: int, off: float) -> None:
    a, components = near(m, n, num, off)
    wanted = certified(a, components)
    found = proofs.certificate(PseudoInverse(), *narrow(a, components), POWERS, TOLERANCE)
    assert found.quality.shape == found.ok.shape == (2, num, 4)
    torch.testing.assert_close(found.quality.double(), wanted.quality, rtol=0, atol=0.1)
    torch.testing.assert_close(found.range_error.double(), wanted.range_error, rtol=0.02, atol=1e-4)


def test_a_user_below_the_noise_is_proven_as_closely() -> None:
    a, components = near(4, 8, 20, 1e-6, weak=1e-2)
    wanted = certified(a, components)
    found = proofs.certificate(PseudoInverse(), *narrow(a, components), POWERS, TOLERANCE)
    torch.testing.assert_close(found.quality.double(), wanted.quality, rtol=0, atol=0.3)
    torch.testing.assert_close(found.range_error.double(), wanted.range_error, rtol=0.1, atol=5e-3)


@pytest.mark.parametrize("off", [1e-3, 3e-2])
@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("m, n, num", SHAPES)
def test_steps_are_those_of_the_operation(m: int, n: int, num: int, steps: int, off: float) -> None:
    a, components = near(m, n, num, off)
    single, given = narrow(a, components)
    kept = tuple(c.clone() for c in given)
    found, residual = proofs.refined(STORED, single, given, POWERS, steps)
    for _ in range(steps):
        components = STORED.correct(a, components)
    wanted = STORED.residual(a, components)[..., 0]
    torch.testing.assert_close(residual.double(), wanted, rtol=0.02, atol=2e-4)
    for mine, theirs in zip(found, components, strict=True):
        size = torch.linalg.matrix_norm(theirs)
        apart = torch.linalg.matrix_norm(mine - theirs) / size
        assert apart.max() < 3e-4
    assert all(torch.equal(*pair) for pair in zip(given, kept, strict=True))


def test_components_in_common_rows_are_read_where_they_lie() -> None:
    a, components = near(3, 5, 21, 1e-3)
    single, (w, gram) = narrow(a, components)
    rows = torch.cat([w.flatten(2), gram.flatten(2)], dim=-1)
    views = (rows[..., :15].unflatten(-1, (1, 5, 3)), rows[..., 15:].unflatten(-1, (1, 3, 3)))
    apart, beside = (
        proofs.certificate(PseudoInverse(), single, given, POWERS, TOLERANCE)
        for given in ((w, gram), views)
    )
    assert torch.equal(apart.quality, beside.quality)
    assert torch.equal(apart.range_error, beside.range_error)


def test_what_is_no_number_is_not_proven() -> None:
    a, components = near(4, 6, 33, 1e-5)
    single, (w, gram) = narrow(a, components)
    w[0, 3, 0, 2, 1] = torch.nan
    gram[1, 5, 0, 2] = torch.inf
    found = proofs.certificate(PseudoInverse(), single, (w, gram), POWERS, TOLERANCE)
    assert not found.ok[0, 3].any() and not found.ok[1, 5].any()
    assert found.ok.sum() == found.ok.numel() - 8
    _, residual = proofs.refined(STORED, single, (w, gram), POWERS, 2)
    sound = residual < 1e-3
    # A step makes the Gram matrix anew.
    assert not sound[0, 3] and sound.sum() == sound.numel() - 1
