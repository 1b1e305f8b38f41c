"""Floating-point operations of one result by formula, additions and multiplications alike."""

from __future__ import annotations

from functools import singledispatch

from benchmarks.paper.problems import Problem
from neumatc_mimo.solvers import (
    DFT,
    Exact,
    Hold,
    Learned,
    LibraryLU,
    LibrarySVD,
    NeuralNewton,
    NewtonSchulz,
    NumPyLU,
    NumPySVD,
    OperatorInterpolation,
    RandomizedSVD,
    Solver,
    Spline,
    Trained,
    ZhangInverse,
    ZhangSVD,
)


@singledispatch
def flops(solver: Solver, given: Problem) -> float:
    """Real operations a matrix; NaN for a solver without a formula."""
    del given
    raise NotImplementedError(f"There is no formula for {type(solver).__name__}.")


def product(given: Problem, rows: int, inner: int, cols: int) -> float:
    """Of a matrix product: 2 real operations a term, 8 for complex numbers."""
    return (8.0 if given.channels.a.is_complex() else 2.0) * rows * inner * cols


def entries(given: Problem) -> int:
    """Real numbers of one result."""
    return sum(c[0].numel() * (2 if c.is_complex() else 1) for c in given.exact)


def cubic(given: Problem, factor: float) -> float:
    """``factor`` n³ for real numbers, four times as much for complex ones."""
    m, n = given.shape
    return factor * min(m, n) ** 2 * max(m, n) * (4 if given.channels.a.is_complex() else 1)


def lu(given: Problem) -> float:
    """LU factorisation and inversion, 2 n³ (Golub and Van Loan, Matrix Computations, 3.2)."""
    return cubic(given, 2.0)


def golub_kahan(given: Problem) -> float:
    """All of U, S and V by Golub-Kahan, 22 n³ (ibid., Figure 8.6.1, for m = n)."""
    return cubic(given, 22.0)


@flops.register
def _(solver: NeuralNewton, given: Problem) -> float:
    n = given.shape[0]
    return solver.steps * 2 * product(given, n, n, n)


@flops.register
def _(solver: NewtonSchulz, given: Problem) -> float:
    n = given.shape[0]
    return solver.steps * 2 * product(given, n, n, n) + 2.0 * (solver.degree + 1) * entries(given)


@flops.register
def _(solver: OperatorInterpolation, given: Problem) -> float:
    n, count = given.shape[0], solver.num_samples
    columns = n if solver.sketch is None else solver.sketch
    images = count * product(given, n, n, columns)
    normal = product(given, count, n * columns, count) + cubic(given, 2 / 3) * (count / n) ** 3
    return images + normal + 2.0 * count * entries(given)


@flops.register
def _(solver: ZhangInverse, given: Problem) -> float:
    n = given.shape[0]
    return solver.substeps * 4 * 3 * product(given, n, n, n)


@flops.register
def _(solver: RandomizedSVD, given: Problem) -> float:
    m, n = given.shape
    triplets = given.exact[1].shape[-1]
    columns = min(triplets + solver.oversampling, m, n)
    passes = 2 + 2 * solver.power_iterations
    orthonormal = (1 + solver.power_iterations) * 2 * product(given, m, columns, columns)
    small = product(given, columns, n, columns) + product(given, 9, columns, columns**2) / 2
    last = product(given, m, columns, triplets) + product(given, n, m, triplets)
    return passes * product(given, m, n, columns) + orthonormal + small + last


@flops.register
def _(solver: ZhangSVD, given: Problem) -> float:
    m, n = given.shape
    triplets = given.exact[1].shape[-1]
    # One LU factorisation of m + 1 unknowns a triplet, A A^H, and the products with U and V.
    systems = triplets * product(given, 1, 1, 1) * (m + 1) ** 3 / 3
    derivative = 7 * product(given, 1, m, n)
    return systems + product(given, m, n, m) + 6 * product(given, m, n, triplets) + derivative


@flops.register
def _(solver: Hold, given: Problem) -> float:
    del solver, given
    return 0.0


@flops.register
def _(solver: Spline, given: Problem) -> float:
    return 2.0 * (solver.degree + 1) * entries(given)


@flops.register
def _(solver: DFT, given: Problem) -> float:
    # A tap of the impulse response times a phase for every entry.
    return (8.0 if given.channels.a.is_complex() else 4.0) * solver.num_samples * entries(given)


@flops.register
def _(solver: Learned, given: Problem) -> float:
    basis = solver.trunk_basis(given.channels.a.shape[1])
    active = getattr(basis, "degree", basis.width - 1) + 1
    if solver.rank is None:
        return 2.0 * active * entries(given)
    return 2.0 * active * solver.rank + 2.0 * solver.rank * entries(given)


@flops.register(NumPyLU)
@flops.register(LibraryLU)
def _(solver: Solver, given: Problem) -> float:
    del solver
    return lu(given)


@flops.register(NumPySVD)
@flops.register(LibrarySVD)
def _(solver: Solver, given: Problem) -> float:
    del solver
    return golub_kahan(given)


@flops.register
def _(solver: Exact, given: Problem) -> float:
    del solver
    m, n = given.shape
    if len(given.exact) == 3:  # A A^H, its eigenvectors (9 m³), A^H U
        triplets = given.exact[1].shape[-1]
        return product(given, m, n, m) + cubic(given, 9.0) * m / n + product(given, n, m, triplets)
    return lu(given)


@flops.register
def _(solver: Trained, given: Problem) -> float:
    (mapping,) = solver.mappings
    trunk = mapping.trunk  # type: ignore[attr-defined]
    weights = sum(layer.weight.numel() for layer in [*trunk.hidden, trunk.readout])
    return 2.0 * weights + 2.0 * trunk.rank * entries(given)
