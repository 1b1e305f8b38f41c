"""Figure 4: time of an inversion over the size and over the number of matrices."""

from __future__ import annotations

from benchmarks.paper.measure import measure
from benchmarks.paper.pictures import panels, save
from benchmarks.paper.problems import (
    NUM_SAMPLES,
    Problem,
    cosines,
    inverse_error,
    on_grid,
    problem,
    spread_over,
)
from benchmarks.paper.rivals import inverse_rivals
from benchmarks.paper.sheet import Row, Settings, Sheet, main
from neumatc_mimo.operations import Inverse
from neumatc_mimo.solvers import Learned, NumPyLU, Solver

RANK = 24


def run(settings: Settings) -> Sheet:
    """Two sweeps: the size at few matrices, and the number at one size."""
    sizes = (16, 32, 64) if settings.quick else (16, 32, 64, 128, 256, 512)
    counts = (157, 313) if settings.quick else (157, 313, 625, 1249, 2497)
    size = 32 if settings.quick else 64
    sheet = Sheet(
        "figure_4",
        "Figure 4: inversion over the size and the number of matrices",
        f"The family of Table 1 with {NUM_SAMPLES} samples, float32. Milliseconds per matrix over "
        f"the size (157 matrices), and milliseconds for all matrices over their number ({size} × "
        f"{size}), both without the training. Above 256, the slowest rivals are left out.",
    )
    for problems, whole in (
        ({n: _problem(n, 157) for n in sizes}, False),
        ({count: _problem(size, count) for count in counts}, True),
    ):
        sheet.rows += [_row(key, given, whole) for key, given in problems.items()]
    sheet.pictures.append(picture(sheet.rows, settings))
    return sheet


def picture(rows: list[Row], settings: Settings) -> str:
    """Both parts of the table, a panel each."""
    figure, axes = panels(["ms a matrix over its size", "ms over the number of matrices"])
    for ax, key in zip(axes, ("n", "matrices"), strict=True):
        part = [row for row in rows if key in row]
        for name in list(part[0])[1:]:
            kept = [(row[key], row[name]) for row in part if row[name] is not None]
            ax.loglog(*zip(*kept, strict=True), marker="o", ms=3, label=name)
        places = [row[key] for row in part]
        ax.set_xticks(places, labels=[str(place) for place in places])
        ax.minorticks_off()
        ax.set_xlabel(key)
    axes[0].legend(fontsize=7)
    return save(figure, settings, "figure_4")


def _problem(n: int, count: int) -> Problem:
    between, count = spread_over(count)
    return problem(Inverse(), on_grid(cosines(n, 0), count), inverse_error, between=between)


def _row(key: int, given: Problem, whole: bool) -> Row:
    chosen: dict[str, Solver] = {"LU (NumPy)": NumPyLU()}
    if given.shape[0] <= 256:
        rivals = inverse_rivals(NUM_SAMPLES)
        chosen |= {name: rivals[name] for name in ("NNI", "COI", "ZNNI", "spline")}
    chosen["NeuMatC"] = Learned(NUM_SAMPLES, RANK)
    row: Row = {"matrices" if whole else "n": key}
    count = given.channels.a.shape[1] if whole else 1
    names = ["LU (NumPy)", "NNI", "COI", "ZNNI", "spline", "NeuMatC"]
    for name in names:
        row[name] = None
        if name in chosen:
            slow = name in ("NNI", "COI", "ZNNI")
            found = measure(name, given, chosen[name], most=1 if slow else 5)
            row[name] = found.milliseconds.median * count
    return row


if __name__ == "__main__":
    main(run)
