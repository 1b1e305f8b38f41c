"""Figure 6: how much the hyperparameters matter, one at a time."""

from __future__ import annotations

from typing import Any

from benchmarks.paper.pictures import panels, save
from benchmarks.paper.sheet import Settings, Sheet, main
from benchmarks.paper.trials import Trial
from benchmarks.paper.variants import DEFAULT, MEDIANS, row, task, trials

AXES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "depth": ("hidden layers", (1, 2, 3, 4)),
    "width": ("width", (16, 32, 64, 128)),
    "rank": ("rank r", (8, 16, 32, 48)),
    "omega0": ("ω₀", (1.0, 3.0, 10.0, 20.0, 40.0)),
    "lam": ("λ", (0.0, 1e-3, 1e-2, 1e-1, 1.0)),
}


def run(settings: Settings) -> Sheet:
    """A panel and a few rows for every hyperparameter."""
    sheet = Sheet("figure_6", "Figure 6: hyperparameters", f"{task(settings)} {MEDIANS}")
    # The default is a value of every axis: trained once.
    shared = trials(settings)
    drawn: dict[str, list[tuple[Any, list[Trial]]]] = {}
    for name, (label, values) in AXES.items():
        chosen = [v for v in values if v == getattr(DEFAULT, name)]
        if settings.quick:
            values = (values[0], *chosen, values[-1])
        drawn[name] = [
            (v, shared if v in chosen else trials(settings, **{name: v})) for v in values
        ]
        sheet.rows += [row(label, v, found) for v, found in drawn[name]]
    sheet.pictures.append(_draw(drawn, settings))
    return sheet


def _draw(drawn: dict[str, list[tuple[Any, list[Trial]]]], settings: Settings) -> str:
    """Medians as a line, the seeds as dots; all panels on one scale."""
    figure, axes = panels([AXES[name][0] for name in drawn], sharey=True)
    for axis, points in zip(axes, drawn.values(), strict=True):
        places = range(len(points))
        for place, (_, found) in zip(places, points, strict=True):
            axis.plot([place] * len(found), [t.error for t in found], ".", color="0.6")
        middle = [sorted(t.error for t in found)[len(found) // 2] for _, found in points]
        axis.plot(places, middle, "-o")
        axis.set_xticks(places, [f"{value:g}" for value, _ in points])
        axis.set_yscale("log")
    axes[0].set_ylabel("RelErr at unseen frequencies")
    return save(figure, settings, "figure_6")


if __name__ == "__main__":
    main(run)
