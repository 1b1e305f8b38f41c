"""Results filled in from few exact ones: as good as these, and exact where nothing else helps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from neumatc_mimo.operations import SVD, Operation, PseudoInverse
from neumatc_mimo.solvers.filled import Filled, filled

NUM = 129
PLACES = torch.arange(NUM, dtype=torch.float64)
FIRST = torch.arange(0, NUM, 8)


def paths(turns: float, *, seed: int = 0, items: int = 2) -> Tensor:
    """[items, NUM, 2, 6] of five paths that turn so often over the points."""
    generator = torch.Generator().manual_seed(seed)
    gain = torch.randn(items, 5, 2, 6, dtype=torch.complex128, generator=generator)
    delay = torch.rand(items, 5, dtype=torch.float64, generator=generator) * turns
    phase = 2 * math.pi * delay[:, None] * (PLACES / NUM)[:, None]
    return torch.einsum("ifp,ipmn->ifmn", torch.polar(torch.ones_like(phase), phase), gain)


def fill(operation: Operation, a: Tensor, **changes: float) -> Filled:
    settings = {"threshold": 1e-3, "most_failed": 0.5} | changes
    return filled(operation, a, 0.0, PLACES, FIRST, steps=4, **settings)  # type: ignore[arg-type]


def test_smooth_matrices_take_no_more_exact_results() -> None:
    a = paths(4)
    for operation in (PseudoInverse(), SVD(2)):
        found = fill(operation, a)
        assert not bool(found.failed.any())
        assert found.exact.sum(1).tolist() == [len(FIRST)] * 2
        assert operation.residual(a, found.components).max() <= 1e-3


def test_steps_reach_what_interpolation_does_not() -> None:
    operation, a = PseudoInverse(), paths(14)
    without = filled(operation, a, 0.0, PLACES, FIRST, steps=0, threshold=1e-3, most_failed=1.0)
    found = fill(operation, a)
    assert found.exact.sum() < 0.7 * without.exact.sum()
    assert operation.residual(a, found.components).max() <= 1e-3
    (exact, _) = operation.exact(a)
    error = (found.components[0] - exact).flatten(2).norm(dim=2) / exact.flatten(2).norm(dim=2)
    assert error.max() < 1e-2


def test_exact_results_gather_about_a_fade() -> None:
    a = paths(3, items=1)
    # Two rows that are nearly the same at one point only.
    bell = torch.exp(-(((PLACES - 70) / 2.0) ** 2))[:, None]
    a[0, :, 1] = (1 - bell) * a[0, :, 1] + bell * (a[0, :, 0] + 0.01 * a[0, :, 1])
    found = fill(PseudoInverse(), a)
    more = found.exact[0].clone()
    more[FIRST] = False
    assert bool(more.any()) and (more.nonzero()[:, 0] - 70).abs().max() <= 12
    assert PseudoInverse().residual(a, found.components).max() <= 1e-3


def test_what_varies_too_fast_is_given_up_by_itself() -> None:
    a = paths(4)
    noise = torch.randn(NUM, 2, 6, dtype=a.dtype, generator=torch.Generator().manual_seed(1))
    a[1] = noise
    found = fill(PseudoInverse(), a)
    assert found.failed.tolist() == [False, True]
    alone = fill(PseudoInverse(), a[:1])
    for one, both in zip(alone.components, found.components, strict=True):
        torch.testing.assert_close(one[0], both[0])
    # Unless any number of failures is allowed: then all is exact.
    whole = fill(PseudoInverse(), a, most_failed=1.0)
    assert not bool(whole.failed.any()) and whole.exact[1].double().mean() > 0.9
    assert PseudoInverse().residual(a, whole.components).max() <= 1e-3


def test_noise_of_items_and_gradients_go_through() -> None:
    a = paths(4).requires_grad_()
    operation, no = PseudoInverse(), torch.tensor([[0.1], [2.0]])
    found = filled(operation, a, no, PLACES, FIRST, steps=4, threshold=1e-4, most_failed=0.5)
    exact = operation.exact(a, no)
    for one, other in zip(found.components, exact, strict=True):
        assert (one - other).norm() < 1e-3 * other.norm()
    # Along matrices that vary as smoothly: between points results are made from their neighbours'.
    direction = paths(4, seed=5)
    mine, theirs = (
        torch.linalg.vecdot(
            torch.autograd.grad(c[0].abs().sum(), a)[0].flatten(), direction.flatten()
        ).real
        for c in (found.components, exact)
    )
    torch.testing.assert_close(mine, theirs, rtol=1e-2, atol=0)
