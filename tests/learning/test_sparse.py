"""Sparse parametric systems, and the mapping that learns their solutions."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import spsolve

from neumatc_mimo.families.sparse import AdvectionDiffusionReaction, AffineSystem
from neumatc_mimo.learning.affine import AffineConfig, learn_solutions
from neumatc_mimo.mapping.basis import Basis, FourierBasis, SineBasis, SplineBasis
from neumatc_mimo.mapping.compact import CompactMapping

SMALL = AdvectionDiffusionReaction(20, diffusion=0.05)


def loop_assembled(num: int, p: float, nu: float, speed: float, reaction: float) -> Any:
    """The five-point scheme, a mesh point at a time."""
    h = 1 / (num + 1)
    matrix = sp.lil_array((num**2, num**2))
    for j in range(num):
        for i in range(num):
            row = j * num + i
            matrix[row, row] = 4 * nu / h**2 + reaction
            for di, dj, wind in (
                (1, 0, math.cos(p)),
                (-1, 0, -math.cos(p)),
                (0, 1, math.sin(p)),
                (0, -1, -math.sin(p)),
            ):
                if 0 <= i + di < num and 0 <= j + dj < num:
                    column = (j + dj) * num + i + di
                    matrix[row, column] = -nu / h**2 + speed * wind / (2 * h)
    return matrix.tocsr()


@pytest.mark.parametrize("p", [0.0, 0.7, 3.0, 5.5])
def test_matrix_is_the_five_point_scheme(p: float) -> None:
    system = AdvectionDiffusionReaction(7, diffusion=0.04, speed=1.5, reaction=0.3)
    difference = system.matrix(p) - loop_assembled(7, p, 0.04, 1.5, 0.3)
    assert abs(difference).max() < 1e-12
    assert system.matrix(0.7).nnz == 5 * 49 - 4 * 7


def test_matrix_is_affine() -> None:
    p = 1.1
    (weights,) = SMALL.coefficients(np.array([p]))
    np.testing.assert_allclose(weights, [0.05, math.cos(p), math.sin(p), 1.0])
    total = sum(weight * part for weight, part in zip(weights, SMALL.parts, strict=True))
    assert abs(total - SMALL.matrix(p)).max() < 1e-12
    # Diffusion and reaction are symmetric, advection is skew: no part is another's.
    diffusion, along_x, along_y, reaction = (part.toarray() for part in SMALL.parts)
    np.testing.assert_array_equal(diffusion, diffusion.T)
    np.testing.assert_array_equal(reaction, np.eye(400))
    for advection in (along_x, along_y):
        np.testing.assert_array_equal(advection, -advection.T)


def test_second_order_against_a_made_up_solution() -> None:
    p, nu, reaction = 0.9, 0.1, 2.0
    errors = []
    for num in (15, 31, 63):
        system = AdvectionDiffusionReaction(num, diffusion=nu, reaction=reaction)
        x, y = system.x, system.y
        u = np.sin(np.pi * x) * np.sin(2 * np.pi * y)
        u_x = np.pi * np.cos(np.pi * x) * np.sin(2 * np.pi * y)
        u_y = 2 * np.pi * np.sin(np.pi * x) * np.cos(2 * np.pi * y)
        f = 5 * nu * np.pi**2 * u + math.cos(p) * u_x + math.sin(p) * u_y + reaction * u
        found = spsolve(system.matrix(p).tocsc(), f.ravel())
        errors.append(np.linalg.norm(found - u.ravel()) / np.linalg.norm(u))
    assert errors[-1] < 3e-3
    for coarse, fine in pairwise(errors):
        assert abs(math.log2(coarse / fine) - 2) < 0.1


def test_exact_and_residual_equal_a_loop() -> None:
    p = np.array([0.2, 2.0, 6.0])
    x = SMALL.exact(p)
    assert x.shape == (3, 400) and SMALL.residual(p, x).max() < 1e-13
    near = x + 1e-3 * np.random.default_rng(0).standard_normal(x.shape)
    expected = [
        np.linalg.norm(SMALL.matrix(one) @ row - SMALL.b) / np.linalg.norm(SMALL.b)
        for one, row in zip(p, near, strict=True)
    ]
    np.testing.assert_allclose(SMALL.residual(p, near), expected, rtol=1e-12)
    np.testing.assert_allclose(SMALL.residual(p, 0 * x), 1.0)


def test_parts_of_any_pattern_and_order() -> None:
    """Entries at different places, unsorted, stored twice, or stored zeros."""
    first = sp.coo_array(([1.0, 2.0, 3.0, 4.0], ([2, 0, 2, 1], [1, 0, 1, 1])), shape=(3, 3))
    second = sp.csr_array(([5.0, 6.0, 0.0], [2, 0, 1], [0, 1, 2, 3]), shape=(3, 3))
    system = AffineSystem(
        [first, second], lambda p: np.stack([p, p**2], axis=-1), [1.0, 0.0, 0.0], (1.0, 2.0)
    )
    expected = 1.5 * first.toarray() + 2.25 * second.toarray()
    np.testing.assert_allclose(system.matrix(1.5).toarray(), expected)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: AdvectionDiffusionReaction(1), "A mesh of 1 inner points a side is too coarse"),
        (lambda: AdvectionDiffusionReaction(9, diffusion=0), "The diffusion is 0, it is positive."),
        (lambda: system_of([1.0, 1.0]), r"A right-hand side of \(2,\) does not suit matrices of"),
        (lambda: system_of([0.0, 0.0, 0.0]), "The right-hand side is zero or not finite."),
        (lambda: config(threshold=0.0), "The threshold is 0.0, it is positive."),
        (lambda: config(samples=9, max_samples=8), "9 of 8 samples, 8 promoted of 400 candidates"),
        (lambda: config(collocation=20), "20 collocation points do not determine 31 functions."),
    ],
)
def test_bad_input_is_refused(make: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()


def system_of(b: list[float]) -> AffineSystem:
    return AffineSystem([sp.eye_array(3)], lambda p: p[:, None], b, (1.0, 2.0))


def config(basis: Basis | None = None, **changes: Any) -> AffineConfig:
    settings = {"threshold": 1e-3, "samples": 8} | changes
    return AffineConfig(basis or FourierBasis(31), **settings)


# The learned solutions.


def queried(mapping: CompactMapping, p: NDArray[np.float64]) -> NDArray[np.float64]:
    """x̂ at p [B], [B, n]."""
    (x,) = mapping(torch.from_numpy(p), torch.zeros(1, dtype=torch.float64))
    return x[0].double().numpy()


def errors(system: AffineSystem, mapping: CompactMapping) -> NDArray[np.float64]:
    """Relative errors at unseen points."""
    p = np.sort(np.random.default_rng(9).uniform(*system.domain, 50))
    exact = system.exact(p)
    return np.linalg.norm(queried(mapping, p) - exact, axis=1) / np.linalg.norm(exact, axis=1)


@pytest.mark.parametrize("threshold", [1e-2, 1e-3, 1e-4])
def test_learned_until_no_candidate_fails(threshold: float) -> None:
    mapping, report = learn_solutions(SMALL, config(threshold=threshold))
    assert report.stopped == "tolerance" and report.failed[-1] == 0
    # The residual's norm weighs fine detail more than the solution's: errors are below it.
    assert errors(SMALL, mapping).max() < threshold
    p = np.linspace(0.01, 6.2, 40)
    assert SMALL.residual(p, queried(mapping, p)).max() < 1.5 * threshold
    assert report.num_samples < 32 and json.loads(json.dumps(report.as_dict()))


def test_more_samples_for_a_tighter_threshold() -> None:
    reports = [learn_solutions(SMALL, config(threshold=t))[1] for t in (1e-2, 1e-3, 1e-4)]
    for loose, tight in pairwise(reports):
        assert loose.num_samples < tight.num_samples
    # Every round looks at what the one before promoted: residuals fall.
    assert all(b < a for a, b in pairwise(reports[-1].residual))


def test_residuals_without_samples_teach_too() -> None:
    """Between its samples the mapping is better than what interpolates them, spectrally here."""
    num = 15
    learned, report = learn_solutions(SMALL, config(samples=num, max_samples=num, threshold=1e-9))
    assert report.stopped == "samples" and report.num_samples == num
    p = (np.arange(num) + 0.5) / num * 2 * math.pi
    x = torch.from_numpy((p - math.pi) / math.pi)
    design = FourierBasis(num).values(x)
    latent = torch.linalg.solve(design, torch.from_numpy(SMALL.exact(p)))
    unseen = np.sort(np.random.default_rng(9).uniform(*SMALL.domain, 50))
    basis = FourierBasis(num).values(torch.from_numpy((unseen - math.pi) / math.pi))
    exact = SMALL.exact(unseen)
    error = np.linalg.norm((basis @ latent).numpy() - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert errors(SMALL, learned).max() < 0.7 * error.max()


def test_says_why_it_stopped() -> None:
    _, few = learn_solutions(SMALL, config(FourierBasis(9), samples=16, collocation=64))
    assert few.stopped == "basis" and few.num_samples <= 32
    _, spent = learn_solutions(SMALL, config(samples=4, max_samples=6))
    assert spent.stopped == "samples" and spent.num_samples == 6 and spent.failed[-1] > 0


@pytest.mark.parametrize(
    ("basis", "threshold"), [(SplineBasis(40), 1e-3), (SineBasis(40), 1e-2)], ids=str
)
def test_trunks_that_are_not_periodic(basis: Basis, threshold: float) -> None:
    mapping, report = learn_solutions(SMALL, config(basis, threshold=threshold))
    assert report.stopped == "tolerance" and errors(SMALL, mapping).max() < threshold


def test_the_same_seed_gives_the_same() -> None:
    one, other = (learn_solutions(SMALL, config(seed=3))[0] for _ in range(2))
    p = np.linspace(0.0, 6.0, 7)
    np.testing.assert_allclose(queried(one, p), queried(other, p), atol=1e-7)
