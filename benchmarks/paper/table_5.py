"""Table 5: training plus many SVDs against computing them all."""

from __future__ import annotations

import torch

from benchmarks.paper.measure import measure
from benchmarks.paper.problems import (
    NUM_SAMPLES,
    decaying_product,
    on_grid,
    problem,
    reconstruction_error,
    spread_over,
)
from benchmarks.paper.sheet import Settings, Sheet, main
from benchmarks.paper.table_2 import NUM_TRIPLETS, RANK
from benchmarks.paper.table_4 import on_device
from neumatc_mimo.mapping.basis import SplineBasis
from neumatc_mimo.operations import SVD
from neumatc_mimo.solvers import Exact, Learned, LibrarySVD, NumPySVD, RandomizedSVD, Solver


def run(settings: Settings) -> Sheet:
    """Every batch size, all matrices computed."""
    n, batches = (128, (256,)) if settings.quick else (256, (512, 1024, 2048))
    sheet = Sheet(
        "table_5",
        f"Table 5: training and SVDs of {n} × {n} matrices, all counted",
        "The family of Table 2, with as many parameters as matrices, of which "
        f"{NUM_SAMPLES} are samples. {NUM_TRIPLETS} triplets of rank {RANK} along the parameter, "
        "float32, on a GPU if there is one. All matrices of the largest even grid with these "
        f"samples are computed ({', '.join(str(spread_over(batch)[1]) for batch in batches)}), and "
        "times are scaled to the batch. NumPy and LAPACK compute all n triplets, because they "
        "cannot compute fewer. eigh of A Aᴴ and the randomised SVD are exact on these matrices. "
        "They show what is possible if the rank is known.",
    )
    family = decaying_product(n, NUM_TRIPLETS, 0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for batch in batches:
        between, count = spread_over(batch)
        matrices = on_grid(family, count)
        given = on_device(
            problem(SVD(NUM_TRIPLETS), matrices, reconstruction_error, between=between), device
        )
        ours = measure(
            "NeuMatC",
            given,
            Learned(NUM_SAMPLES, RANK, SplineBasis(2 * NUM_SAMPLES), collocation=2 * NUM_SAMPLES),
            most=5,
        )
        whole = ours.training + ours.milliseconds.median * batch / 1e3
        others: dict[str, Solver] = {
            "SVD (NumPy)": NumPySVD(),
            "SVD (PyTorch)": LibrarySVD(),
            "eigh (PyTorch)": Exact(),
            "RSVD": RandomizedSVD(oversampling=0, power_iterations=0),
        }
        for name, solver in others.items():
            other = measure(name, given, solver, most=1)
            seconds = other.milliseconds.median * batch / 1e3
            sheet.rows.append(
                {
                    "matrices": batch,
                    "against": name,
                    "its time, s": seconds,
                    "training, s": ours.training,
                    "inference, s": ours.milliseconds.median * batch / 1e3,
                    "times, all counted": seconds / whole,
                    "times, inference": seconds / (whole - ours.training),
                    "RelErr": ours.error,
                    "its RelErr": other.error,
                }
            )
    return sheet


if __name__ == "__main__":
    main(run)
