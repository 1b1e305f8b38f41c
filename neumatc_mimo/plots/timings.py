"""Times of several ways to do the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from neumatc_mimo.plots.curves import draw_curves
from neumatc_mimo.plots.style import COLOURS, Values, as_array, axes_or_new

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def times_along(
    size: str, sizes: Values, milliseconds: Mapping[str, Values], *, ax: Axes | None = None
) -> Axes:
    """Times over a size, both on logarithmic axes. NaN: not measured.

    :param size: what the size is called
    :param sizes: [num_points]
    :param milliseconds: way → milliseconds, [num_points]
    :param ax: axes to draw into; `None` makes a figure

    :return: the axes
    :raises ValueError: if lengths differ
    """
    ax = draw_curves(sizes, milliseconds, size, "time [ms]", "loglog", ax)
    ticks = np.atleast_1d(as_array(sizes))
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_xticks([], minor=True)
    return ax


def times(milliseconds: Mapping[str, Mapping[str, float]], *, ax: Axes | None = None) -> Axes:
    """Times of several methods, as bars on a logarithmic axis.

    :param milliseconds: what is done → way → milliseconds
    :param ax: axes to draw into; `None` makes a figure

    :return: the axes
    """
    ax = axes_or_new(ax)
    ways = list(dict.fromkeys(way for found in milliseconds.values() for way in found))
    height = 0.8 / len(ways)
    hatches = ("", "///", "...", "xx", "\\\\", "++", "oo")
    for number, way in enumerate(ways):
        rows = [(i, found[way]) for i, found in enumerate(milliseconds.values()) if way in found]
        at, values = np.array(rows).T
        bars = ax.barh(
            at + (number - (len(ways) - 1) / 2) * height,
            values,
            height,
            label=way,
            color=COLOURS[number % len(COLOURS)],
            hatch=hatches[number % len(hatches)],
            edgecolor="white",
        )
        labels = [f"{value:.0f}" if value >= 100 else f"{value:.3g}" for value in values]
        ax.bar_label(bars, labels, padding=2, fontsize="small")
    ax.set_yticks(range(len(milliseconds)), list(milliseconds))
    ax.invert_yaxis()
    ax.set(xscale="log", xlabel="time [ms]")
    ax.margins(x=0.15)
    ax.grid(visible=True, axis="x", alpha=0.3)
    ax.legend(fontsize="small")
    return ax
