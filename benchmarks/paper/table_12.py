"""Table 12: batches of matrices, NeuMatC against the library of the device."""

from __future__ import annotations

import torch

from benchmarks.paper.measure import measure
from benchmarks.paper.problems import (
    NUM_SAMPLES,
    Problem,
    cosines,
    decaying_product,
    inverse_error,
    on_grid,
    problem,
    reconstruction_error,
    spread_over,
)
from benchmarks.paper.sheet import Row, Settings, Sheet, main
from benchmarks.paper.table_4 import on_device
from neumatc_mimo.operations import SVD, Inverse
from neumatc_mimo.solvers import Exact, Learned, LibraryLU, LibrarySVD, Solver

_RANKS = {"inversion": 24, "SVD": 32}


def run(settings: Settings) -> Sheet:
    """Every size and batch."""
    sizes, batches = ((64,), (256,)) if settings.quick else ((128, 256, 512), (256, 512))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    library = "cuSOLVER" if device == "cuda" else "LAPACK, as no CUDA device was at hand,"
    sheet = Sheet(
        "table_12",
        "Table 12: batches of matrices",
        f"{library} through PyTorch compared with NeuMatC, families of Tables 1 and 2, float32. "
        "Milliseconds for the whole batch, scaled from the largest even grid with these samples. "
        "512 × 512: only the smaller batch, because of the memory.",
    )
    for n in sizes:
        for batch in batches if n < 512 else batches[:1]:
            sheet.rows += _rows(n, batch, device)
    return sheet


def _rows(n: int, batch: int, device: str) -> list[Row]:
    between, count = spread_over(batch)
    problems: dict[str, Problem] = {
        "inversion": problem(
            Inverse(), on_grid(cosines(n, 0), count), inverse_error, between=between
        ),
        "SVD": problem(
            SVD(16),
            on_grid(decaying_product(n, 16, 0), count),
            reconstruction_error,
            between=between,
        ),
    }
    exact: dict[str, list[Solver]] = {
        "inversion": [LibraryLU()],
        "SVD": [LibrarySVD(), Exact()],
    }
    rows: list[Row] = []
    for name, given in problems.items():
        there = on_device(given, device)
        ours = measure(name, there, Learned(NUM_SAMPLES, _RANKS[name]), most=5)
        for solver in exact[name]:
            other = measure(name, there, solver, most=1 if device == "cpu" else 5)
            rows.append(
                {
                    "n": n,
                    "batch": batch,
                    "device": device,
                    "operation": f"{name}, {type(solver).__name__}",
                    "library, ms": other.milliseconds.median * batch,
                    "NeuMatC, ms": ours.milliseconds.median * batch,
                    "times": other.milliseconds.median / ours.milliseconds.median,
                    "RelErr": ours.error,
                }
            )
    return rows


if __name__ == "__main__":
    main(run)
