"""Table 3: inversion and SVD on real channels."""

from __future__ import annotations

from benchmarks.paper.methods import Method, fixed, rows
from benchmarks.paper.problems import Problem
from benchmarks.paper.real import real_inversion, real_svd, scenarios
from benchmarks.paper.rivals import inverse_rivals, svd_rivals
from benchmarks.paper.sheet import Row, Settings, Sheet, main
from benchmarks.paper.trainings import mlps
from neumatc_mimo.mapping.basis import SplineBasis
from neumatc_mimo.solvers import (
    Exact,
    Learned,
    LibraryLU,
    LibrarySVD,
    NeuralNewton,
    NumPyLU,
    NumPySVD,
    OperatorInterpolation,
    RandomizedSVD,
    Solver,
)

NUM_STREAMS = 4

# Subcarriers between points of the grid, and the share of the band, for memory: a sample each 8.
_GRIDS = {64: (2, 1.0), 128: (2, 0.5), 256: (2, 0.25)}

# What is cut for time: sizes in the cities, and at larger sizes rivals that compute with whole
# matrices at every point, slower than LU wherever they were measured.
_SIZES: dict[str, dict[str, tuple[int, ...]]] = {
    "inversion": {"munich": (64, 128, 256), "newyork": (64, 256), "losangeles": (64,)},
    "SVD": {"munich": (64, 128, 256), "newyork": (64,), "losangeles": ()},
}
_SLOW = {
    64: set[str](),
    128: {"ZNNI", "Newton–Schulz", "ZNN-SVD"},
    256: {"ZNNI", "Newton–Schulz", "ZNN-SVD", "NNI", "COI"},
}

# ω₀ of MLPs over the whole band, whose filters turn some 30 times.
_OMEGA0 = 30.0

# Steps of iterations that know nothing of each other's points: enough for condition numbers of
# some thousands.
_NEWTON_STEPS = 26


def run(settings: Settings) -> Sheet:
    """Every method on every scenario."""
    sheet = Sheet(
        "table_3",
        "Table 3: inversion and SVD of real channels",
        "Complex channels over frequency: 98 MHz at 3.5 GHz (n = 128: half of it, n = 256: a "
        "quarter), with a point every 60 kHz. Every fourth point is a sample, and errors are for "
        "the odd points. At the points half-way between samples, NeuMatC lowers the residual "
        "without an exact result. Inversion: H Hᴴ + σ² I for n users and 2 n antennas, with σ² "
        f"20 dB below the mean row power. SVD: the {NUM_STREAMS} strongest triplets of n × 2 n "
        "channels of one user. complex64, one link for each scenario, slow methods once. To save "
        "time, there are fewer sizes for the cities, and no slow rivals and no mappings with a "
        "readout at the larger sizes. Local: all B-splines, eight of them at a frequency. Rank r: "
        "a mapping of rank r with a readout of the same splines. If a scenario has no such user or "
        "group of users, the row is left out.",
    )
    for operation, problem_rows in (("inversion", _inversion), ("SVD", _svd)):
        for name in scenarios():
            for n in _SIZES[operation][name][: 1 if settings.quick else None]:
                # MLPs take minutes: one size of one scenario, and none of a quick run.
                trained = name == "munich" and n == min(_GRIDS) and not settings.quick
                sheet.rows += problem_rows(name, n, trained)
    return sheet


def _inversion(name: str, n: int, trained: bool) -> list[Row]:
    spacing, share = _GRIDS[n]
    try:
        given = real_inversion(name, n, spacing=spacing, share=share)
    except ValueError:
        return []
    count = given.num_samples
    own: dict[str, Solver] = {
        "NNI": NeuralNewton(steps=_NEWTON_STEPS),
        "COI": OperatorInterpolation(min(count, 40), sketch=2),
    }
    rivals = inverse_rivals(count) | own
    methods = [
        *fixed({"LU (NumPy)": NumPyLU(), "LU (LAPACK, PyTorch)": LibraryLU()}),
        *fixed(_fast(rivals, n)),
        *_mappings(given, (128, 256)),
        *(mlps(128, omega0=_OMEGA0) if trained else []),
    ]
    return rows([given], methods, f"{name}, inversion, {n}, cond {given.condition:.0f}")


def _svd(name: str, n: int, trained: bool) -> list[Row]:
    spacing, share = _GRIDS[n]
    try:
        given = real_svd(name, n, NUM_STREAMS, spacing=spacing, share=share)
    except ValueError:
        return []
    exact: dict[str, Solver] = {
        "SVD (NumPy)": NumPySVD(),
        "SVD (LAPACK, PyTorch)": LibrarySVD(),
        "eigh (PyTorch)": Exact(),
        "RSVD, 24 more columns": RandomizedSVD(oversampling=24, power_iterations=1),
    }
    methods = [
        *fixed(exact),
        *fixed(_fast(svd_rivals(given.num_samples), n)),
        *_mappings(given, (32, 64)),
        *(mlps(32, omega0=_OMEGA0) if trained else []),
    ]
    return rows([given], methods, f"{name}, SVD, {n} × {2 * n}")


def _fast(rivals: dict[str, Solver], n: int) -> dict[str, Solver]:
    """Those that are run at a size."""
    return {name: solver for name, solver in rivals.items() if name not in _SLOW[n]}


def _mappings(given: Problem, ranks: tuple[int, ...]) -> list[Method]:
    """The local trunk, and those of lower rank."""
    count = given.num_samples
    basis = SplineBasis(max(3 * count // 2, 16))
    points = len(given.unseen) // 2 + 1

    def learned(rank: int | None) -> Learned:
        return Learned(count, rank, basis, collocation=points, rounds=3)

    methods = [
        Method.of("NeuMatC, local", learned(None), basis.width),
    ]
    for rank in ranks:
        if rank < basis.width and given.shape[0] < 256:
            methods.append(Method.of(f"NeuMatC, rank {rank}", learned(rank), rank))
    return methods


if __name__ == "__main__":
    main(run)
