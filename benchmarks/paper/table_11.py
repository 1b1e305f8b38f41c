"""Table 11: SVD at a controlled rank along the parameter, against the randomised SVD."""

from __future__ import annotations

from benchmarks.paper.methods import Method, fixed, rows
from benchmarks.paper.problems import (
    Problem,
    generator,
    on_grid,
    problem,
    reconstruction_error,
)
from benchmarks.paper.sheet import Settings, Sheet, main
from benchmarks.paper.trainings import mlps
from neumatc_mimo.families import Product, RadialFamily
from neumatc_mimo.mapping.basis import SplineBasis
from neumatc_mimo.operations import SVD
from neumatc_mimo.solvers import Exact, Learned, NumPySVD, RandomizedSVD, Spline

RANK = 24
_RANKS = (10, 20, 30)
_SAMPLES, _BETWEEN = 20, 6
_TRIPLETS, _WANTED = 32, 16
_NEUMATC = Learned(_SAMPLES, RANK, SplineBasis(30), collocation=3 * (_SAMPLES - 1) + 1)


def run(settings: Settings) -> Sheet:
    """Every rank."""
    n, num_sets = (64, 2) if settings.quick else (256, 5)
    sheet = Sheet(
        "table_11",
        "Table 11: SVD at a controlled parametric rank",
        f"{n} × {n} products of two factors with {_TRIPLETS} columns. Each factor is a sum of "
        "radial functions of the parameter, of width 0.4 on [-1, 1]; their number is the rank in "
        f"the table. The columns decay to a fiftieth. The {_WANTED} strongest triplets are wanted. "
        f"RelErr is relative to their exact sum. {_SAMPLES} samples, {num_sets} data sets, "
        "float32.",
    )
    for rank in _RANKS:
        problems = [controlled(n, rank, seed) for seed in range(num_sets)]
        methods = [
            *fixed({"SVD (NumPy)": NumPySVD()}, 2),
            *fixed({"eigh (PyTorch)": Exact()}, 2),
            *fixed({"spline": Spline(_SAMPLES)}),
            *fixed({"RSVD": RandomizedSVD(oversampling=0, power_iterations=0)}),
            *fixed({"RSVD, q = 1, 8 more": RandomizedSVD(oversampling=8, power_iterations=1)}),
            Method.of("NeuMatC, closed form", _NEUMATC, RANK),
            *mlps(RANK, 2),
        ]
        sheet.rows += rows(problems, methods, f"{n}, rank {rank}")
    return sheet


def controlled(n: int, rank: int, seed: int) -> Problem:
    """Matrices whose factors have this rank along the parameter."""
    left, right = (
        RadialFamily((n, _TRIPLETS), generator(2 * seed + side), num_functions=rank, decay=0.02)
        for side in range(2)
    )
    matrices = on_grid(Product(left, right), _BETWEEN * (_SAMPLES - 1) + 1)
    return problem(SVD(_WANTED), matrices, reconstruction_error, between=_BETWEEN)


if __name__ == "__main__":
    main(run)
