"""Pictures of scenarios, results and runs: each function draws one and returns its Matplotlib axes.

All take ``ax``, the axes to draw into; without it a new figure is made, the one place where
Matplotlib's global state is used. Colours are those of Okabe and Ito, which colour-blind readers
tell apart, and no two lines differ by their colour alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from neumatc_mimo import metrics
from neumatc_mimo.scenario import LinkSet, Scenario

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from neumatc_mimo.learning.collocation import Refinement

Values = Tensor | ArrayLike

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES = ("-", "--", ":", "-.")
_MARKERS = ("o", "s", "^", "D", "v", "x", "+")
_GRID: dict[str, Any] = {"visible": True, "which": "both", "alpha": 0.3}
_LOWEST = 1e-7  # of singular values
_FREQUENCY = "frequency relative to the carrier [MHz]"


def scenario_map(scenario: Scenario, *, ax: Axes | None = None) -> Axes:
    """Where base stations, users and links of a scenario stand, in metres.

    Lines join the users of a group with their base station.

    :param scenario: from :func:`~neumatc_mimo.load_scenario`
    :param ax: axes to draw into; `None` makes a figure

    :return: the axes
    """
    ax = _axes(ax)
    positions = scenario.positions
    for found, grey, label in ((False, "0.85", "without"), (True, "0.6", "with")):
        x, y, _ = positions.users[positions.has_path == found].T
        ax.scatter(x, y, s=6, c=grey, label=f"users {label} a path")
    if scenario.multi_user is not None:
        links = scenario.multi_user
        for link in range(links.num_links):
            station = links.base_station_positions[links.base_station[link]]
            for user in links.user_positions[link]:
                ends = torch.stack([station, user]).T.tolist()
                ax.plot(*ends[:2], color=COLOURS[link % len(COLOURS)], lw=0.3)
        _spots(ax, links, COLOURS[0], "o", f"{links.num_links} groups of {links.num_users} users")
    if scenario.single_user is not None:
        links = scenario.single_user
        _spots(ax, links, COLOURS[1], "x", f"{links.num_links} single users")
    x, y, _ = positions.base_stations.T
    ax.scatter(x, y, s=120, marker="^", c="k", label="base station", zorder=4)
    ax.set(title=f"{scenario.name}: links", xlabel="x [m]", ylabel="y [m]", aspect="equal")
    # Beside the map, which has users everywhere.
    ax.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.02, 1))
    return ax


def singular_values(
    samples: Mapping[str, Tensor], *, rank: int | None = None, ax: Axes | None = None
) -> Axes:
    """Decay of the singular values of families along their parameter.

    Samples are the rows of one matrix, real and imaginary parts side by side, as a real trunk sees
    them (:func:`~neumatc_mimo.metrics.measures.singular_decay`).

    :param samples: label → samples of a family, [num_parameters, ...]
    :param rank: marked by a vertical line, if given
    :param ax: axes to draw into; `None` makes a figure

    :return: the axes
    """
    decays = {label: _array(metrics.singular_decay(values)) for label, values in samples.items()}
    ax = _axes(ax)
    for style, (label, decay) in zip(_styles(), decays.items(), strict=False):
        ax.semilogy(np.arange(1, len(decay) + 1), decay, label=label, **style)
    # Below lies the rounding of single precision.
    shown = max(int((decay > _LOWEST).sum()) for decay in decays.values())
    if rank is not None:
        ax.axvline(rank, color="0.4", lw=0.8, label=f"rank {rank}")
    ax.set(xlabel="index", ylabel="singular value relative to the largest", ylim=(_LOWEST, 2))
    ax.set_xlim(0, 1.05 * shown)
    return _finished(ax)


def entry(frequencies: Values, exact: Values, queried: Values, *, ax: Axes | None = None) -> Axes:
    """Real and imaginary part of an entry of a result, exact and queried.

    :param frequencies: Hz relative to the carrier, [num_frequencies]
    :param exact: [num_frequencies], complex
    :param queried: [num_frequencies], complex
    :param ax: axes to draw into; `None` makes a figure

    :return: the axes
    :raises ValueError: if lengths differ
    """
    mhz = _megahertz(frequencies)
    pair = (_along(mhz, "exact", exact), _along(mhz, "queried", queried))
    ax = _axes(ax)
    for part, colour in zip(("real", "imag"), COLOURS, strict=False):
        known, asked = (getattr(values, part) for values in pair)
        ax.plot(mhz, known, color=colour, alpha=0.5, lw=3, label=f"exact, {part}")
        ax.plot(mhz, asked, "k", ls="--" if part == "real" else ":", label=f"queried, {part}")
    ax.set(xlabel=_FREQUENCY, ylabel="entry")
    ax.legend(ncol=2, fontsize="small")
    return ax


def entry_error(
    frequencies: Values, exact: Values, queried: Values, *, ax: Axes | None = None
) -> Axes:
    """Absolute error of an entry of a result; parameters as of :func:`entry`."""
    mhz = _megahertz(frequencies)
    error = np.abs(_along(mhz, "queried", queried) - _along(mhz, "exact", exact))
    ax = _axes(ax)
    ax.semilogy(mhz, _positive(error), color=COLOURS[0], lw=0.8)
    ax.set(xlabel=_FREQUENCY, ylabel="absolute error")
    ax.grid(**_GRID)
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
    mhz = _megahertz(frequencies)
    checked = {label: _along(mhz, label, values) for label, values in residuals.items()}
    ax = _axes(ax)
    for style, (label, values) in zip(_styles(), checked.items(), strict=False):
        rows = np.atleast_2d(values)
        if len(rows) > 1:
            low, high = rows.min(0), rows.max(0)
            ax.fill_between(mhz, low, high, color=style["color"], alpha=0.2)
            label = f"{label}: median, range of links"
        ax.semilogy(mhz, _positive(np.median(rows, axis=0)), label=label, **style)
    _threshold(ax, threshold)
    ax.set(xlabel=_FREQUENCY, ylabel="relative residual")
    return _finished(ax)


def branches(frequencies: Values, values: Values, *, ax: Axes | None = None) -> Axes:
    """Singular values, or other real branches, over frequency.

    :param frequencies: Hz relative to the carrier, [num_frequencies]
    :param values: [num_frequencies, num_branches]
    :param ax: axes to draw into; `None` makes a figure

    :return: the axes
    :raises ValueError: if lengths differ
    """
    mhz = _megahertz(frequencies)
    lines = np.atleast_2d(_along(mhz, "the transpose of values", _array(values).T))
    ax = _axes(ax)
    for style, (number, line) in zip(_styles(), enumerate(lines, 1), strict=False):
        ax.semilogy(mhz, line, label=f"branch {number}", **style)
    ax.set(xlabel=_FREQUENCY, ylabel="singular value")
    return _finished(ax)


def phase(frequencies: Values, values: Mapping[str, Values], *, ax: Axes | None = None) -> Axes:
    """Phases of complex values over frequency, as dots: jumps are seen as such.

    :param frequencies: Hz relative to the carrier, [num_frequencies]
    :param values: label → values, [num_frequencies], complex
    :param ax: axes to draw into; `None` makes a figure

    :return: the axes
    :raises ValueError: if lengths differ
    """
    mhz = _megahertz(frequencies)
    angles = {label: np.angle(_along(mhz, label, given)) for label, given in values.items()}
    ax = _axes(ax)
    for number, (label, angle) in enumerate(angles.items()):
        marker, colour = _MARKERS[number % len(_MARKERS)], COLOURS[number % len(COLOURS)]
        ax.plot(mhz, angle, ls="none", marker=marker, ms=2.5, color=colour, label=label)
    ax.set(xlabel=_FREQUENCY, ylabel="phase [rad]", ylim=(-1.1 * np.pi, 1.5 * np.pi))
    ax.set_yticks([-np.pi, 0, np.pi], ["−π", "0", "π"])
    ax.grid(**_GRID)
    # Above the dots, which may be anywhere.
    ax.legend(fontsize="small", loc="upper center", ncol=len(angles), markerscale=2)
    return ax


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
    ax = _axes(ax)
    p, values, added = map(_array, (found.candidates[:, 0], found.residual, found.added))
    ax.semilogy(p, values, ls="none", marker=".", ms=3, color=COLOURS[0], label="candidates")
    label = f"{len(added)} added to the collocation points"
    ax.semilogy(
        p[added], values[added], ls="none", marker="o", mfc="none", color=COLOURS[1], label=label
    )
    _threshold(ax, threshold)
    ax.set(
        title=f"after {found.step} steps, {100 * found.failure_probability:.0f} % failed",
        xlabel=parameter,
        ylabel="relative residual",
    )
    return _finished(ax)


def error_curves(
    ebno_dbs: Values, rates: Mapping[str, Values], *, rate: str = "BLER", ax: Axes | None = None
) -> Axes:
    """Error rates over Eb/N0; points without an error are left out.

    :param ebno_dbs: Eb/N0 in dB, [num_points]
    :param rates: label → rates, [num_points]
    :param rate: which rate it is
    :param ax: axes to draw into; `None` makes a figure

    :return: the axes
    :raises ValueError: if lengths differ
    """
    return _curves(ebno_dbs, rates, "Eb/N0 [dB]", rate, "semilogy", ax)


def achievable_rates(
    snr_dbs: Values, rates: Mapping[str, Values], *, ax: Axes | None = None
) -> Axes:
    """Achievable rates over the signal-to-noise ratio.

    :param snr_dbs: dB, [num_points]
    :param rates: label → bit per channel use, [num_points]
    :param ax: axes to draw into; `None` makes a figure

    :return: the axes
    :raises ValueError: if lengths differ
    """
    return _curves(snr_dbs, rates, "SNR [dB]", "rate [bit per channel use]", "plot", ax)


def times_along(
    size: str, sizes: Values, milliseconds: Mapping[str, Values], *, ax: Axes | None = None
) -> Axes:
    """Times over a size, both on logarithmic axes; NaN where nothing was measured.

    :param size: what the size is called
    :param sizes: [num_points]
    :param milliseconds: way → milliseconds, [num_points]
    :param ax: axes to draw into; `None` makes a figure

    :return: the axes
    :raises ValueError: if lengths differ
    """
    ax = _curves(sizes, milliseconds, size, "time [ms]", "loglog", ax)
    ticks = np.atleast_1d(_array(sizes))
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_xticks([], minor=True)
    return ax


def times(milliseconds: Mapping[str, Mapping[str, float]], *, ax: Axes | None = None) -> Axes:
    """Times of several ways to do the same, as bars on a logarithmic axis.

    :param milliseconds: what is done → way → milliseconds
    :param ax: axes to draw into; `None` makes a figure

    :return: the axes
    """
    ax = _axes(ax)
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


def _curves(
    x: Values,
    curves: Mapping[str, Values],
    xlabel: str,
    ylabel: str,
    scale: str,
    ax: Axes | None,
) -> Axes:
    """Lines with markers, one a label; what a logarithmic axis cannot show is left out."""
    points = np.atleast_1d(_array(x))
    checked = {label: _along(points, label, values) for label, values in curves.items()}
    ax = _axes(ax)
    for number, (style, (label, values)) in enumerate(
        zip(_styles(), checked.items(), strict=False)
    ):
        if scale != "plot":
            values = np.where(values > 0, values, np.nan)
        marker = _MARKERS[number % len(_MARKERS)]
        # Hollow and ever smaller: curves that lie on each other all show.
        style |= {"marker": marker, "ms": max(9 - 2 * number, 3), "mfc": "none"}
        getattr(ax, scale)(points, values, label=label, **style)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    return _finished(ax)


def _axes(ax: Axes | None) -> Axes:
    """The axes given, or those of a new figure."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    _, new = pyplot.subplots(layout="constrained")
    return new


def _finished(ax: Axes) -> Axes:
    ax.grid(**_GRID)
    ax.legend(fontsize="small")
    return ax


def _styles() -> Iterator[dict[str, Any]]:
    """A colour and a line style each, without end."""
    number = 0
    while True:
        yield {
            "color": COLOURS[number % len(COLOURS)],
            "ls": _LINES[number % len(_LINES)],
            "lw": 1.2,
        }
        number += 1


def _spots(ax: Axes, links: LinkSet, colour: str, marker: str, label: str) -> None:
    x, y, _ = _array(links.user_positions.flatten(0, 1)).T
    ax.scatter(x, y, s=14, c=colour, marker=marker, label=label, zorder=3)


def _threshold(ax: Axes, threshold: float | None) -> None:
    if threshold is not None:
        ax.axhline(threshold, color="0.4", lw=0.8, label=f"threshold {threshold:g}")


def _megahertz(frequencies: Values) -> NDArray[Any]:
    return np.atleast_1d(_array(frequencies)) / 1e6


def _along(x: NDArray[Any], name: str, values: Values) -> NDArray[Any]:
    """Values as an array whose last dimension is that of x."""
    array = _array(values)
    if array.ndim == 0 or array.shape[-1] != len(x):
        raise ValueError(
            f"{name} has the shape {list(array.shape)}, its last dimension must be the {len(x)} "
            "points of the picture."
        )
    return array


def _array(values: Values) -> NDArray[Any]:
    if isinstance(values, Tensor):
        return values.detach().cpu().resolve_conj().numpy()
    return np.asarray(values)


def _positive(values: NDArray[Any]) -> NDArray[Any]:
    """A logarithmic axis has no zero: what is exact to rounding is shown at the bottom."""
    return np.maximum(values, 1e-17)


__all__ = [
    "COLOURS",
    "achievable_rates",
    "branches",
    "entry",
    "entry_error",
    "error_curves",
    "phase",
    "refinement",
    "residual",
    "scenario_map",
    "singular_values",
    "times",
    "times_along",
]
