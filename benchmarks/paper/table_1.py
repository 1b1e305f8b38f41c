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
        f"n × n cosines of 16 frequencies of up to one period over half the domain, plus 3 I (the "
        f"paper's constants are lost); an even grid of {NUM_POINTS} points, {NUM_SAMPLES} of them "
        f"samples, errors at the others; as many data sets as the column says, cut for time where "
        "matrices are large or methods slow; float32. "
        "Milliseconds a matrix: median and quartiles over data sets. Methods that prepare (COI, "
        "hold, linear, spline, NeuMatC) show the time of a query; what comes before it, exact "
        "samples included, is training. Rivals as tuned by the sweep.",
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
