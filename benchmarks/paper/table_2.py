"""Table 2: SVD of synthetic parametric matrices."""

from __future__ import annotations

from benchmarks.paper.methods import Method, fixed, rows
from benchmarks.paper.problems import (
    NUM_POINTS,
    NUM_SAMPLES,
    data_sets,
    synthetic_svd,
)
from benchmarks.paper.rivals import svd_rivals
from benchmarks.paper.sheet import Settings, Sheet, main
from benchmarks.paper.table_1 import neumatc
from benchmarks.paper.trainings import mlps
from neumatc_mimo.solvers import Exact, LibrarySVD, NumPySVD

RANK = 32
NUM_TRIPLETS = 16
_FEW = 3


def run(settings: Settings) -> Sheet:
    """Every method on every data set."""
    sheet = Sheet(
        "table_2",
        "Table 2: SVD of synthetic matrices",
        f"The matrices are n × n products of two factors with {NUM_TRIPLETS} columns. The factors "
        "are sums of cosines with 8 frequencies, of at most half a period over half the domain. "
        f"The columns decay to a fiftieth. All {NUM_TRIPLETS} triplets are wanted, and RelErr is "
        "the error of U S Vᴴ. The column gives the number of data sets. There are "
        f"{NUM_POINTS} points and {NUM_SAMPLES} samples, with times and errors as in Table 1. The "
        "matrices have no other triplets, so randomised SVDs are exact here. The rows of eigh, "
        "A Aᴴ first, are our exact block.",
    )
    for problems in data_sets(synthetic_svd, settings.quick):
        methods = [
            *fixed({"SVD (NumPy)": NumPySVD()}, _FEW),
            *fixed({"SVD (LAPACK, PyTorch)": LibrarySVD(), "eigh (PyTorch)": Exact()}, _FEW),
            *fixed(svd_rivals(NUM_SAMPLES), _FEW),
            Method.of("NeuMatC, closed form", neumatc(RANK), RANK),
            *mlps(RANK, _FEW),
        ]
        sheet.rows += rows(problems, methods)
    return sheet


if __name__ == "__main__":
    main(run)
