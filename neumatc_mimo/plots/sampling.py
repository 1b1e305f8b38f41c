"""Adaptive sampling while it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neumatc_mimo.plots.style import COLOURS, as_array, axes_or_new, finished, mark_threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from neumatc_mimo.learning.collocation import Refinement


def refinement(
    found: Refinement, threshold: float, *, parameter: str = "p", ax: Axes | None = None
) -> Axes:
    """Residuals of candidates over a parameter, and which became collocation points.

    :param found: one look at the candidates of a domain of one dimension, from
        :func:`~neumatc_mimo.learning.algorithm1.train_algorithm1`'s callback
    :param threshold: residual above which a candidate has failed
    :param parameter: what the parameter is called, unit included
    :param ax: axes to draw into; `None` makes a figure

    :return: the axes
    :raises ValueError: if the domain has more dimensions
    """
    if found.candidates.shape[-1] != 1:
        raise ValueError(
            f"The candidates have {found.candidates.shape[-1]} coordinates, a picture over a "
            "parameter shows one."
        )
    ax = axes_or_new(ax)
    p, values, added = map(as_array, (found.candidates[:, 0], found.residual, found.added))
    ax.semilogy(p, values, ls="none", marker=".", ms=3, color=COLOURS[0], label="candidates")
    label = f"{len(added)} added to the collocation points"
    ax.semilogy(
        p[added], values[added], ls="none", marker="o", mfc="none", color=COLOURS[1], label=label
    )
    mark_threshold(ax, threshold)
    ax.set(
        title=f"after {found.step} steps, {100 * found.failure_probability:.0f} % failed",
        xlabel=parameter,
        ylabel="relative residual",
    )
    return finished(ax)
