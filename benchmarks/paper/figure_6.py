"""Figure 6: how much the hyperparameters matter, one at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt

from benchmarks.paper.sheet import Settings, Sheet, main
from benchmarks.paper.trials import Trial
from benchmarks.paper.variants import DEFAULT, MEDIANS, TASK, row, trials

AXES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "depth": ("hidden layers", (1, 2, 3, 4)),
    "width": ("width", (16, 32, 64, 128)),
    "rank": ("rank r", (8, 16, 32, 48)),
    "omega0": ("ω₀", (1.0, 3.0, 10.0, 20.0, 40.0)),
    "lam": ("λ", (0.0, 1e-3, 1e-2, 1e-1, 1.0)),
}


def run(settings: Settings) -> Sheet:
    """A panel and a few rows for every hyperparameter."""
    sheet = Sheet("figure_6", "Figure 6: hyperparameters", f"{TASK} {MEDIANS}")
    # The default is a value of every axis: trained once.
    shared = trials(settings)
    panels: dict[str, list[tuple[Any, list[Trial]]]] = {}
    for name, (label, values) in AXES.items():
        chosen = [v for v in values if v == getattr(DEFAULT, name)]
        if settings.quick:
            values = (values[0], *chosen, values[-1])
        panels[name] = [
            (v, shared if v in chosen else trials(settings, **{name: v})) for v in values
        ]
        sheet.rows += [row(label, v, found) for v, found in panels[name]]
    sheet.pictures = ["figure_6.png"]
    _draw(panels, settings.folder / sheet.pictures[0])
    return sheet


def _draw(panels: dict[str, list[tuple[Any, list[Trial]]]], file: Path) -> None:
    """Medians as a line, the seeds as dots; all panels on one scale."""
    figure, axes = plt.subplots(1, len(panels), figsize=(13, 3), sharey=True)
    for axis, (name, points) in zip(axes, panels.items(), strict=True):
        places = range(len(points))
        for place, (_, found) in zip(places, points, strict=True):
            axis.plot([place] * len(found), [t.error for t in found], ".", color="0.6")
        middle = [sorted(t.error for t in found)[len(found) // 2] for _, found in points]
        axis.plot(places, middle, "-o")
        axis.set_xticks(places, [f"{value:g}" for value, _ in points])
        axis.set_xlabel(AXES[name][0])
        axis.set_yscale("log")
        axis.grid(alpha=0.3, which="both")
    axes[0].set_ylabel("RelErr at unseen frequencies")
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main(run)
