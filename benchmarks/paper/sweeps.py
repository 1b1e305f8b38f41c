"""The rivals' tuning: settings on validation families, and the choice that tables use."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from benchmarks.paper.measure import Measured, mean, measure
from benchmarks.paper.problems import NUM_SAMPLES, Problem, synthetic_inversion, synthetic_svd
from benchmarks.paper.rivals import TARGET, inverse_rivals, svd_rivals
from benchmarks.paper.sheet import Row, Settings, Sheet, main
from neumatc_mimo.solvers import SOLVERS, Solver

# Seeds that no table uses.
_SEEDS = (100, 101)

Grid = dict[str, tuple[Any, ...]]

# Every rival's settings that are tried, by its name in ``rivals``.
_INVERSE: dict[str, tuple[str, Grid]] = {
    "NNI": ("neural_newton", {"steps": (4, 6, 8, 10, 14), "step_size": (0.8, 1.0, 1.2)}),
    "COI": (
        "operator_interpolation",
        {"num_samples": (8, 16, 24, NUM_SAMPLES), "sketch": (1, 2, 4, 8)},
    ),
    "ZNNI": (
        "zhang_inverse",
        {"gamma": (0.5, 1.0, 2.0, 2.6), "substeps": (1, 2), "power": (1.0, 0.7)},
    ),
    "Newton–Schulz": ("newton_schulz", {"steps": (1, 2), "degree": (0, 1, 2, 3)}),
    "DFT": ("dft", {"num_samples": (NUM_SAMPLES,), "num_taps": (None, 8, 16, 32)}),
    "spline": ("spline", {"num_samples": (NUM_SAMPLES,), "degree": (3, 5, 7, 9)}),
}
_SVD: dict[str, tuple[str, Grid]] = {
    "RSVD": ("randomized_svd", {"oversampling": (0, 2, 4, 8), "power_iterations": (0, 1, 2)}),
    "CRSVD": (
        "shared_projection_svd",
        {"oversampling": (0, 2, 4, 8), "power_iterations": (0, 1)},
    ),
    "ZNN-SVD": ("zhang_svd", {"gain": (0.05, 0.1, 0.2, 0.3)}),
    "spline": ("spline", {"num_samples": (NUM_SAMPLES,), "degree": (3, 5, 7)}),
}


def run(settings: Settings) -> Sheet:
    """Every setting of every rival."""
    n = 32 if settings.quick else 64
    sheet = Sheet(
        "sweeps",
        "The rivals' tuning",
        f"{n} × {n} families of Tables 1 and 2, with seeds {_SEEDS} that no table uses and at most "
        f"{NUM_SAMPLES} samples. Best: of the settings with a mean error of at most {TARGET:g}, "
        "the one with the fewest operations, and of several the one with the smallest error. If no "
        "setting reaches this error, the one with the smallest error. Used: the setting in "
        "`rivals.py`.",
    )
    for operation, grids, make, chosen in (
        ("inversion", _INVERSE, synthetic_inversion, inverse_rivals(NUM_SAMPLES)),
        ("SVD", _SVD, synthetic_svd, svd_rivals(NUM_SAMPLES)),
    ):
        problems = [make(n, seed) for seed in _SEEDS]
        for name, (kind, grid) in grids.items():
            rows = [
                _row(operation, name, arguments, SOLVERS[kind](**arguments), problems)
                for arguments in _settings(grid)
            ]
            best = choice(rows)
            for row in rows:
                row["best"] = row is best
                row["used"] = SOLVERS[kind](**row.pop("arguments")) == chosen[name]
            sheet.rows += rows
    return sheet


def choice(rows: list[Row]) -> Row:
    """The cheapest row within the target, else the one of the smallest error."""
    good = [row for row in rows if row["RelErr, mean"] <= TARGET]
    if good:
        # By operations: times of a shared machine would choose another one every day.
        return min(good, key=lambda row: (row["GFLOP"], row["RelErr, mean"]))
    return min(rows, key=lambda row: row["RelErr, mean"])


def _settings(grid: Grid) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _row(
    operation: str, name: str, arguments: dict[str, Any], solver: Solver, problems: list[Problem]
) -> Row:
    found: list[Measured] = [measure(name, given, solver, most=4) for given in problems]
    return {
        "operation": operation,
        "rival": name,
        "setting": ", ".join(f"{key} {value}" for key, value in arguments.items()),
        "ms a matrix": min(m.milliseconds.median for m in found),
        "GFLOP": found[0].gflop,
        "RelErr, mean": _finite(mean([m.error for m in found])),
        "arguments": arguments,
    }


def _finite(error: float) -> float:
    return error if error == error else float("inf")


if __name__ == "__main__":
    main(run)
