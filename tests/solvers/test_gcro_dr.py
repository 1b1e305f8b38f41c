"""The recycled Krylov solver: convergence, recycling, preconditioning, refusals."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, aslinearoperator, gcrotmk, gmres, spilu, splu

from neumatc_mimo.families import CosineFamily
from neumatc_mimo.families.sparse import AdvectionDiffusionReaction
from neumatc_mimo.operations import LinearSolve
from neumatc_mimo.solvers import GCRODR, Channels
from neumatc_mimo.solvers.gcro_dr import Convergence, Recycled, gcro_dr

Array = NDArray[Any]

SYSTEM = AdvectionDiffusionReaction(30, diffusion=0.03)
P = np.linspace(0.3, 0.8, 9)


def ilu0(a: sp.csr_array) -> Any:
    """ILU(0), or a test skipped."""
    ilupp = pytest.importorskip("ilupp", reason="ILU(0) comes from the benchmarks extra (ilupp)")
    return ilupp.ILU0Preconditioner(sp.csr_matrix(a))


def incomplete(a: sp.csr_array) -> LinearOperator:
    """SciPy's incomplete factors, with threshold: slow to make, and always there."""
    return LinearOperator(a.shape, spilu(a.tocsc(), drop_tol=0.05, fill_factor=3).solve)


def error(x: Array, exact: Array) -> float:
    return float(np.linalg.norm(x - exact) / np.linalg.norm(exact))


def spectrum(num_small: int, seed: int = 0, n: int = 300, complex_valued: bool = False) -> Any:
    """A non-normal matrix with a few eigenvalues near zero, and its eigenvectors as columns."""
    random = np.random.default_rng(seed)
    values = np.concatenate([np.logspace(-4, -2, num_small), np.linspace(0.5, 2, n - num_small)])
    vectors = random.standard_normal((n, n))
    if complex_valued:
        vectors = vectors + 1j * random.standard_normal((n, n))
        values = values * np.exp(0.3j * values)
    vectors = np.linalg.qr(vectors)[0] + 0.3 / np.sqrt(n) * random.standard_normal((n, n))
    return vectors * values @ np.linalg.inv(vectors), vectors


def sequence(
    matrices: list[Any], b: Array, num_recycled: int, preconditioner: Any = None, **settings: Any
) -> list[Convergence]:
    """Systems one after the other, each from zero, with what the one before left."""
    recycled, done = None, []
    for a in matrices:
        made = None if preconditioner is None else preconditioner(a)
        _, recycled, info = gcro_dr(
            a,
            b,
            preconditioner=made,
            recycled=recycled,
            num_recycled=num_recycled,
            **settings,
        )
        done.append(info)
    return done


# The solution.


@pytest.mark.parametrize("num_recycled", [0, 1, 6])
@pytest.mark.parametrize("restart", [12, 40])
def test_converges_to_the_direct_solution(restart: int, num_recycled: int) -> None:
    recycled = None
    for p in P[:3]:
        a = SYSTEM.matrix(p)
        x, recycled, info = gcro_dr(
            a,
            SYSTEM.b,
            preconditioner=incomplete(a),
            recycled=recycled,
            restart=restart,
            num_recycled=num_recycled,
            tolerance=1e-11,
        )
        assert info.converged and len(info.residuals) == info.iterations + 1
        assert error(x, splu(a.tocsc()).solve(SYSTEM.b)) < 1e-9
        assert np.isclose(info.residuals[-1], SYSTEM.residual([p], x[None])[0], rtol=1e-6)
        assert (recycled is None) == (num_recycled == 0)


def test_equals_scipys_krylov_solvers() -> None:
    a = SYSTEM.matrix(0.5)
    m = incomplete(a)
    x, _, info = gcro_dr(a, SYSTEM.b, preconditioner=m, tolerance=1e-10)
    assert info.converged
    for solver, settings in ((gcrotmk, {"m": 20, "k": 10}), (gmres, {"restart": 30})):
        other, failed = solver(a, SYSTEM.b, M=m, rtol=1e-12, atol=0.0, maxiter=500, **settings)
        assert not failed and error(x, other) < 1e-8


def test_the_first_cycle_is_gmres() -> None:
    """Least residual over the Krylov space: as a dense least-squares problem says."""
    a, _ = spectrum(3)
    b = np.random.default_rng(1).standard_normal(len(a))
    _, _, info = gcro_dr(a, b, restart=12, num_recycled=4, max_iterations=12)
    krylov = np.empty((len(b), 0))
    vector = b
    for residual in info.residuals[1:]:
        krylov = np.linalg.qr(np.column_stack([krylov, vector]))[0]
        y = np.linalg.lstsq(a @ krylov, b)[0]
        vector = a @ krylov[:, -1]
        assert np.isclose(np.linalg.norm(b - a @ krylov @ y) / np.linalg.norm(b), residual)


@pytest.mark.parametrize("complex_valued", [False, True])
def test_residuals_never_grow(complex_valued: bool) -> None:
    a, _ = spectrum(6, complex_valued=complex_valued)
    random = np.random.default_rng(1)
    recycled = None
    for change in (0.0, 1e-3, 2e-3):
        b = random.standard_normal(len(a))
        matrix = a + change * np.diag(b)
        x, recycled, info = gcro_dr(
            matrix, b, recycled=recycled, restart=15, num_recycled=8, tolerance=1e-10
        )
        assert info.converged and error(x, np.linalg.solve(matrix, b)) < 1e-6
        assert x.dtype == (np.complex128 if complex_valued else np.float64)
        for before, after in pairwise(info.residuals):
            assert after <= before * (1 + 1e-6)


def test_any_kind_of_matrix_will_do() -> None:
    a = SYSTEM.matrix(0.5)
    found = [
        gcro_dr(kind, SYSTEM.b, tolerance=1e-10)[0]
        for kind in (a, a.toarray(), sp.csc_matrix(a), aslinearoperator(a))
    ]
    for other in found[1:]:
        assert error(other, found[0]) < 1e-8


def test_small_systems_end_early() -> None:
    """Invariant spaces, zero eigenvalues and a start that is the solution."""
    a = np.diag([1.0, 2.0, 3.0, 3.0])
    b = np.array([1.0, 1.0, 1.0, 1.0])
    x, recycled, info = gcro_dr(a, b, restart=10, num_recycled=3, tolerance=1e-14)
    assert info.converged and info.iterations == 3 and error(x, b / np.diag(a)) < 1e-13
    assert recycled is not None and len(recycled.directions) <= 3
    x, _, info = gcro_dr(a, b, x, tolerance=1e-12)
    assert info.converged and info.iterations == 0 and info.products == 1
    # What cannot be solved ends too, and what can be in spite of a zero eigenvalue is.
    singular = np.diag([1.0, 2.0, 0.0, 3.0])
    _, _, info = gcro_dr(singular, b, restart=10, num_recycled=3, max_iterations=50)
    assert not info.converged and info.iterations <= 50
    x, _, info = gcro_dr(singular, np.array([1.0, 1.0, 0.0, 1.0]), restart=10, num_recycled=3)
    assert info.converged
    _, _, info = gcro_dr(np.full((4, 4), np.nan), b)
    assert not info.converged
    assert not gcro_dr(np.zeros((4, 4)), b)[2].converged


# Recycling.


def test_recycling_lowers_iterations_along_a_parameter() -> None:
    matrices = [SYSTEM.matrix(p) for p in P]
    settings = {"restart": 30, "tolerance": 1e-8}
    alone = sequence(matrices, SYSTEM.b, 0, **settings)
    recycled = sequence(matrices, SYSTEM.b, 10, **settings)
    assert all(info.converged for info in alone + recycled)
    few, many = (sum(info.iterations for info in done[1:]) for done in (recycled, alone))
    assert few < 0.7 * many
    # Beside its iterations a system costs a product a recycled vector, and one a residual.
    assert recycled[1].products <= recycled[1].iterations * (1 + 1 / 20) + 10 + 2


def test_deflated_eigenvalues_slow_nothing_down() -> None:
    a, vectors = spectrum(5)
    b = np.random.default_rng(1).standard_normal(len(a))
    settings: dict[str, Any] = {"restart": 30, "num_recycled": 5, "tolerance": 1e-9}
    # A matrix without the five eigenvalues near zero: the best that deflation can do.
    easy, _ = spectrum(0)
    best = gcro_dr(easy, b, **settings)[2].iterations
    exact = Recycled(vectors[:, :5].T, vectors[:, :5].T)
    assert gcro_dr(a, b, recycled=exact, **settings)[2].iterations <= best + 2
    # The solver finds them by itself, within one system.
    _, found, first = gcro_dr(a, b, **settings)
    assert first.iterations > 1.5 * best
    assert found is not None
    span, _ = np.linalg.qr(found.directions.T)
    wanted = np.linalg.qr(vectors[:, :5])[0]
    assert np.linalg.norm(wanted - span @ (span.T @ wanted), 2) < 1e-3
    again = np.random.default_rng(2).standard_normal(len(a))
    assert gcro_dr(a, again, recycled=found, **settings)[2].iterations <= best + 2


def test_a_right_hand_side_in_the_recycled_space_takes_no_iterations() -> None:
    a, vectors = spectrum(4)
    kept = vectors[:, :4].T
    b = a @ vectors[:, :4] @ np.array([1.0, -2.0, 0.5, 3.0])
    x, _, info = gcro_dr(a, b, recycled=Recycled(kept, kept), tolerance=1e-9)
    assert info.iterations == 0 and error(a @ x, b) < 1e-9


def test_dependent_directions_are_forgotten() -> None:
    a, vectors = spectrum(4)
    twice = vectors[:, [0, 1, 0]].T
    b = np.random.default_rng(1).standard_normal(len(a))
    x, _, info = gcro_dr(a, b, recycled=Recycled(twice, twice), tolerance=1e-9)
    assert info.converged and error(x, np.linalg.solve(a, b)) < 1e-4


# ILU(0).


def test_ilu0_has_no_fill_and_is_the_matrix_on_its_pattern() -> None:
    a = SYSTEM.matrix(0.5)
    lower, upper = ilu0(a).factors()
    assert lower.nnz + upper.nnz == a.nnz + a.shape[0]  # the diagonal stands in both
    where = a != 0
    assert (((lower + upper) != 0).astype(int) - where.astype(int)).nnz == 0
    product = (lower @ upper).multiply(where)
    assert abs(product - a).max() < 1e-12 * abs(a).max()
    v = np.random.default_rng(0).standard_normal(a.shape[0])
    np.testing.assert_allclose(ilu0(a) @ (lower @ (upper @ v)), v, atol=1e-10)


def test_ilu0_lowers_iterations() -> None:
    matrices = [SYSTEM.matrix(p) for p in P[:3]]
    for num_recycled in (0, 8):
        plain = sequence(matrices, SYSTEM.b, num_recycled)
        better = sequence(matrices, SYSTEM.b, num_recycled, ilu0)
        for one, other in zip(plain, better, strict=True):
            assert other.converged and other.iterations < 0.5 * one.iterations


# The solver behind the interface.


def test_solver_reaches_its_tolerance_and_recycles() -> None:
    family = CosineFamily((24, 24), torch.Generator().manual_seed(0), shift=2.2)
    points = family.grid(30)
    b = torch.randn(24, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    channels = Channels(family(points)[None], points[:, 0])
    operation = LinearSolve(b)
    for tolerance in (1e-3, 1e-9):
        solver = GCRODR(restart=12, num_recycled=4, tolerance=tolerance)
        answers = solver.start(operation, channels, None)
        (x,) = answers.tile(slice(0, 30))
        residual = operation.residual(channels.a, (x,))
        assert residual.max() < 2 * tolerance and answers.counts.exact == 1
    assert residual[0, 1:].min() > 1e-16  # iterated, not computed exactly


# Refusals.


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_recycled": 30}, "Of 30 vectors a cycle 30 cannot be recycled."),
        ({"num_recycled": -1}, "Of 30 vectors a cycle -1 cannot be recycled."),
        ({"tolerance": 0.0}, "The tolerance is 0.0, it is positive."),
        ({"max_iterations": 0}, "A solution takes at least one iteration."),
        ({"b": np.ones(5)}, r"A matrix of \(4, 4\) with b of \(5,\)"),
        ({"b": np.ones((4, 2))}, r"with b of \(4, 2\)"),
        ({"x0": np.ones(3)}, r"a start of \(3,\) is no square system"),
        ({"a": np.ones((4, 5))}, r"A matrix of \(4, 5\)"),
        ({"b": np.zeros(4)}, "The right-hand side is zero or not finite."),
        ({"b": np.array([1.0, np.nan, 0.0, 0.0])}, "The right-hand side is zero or not finite."),
    ],
)
def test_bad_input_is_refused(changes: dict[str, Any], sentence: str) -> None:
    given: dict[str, Any] = {"a": np.eye(4), "b": np.ones(4)} | changes
    with pytest.raises(ValueError, match=sentence):
        gcro_dr(given.pop("a"), given.pop("b"), **given)
