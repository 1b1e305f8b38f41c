"""Results over frequency: entries, their errors, residuals, branches and phases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from neumatc_mimo.plots.style import (
    COLOURS,
    FREQUENCY,
    GRID,
    MARKERS,
    Values,
    along,
    as_array,
    axes_or_new,
    finished,
    mark_threshold,
    megahertz,
    positive,
    styles,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def entry(frequencies: Values, exact: Values, queried: Values, *, ax: Axes | None = None) -> Axes:
    """Real and imaginary part of an entry of a result, exact and queried.

    :param frequencies: Hz relative to the carrier, [num_frequencies]
    :param exact: [num_frequencies], complex
    :param queried: [num_frequencies], complex
    :param ax: axes to draw into; `None` makes a figure

    :return: the axes
    :raises ValueError: if lengths differ
    """
    mhz = megahertz(frequencies)
    pair = (along(mhz, "exact", exact), along(mhz, "queried", queried))
    ax = axes_or_new(ax)
    for part, colour in zip(("real", "imag"), COLOURS, strict=False):
        known, asked = (getattr(values, part) for values in pair)
        ax.plot(mhz, known, color=colour, alpha=0.5, lw=3, label=f"exact, {part}")
        ax.plot(mhz, asked, "k", ls="--" if part == "real" else ":", label=f"queried, {part}")
    ax.set(xlabel=FREQUENCY, ylabel="entry")
    ax.legend(ncol=2, fontsize="small")
    return ax


def entry_error(
    frequencies: Values, exact: Values, queried: Values, *, ax: Axes | None = None
) -> Axes:
    """Absolute error of an entry of a result; parameters as of :func:`entry`."""
    mhz = megahertz(frequencies)
    error = np.abs(along(mhz, "queried", queried) - along(mhz, "exact", exact))
    ax = axes_or_new(ax)
    ax.semilogy(mhz, positive(error), color=COLOURS[0], lw=0.8)
    ax.set(xlabel=FREQUENCY, ylabel="absolute error")
    ax.grid(**GRID)
    return ax


def residual(
    frequencies: Values,
    residuals: Mapping[str, Values],
    *,
    threshold: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Relative residuals over frequency: the median of links, and their range as a band.

    :param frequencies: Hz relative to the carrier, [num_frequencies]
    :param residuals: label → residual, [num_frequencies] or [num_links, num_frequencies]
    :param threshold: marked by a horizontal line, if given
    :param ax: axes to draw into; `None` makes a figure

    :return: the axes
    :raises ValueError: if lengths differ
    """
    mhz = megahertz(frequencies)
    checked = {label: along(mhz, label, values) for label, values in residuals.items()}
    ax = axes_or_new(ax)
    for style, (label, values) in zip(styles(), checked.items(), strict=False):
        rows = np.atleast_2d(values)
        if len(rows) > 1:
            low, high = rows.min(0), rows.max(0)
            ax.fill_between(mhz, low, high, color=style["color"], alpha=0.2)
            label = f"{label}: median, range of links"
        ax.semilogy(mhz, positive(np.median(rows, axis=0)), label=label, **style)
    mark_threshold(ax, threshold)
    ax.set(xlabel=FREQUENCY, ylabel="relative residual")
    return finished(ax)


def branches(frequencies: Values, values: Values, *, ax: Axes | None = None) -> Axes:
    """Singular values, or other real branches, over frequency.

    :param frequencies: Hz relative to the carrier, [num_frequencies]
    :param values: [num_frequencies, num_branches]
    :param ax: axes to draw into; `None` makes a figure

    :return: the axes
    :raises ValueError: if lengths differ
    """
    mhz = megahertz(frequencies)
    lines = np.atleast_2d(along(mhz, "the transpose of values", as_array(values).T))
    ax = axes_or_new(ax)
    for style, (number, line) in zip(styles(), enumerate(lines, 1), strict=False):
        ax.semilogy(mhz, line, label=f"branch {number}", **style)
    ax.set(xlabel=FREQUENCY, ylabel="singular value")
    return finished(ax)


def phase(frequencies: Values, values: Mapping[str, Values], *, ax: Axes | None = None) -> Axes:
    """Phases of complex values over frequency, as dots, so that jumps are visible.

    :param frequencies: Hz relative to the carrier, [num_frequencies]
    :param values: label → values, [num_frequencies], complex
    :param ax: axes to draw into; `None` makes a figure

    :return: the axes
    :raises ValueError: if lengths differ
    """
    mhz = megahertz(frequencies)
    angles = {label: np.angle(along(mhz, label, given)) for label, given in values.items()}
    ax = axes_or_new(ax)
    for number, (label, angle) in enumerate(angles.items()):
        marker, colour = MARKERS[number % len(MARKERS)], COLOURS[number % len(COLOURS)]
        ax.plot(mhz, angle, ls="none", marker=marker, ms=2.5, color=colour, label=label)
    ax.set(xlabel=FREQUENCY, ylabel="phase [rad]", ylim=(-1.1 * np.pi, 1.5 * np.pi))
    ax.set_yticks([-np.pi, 0, np.pi], ["−π", "0", "π"])
    ax.grid(**GRID)
    # Above the dots, which may be anywhere.
    ax.legend(fontsize="small", loc="upper center", ncol=len(angles), markerscale=2)
    return ax
