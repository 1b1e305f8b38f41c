"""Table 6: inversion over two parameters, and MMSE over frequency, time and noise power."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.paper.domains import (
    NUM_TESTED,
    TensorSpline,
    filter_error,
    learned,
    multipath,
    munich,
    scattered,
)
from benchmarks.paper.methods import Method, fixed, rows
from benchmarks.paper.problems import Metric, Problem, generator, inverse_error
from benchmarks.paper.sheet import Settings, Sheet, main
from benchmarks.paper.trainings import TRAININGS
from neumatc_mimo.families import Family, FourierFamily
from neumatc_mimo.learning.algorithm1 import Algorithm1Config
from neumatc_mimo.operations import Inverse, Operation, PseudoInverse
from neumatc_mimo.solvers import LibraryLU, NumPyLU, Solver

RANK = 96
# Of the first four links of Munich, the two whose filters have the lowest rank over the domain.
_LINKS = (2, 0)


def run(settings: Settings) -> Sheet:
    """The query against the direct method, and against splines through the same samples."""
    size, steps, num_sets = (32, 150, 1) if settings.quick else (64, 500, 2)
    subjects = [_plane(size), _multipath()]
    if not settings.quick:
        subjects += [_munich(2e6, (16, 7, 6), 4.0), _munich(5e6, (24, 7, 6), 5.0)]
    sheet = Sheet(
        "table_6",
        "Table 6: domains of two and three dimensions",
        f"2-D: the inverse of {size} × {size} Fourier sums of order 1 in each of two parameters, "
        "plus 3 I. 3-D: the MMSE filter of 4 users over frequency, time and noise power, learned "
        "as the pseudo-inverse of [H(f, t), σI]. One family has 16 antennas and random paths, "
        "20 MHz. The others have ray-traced paths of Munich, 64 antennas and narrow bands, without "
        "first-arrival delays; of the first four links, these are the two whose filters have the "
        "lowest rank. 5 ms, users at 30 km/h in random directions, noise from −20 to 10 dB of an "
        f"entry's power. Samples are on a grid as given, errors at {NUM_TESTED} random points; "
        f"{num_sets} data sets. Spline: tensor product of degree 5 through the same samples.",
    )
    for subject in subjects:
        families = [subject.family(seed) for seed in range(num_sets)]
        problems = [scattered(subject.operation, f, subject.metric) for f in families]
        found = rows(problems, _methods(subject, families, steps), subject.title)
        # Which family it is, and how many exact results methods may know, before the rest.
        grid = " × ".join(map(str, subject.nums))
        sheet.rows += [{"family": row.pop("n"), "samples": grid} | row for row in found]
    return sheet


@dataclass(frozen=True)
class _Subject:
    """A family over some parameters, and what is wanted of it.

    :param family: by the number of a data set
    :param nums: samples along every parameter
    :param omega0: ω₀ of the trunk
    """

    title: str
    operation: Operation
    family: Callable[[int], Family]
    metric: Metric
    nums: tuple[int, ...]
    omega0: float


def _methods(subject: _Subject, families: list[Family], steps: int) -> list[Method]:
    def config(changes: dict[str, Any]) -> Algorithm1Config:
        settings: dict[str, Any] = {"width": 128, "omega0": subject.omega0, "lam": 1e-2} | changes
        # Adam alone gets as many times the steps as in the other tables.
        settings["steps"] = steps * settings["steps"] // TRAININGS["variable projection"]["steps"]
        every = max(settings["steps"] // 3, 1)
        return Algorithm1Config(rank=RANK, refine_every=every, candidates=200, **settings)

    def spline(given: Problem, seed: int) -> tuple[Solver, float | None]:
        del given
        return TensorSpline(families[seed], subject.nums), None

    def mlp(changes: dict[str, Any]) -> Callable[[Problem, int], tuple[Solver, float | None]]:
        return lambda given, seed: learned(
            given.operation, families[seed], subject.nums, config(changes)
        )

    return [
        *fixed({"LU (NumPy)": NumPyLU(), "LU (LAPACK, PyTorch)": LibraryLU()}),
        Method("spline", spline),
        *(Method(f"NeuMatC, {name}", mlp(changes), RANK) for name, changes in TRAININGS.items()),
    ]


def _plane(size: int) -> _Subject:
    def family(seed: int) -> Family:
        return FourierFamily((size, size), 2, generator(seed), shift=3.0)

    return _Subject("2-D", Inverse(), family, inverse_error, (20, 20), 3.0)


def _multipath() -> _Subject:
    return _Subject("3-D", PseudoInverse(), multipath, filter_error, (14, 8, 6), 4.0)


def _munich(bandwidth: float, nums: tuple[int, ...], omega0: float) -> _Subject:
    def family(seed: int) -> Family:
        return munich(_LINKS[seed], bandwidth)

    title = f"3-D, Munich, {bandwidth / 1e6:.0f} MHz"
    return _Subject(title, PseudoInverse(), family, filter_error, nums, omega0)


if __name__ == "__main__":
    main(run)
