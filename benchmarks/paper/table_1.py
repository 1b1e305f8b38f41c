"""Table 1: inversion of synthetic parametric matrices."""

from __future__ import annotations

from benchmarks.paper.methods import Method, fixed, rows
from benchmarks.paper.problems import (
    NUM_POINTS,
    NUM_SAMPLES,
    data_sets,
    synthetic_inversion,
)
from benchmarks.paper.rivals import inverse_rivals
from benchmarks.paper.sheet import Settings, Sheet, main
from benchmarks.paper.trainings import mlps
from neumatc_mimo.mapping.basis import SplineBasis
from neumatc_mimo.solvers import Learned, LibraryLU, NumPyLU

RANK = 24

# Iterations and an MLP's training take a hundred times as long as the rest.
_FEW = 5


def run(settings: Settings) -> Sheet:
    """Every method on every data set."""
    sheet = Sheet(
        "table_1",
        "Table 1: inversion of synthetic matrices",
        "The matrices are n × n sums of cosines with 16 frequencies, of at most one period over "
        "half the domain, plus 3 I. (The paper's constants are lost.) There are "
        f"{NUM_POINTS} evenly spaced points. {NUM_SAMPLES} of them are samples, errors are for the "
        "others. The column gives the number of data sets; there are fewer for large matrices and "
        "slow methods. float32. Milliseconds per matrix: median and quartiles over data sets. For "
        "methods with a preparation (COI, hold, linear, spline, NeuMatC), this is the time of a "
        "query. The preparation, including the exact samples, is the training. The rivals have the "
        "settings of the sweep.",
    )
    for problems in data_sets(synthetic_inversion, settings.quick):
        methods = [
            *fixed({"LU (NumPy)": NumPyLU()}),
            *fixed({"LU (LAPACK, PyTorch)": LibraryLU()}, _FEW),
            *fixed(inverse_rivals(NUM_SAMPLES), _FEW),
            Method.of("NeuMatC, closed form", neumatc(RANK), RANK),
            *mlps(RANK, _FEW),
        ]
        sheet.rows += rows(problems, methods)
    return sheet


def neumatc(rank: int | None) -> Learned:
    """The closed form from all samples, and residuals half-way between them."""
    points = (NUM_POINTS + 1) // 2
    return Learned(NUM_SAMPLES, rank, SplineBasis(points), collocation=points)


if __name__ == "__main__":
    main(run)
