"""What all pictures share: their axes, colours and lines, and how values become arrays.

Colours are those of Okabe and Ito, which colour-blind readers tell apart, and no two lines differ
by their colour alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = Tensor | ArrayLike

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "x", "+")
GRID: dict[str, Any] = {"visible": True, "which": "both", "alpha": 0.3}
FREQUENCY = "frequency relative to the carrier [MHz]"


def axes_or_new(ax: Axes | None) -> Axes:
    """The axes given, or those of a new figure."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    _, new = pyplot.subplots(layout="constrained")
    return new


def finished(ax: Axes) -> Axes:
    ax.grid(**GRID)
    ax.legend(fontsize="small")
    return ax


def styles() -> Iterator[dict[str, Any]]:
    """A colour and a line style each, without end."""
    number = 0
    while True:
        yield {
            "color": COLOURS[number % len(COLOURS)],
            "ls": LINES[number % len(LINES)],
            "lw": 1.2,
        }
        number += 1


def mark_threshold(ax: Axes, threshold: float | None) -> None:
    if threshold is not None:
        ax.axhline(threshold, color="0.4", lw=0.8, label=f"threshold {threshold:g}")


def megahertz(frequencies: Values) -> NDArray[Any]:
    return np.atleast_1d(as_array(frequencies)) / 1e6


def along(x: NDArray[Any], name: str, values: Values) -> NDArray[Any]:
    """Values as an array whose last dimension is that of x."""
    array = as_array(values)
    if array.ndim == 0 or array.shape[-1] != len(x):
        raise ValueError(
            f"{name} has the shape {list(array.shape)}, its last dimension must be the {len(x)} "
            "points of the picture."
        )
    return array


def as_array(values: Values) -> NDArray[Any]:
    if isinstance(values, Tensor):
        return values.detach().cpu().resolve_conj().numpy()
    return np.asarray(values)


def positive(values: NDArray[Any]) -> NDArray[Any]:
    """A logarithmic axis has no zero: what is exact to rounding is shown at the bottom."""
    return np.maximum(values, 1e-17)
