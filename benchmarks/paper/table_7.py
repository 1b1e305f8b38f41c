"""Table 7: QR and Cholesky decompositions and the matrix exponential."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from benchmarks.paper.flops import cubic
from benchmarks.paper.methods import Method, fixed, rows
from benchmarks.paper.pointwise import Pointwise
from benchmarks.paper.problems import NUM_POINTS, NUM_SAMPLES, Problem, cosines, on_grid, problem
from benchmarks.paper.sheet import Settings, Sheet, main
from benchmarks.paper.table_1 import neumatc
from benchmarks.paper.trainings import mlps
from neumatc_mimo.families import Family, Gram
from neumatc_mimo.metrics.measures import relative_error
from neumatc_mimo.operations import QR, Cholesky, Components, MatrixExponential, Operation

RANK = 24

# Data sets of the MLPs, and the largest matrices they are trained for: ten seconds each.
_FEW, _LARGEST = 2, 64


def run(settings: Settings) -> Sheet:
    """Every operation on every data set."""
    sizes, num_sets = ((32,), 2) if settings.quick else ((64, 128), 20)
    sheet = Sheet(
        "table_7",
        "Table 7: QR, Cholesky, matrix exponential",
        "n × n cosines of 16 frequencies as in Table 1: plus 3 I for QR; Gram matrices of these, "
        "plus 0.1 I, for Cholesky; without a shift for the exponential. "
        f"{num_sets} data sets; {NUM_POINTS} points, {NUM_SAMPLES} samples, times as in Table 1; "
        "RelErr is that of the worst component (Q, R), mean over unseen points. The diagonals of R "
        "and L are real and positive everywhere, which makes them unique, in NumPy's rows too.",
    )
    for n in sizes:
        for subject in SUBJECTS:
            problems = [subject.problem(n, seed) for seed in range(num_sets)]
            few = 1 if settings.quick else _FEW
            methods = [
                *fixed({subject.library: Pointwise(_numpy(subject.function), subject.cost)}),
                *fixed({"PyTorch": Pointwise(subject.operation.exact, subject.cost)}),
                Method.of("NeuMatC, closed form", neumatc(RANK), RANK),
                *(mlps(RANK, few) if n <= _LARGEST else []),
            ]
            sheet.rows += rows(problems, methods, f"{subject.title}, {n}")
    return sheet


@dataclass(frozen=True)
class Subject:
    """An operation, its matrices and the library that everybody has.

    :param family: n and the number of a data set to matrices
    :param library: name of it
    :param function: a [..., n, n] to components, NumPy's arrays
    :param cost: real operations a matrix
    """

    title: str
    operation: Operation
    family: Callable[[int, int], Family]
    library: str
    function: Callable[[Any], tuple[Any, ...]]
    cost: Callable[[Problem], float]

    def problem(self, n: int, seed: int) -> Problem:
        return problem(self.operation, on_grid(self.family(n, seed)), worst_error)


def worst_error(answer: Any, exact: Components) -> Tensor:
    """Relative error of the worst component."""
    errors = [
        relative_error(found[0].to(e.dtype), e, tuple(range(1, e.ndim)))
        for found, e in zip(answer, exact, strict=True)
    ]
    return torch.stack(errors).amax(0)


def _qr(a: Any) -> tuple[Any, ...]:
    q, r = np.linalg.qr(a)
    sign = np.sign(np.diagonal(r, axis1=-2, axis2=-1))
    return q * sign[..., None, :], r * sign[..., :, None]


def _squarings(given: Problem) -> int:
    """Of the exponential: until the norm is below 5.37 (Higham, SIAM J. Matrix Anal. 26, 2005)."""
    norm = float(torch.linalg.matrix_norm(given.channels.a[0], ord=1).median())
    return max(0, math.ceil(math.log2(norm / 5.37)))


def _numpy(function: Callable[[Any], tuple[Any, ...]]) -> Callable[[Tensor], Components]:
    return lambda a: tuple(torch.from_numpy(c) for c in function(a.numpy()))


SUBJECTS = (
    Subject(
        "QR",
        QR(),
        cosines,
        "NumPy",
        _qr,
        # Householder reflections, and Q from them (Golub and Van Loan, Section 5.2).
        lambda given: cubic(given, 8 / 3),
    ),
    Subject(
        "Cholesky",
        Cholesky(),
        lambda n, seed: Gram(cosines(n, seed), 0.1),
        "NumPy",
        lambda a: (np.linalg.cholesky(a),),
        lambda given: cubic(given, 1 / 3),
    ),
    Subject(
        "exponential",
        MatrixExponential(),
        lambda n, seed: cosines(n, seed, shift=0.0),
        "SciPy",
        lambda a: (scipy.linalg.expm(a),),
        # Padé of order 13: six products and a system; then squarings. (PyTorch: five, no system.)
        lambda given: cubic(given, 12 + 8 / 3 + 2 * _squarings(given)),
    ),
)


if __name__ == "__main__":
    main(run)
