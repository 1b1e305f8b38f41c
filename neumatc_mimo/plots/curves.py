"""Curves of several ways over one quantity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from neumatc_mimo.plots.style import MARKERS, Values, along, as_array, axes_or_new, finished, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_curves(
    x: Values,
    curves: Mapping[str, Values],
    xlabel: str,
    ylabel: str,
    scale: str,
    ax: Axes | None,
) -> Axes:
    """Lines with markers, one a label; what a logarithmic axis cannot show is left out."""
    points = np.atleast_1d(as_array(x))
    checked = {label: along(points, label, values) for label, values in curves.items()}
    ax = axes_or_new(ax)
    for number, (style, (label, values)) in enumerate(zip(styles(), checked.items(), strict=False)):
        if scale != "plot":
            values = np.where(values > 0, values, np.nan)
        marker = MARKERS[number % len(MARKERS)]
        # Hollow and ever smaller: curves that lie on each other all show.
        style |= {"marker": marker, "ms": max(9 - 2 * number, 3), "mfc": "none"}
        getattr(ax, scale)(points, values, label=label, **style)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    return finished(ax)
