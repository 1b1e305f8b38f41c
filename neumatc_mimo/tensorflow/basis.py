"""Values of a trunk's functions at fixed frequencies, by NumPy: constants of a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neumatc_mimo.foundation.cardinal_splines import cardinal_pieces
from neumatc_mimo.foundation.registry import Registry

Floats = NDArray[np.float64]

# Points that share the few local functions that differ from zero at any of them.
_GROUP = 48


_BASES: Registry[Callable[..., Any]] = Registry("basis", key="kind")


class Windows(NamedTuple):
    """Ascending points in groups of one size, each with the consecutive functions that it needs.

    :param values: of the functions of each group, [num_groups, points, functions]
    :param basis: their indices, [num_groups, functions]
    """

    values: Floats
    basis: NDArray[np.int64]


def windows(settings: dict[str, Any], x: Floats) -> Windows:
    """The functions that ``Basis.settings`` described, at ascending x [B].

    The last group is filled up with its last point.

    :raises ValueError: if there is no basis of that kind
    """
    table: Callable[[Floats], tuple[NDArray[np.int64], Floats]]
    table = _BASES.make(settings)
    columns, values = table(x)
    local = columns.shape[1] <= columns.max()
    size = min(_GROUP, len(x)) if local else len(x)
    filled = np.minimum(np.arange(-(-len(x) // size) * size), len(x) - 1).reshape(-1, size)
    columns, values = columns[filled], values[filled]
    first = columns.min((1, 2))
    num_functions = int((columns.max((1, 2)) - first).max()) + 1
    first = np.minimum(first, int(columns.max()) + 1 - num_functions)
    dense = np.zeros((len(filled), size, num_functions))
    np.put_along_axis(dense, columns - first[:, None, None], values, axis=2)
    return Windows(dense, first[:, None] + np.arange(num_functions))


def windows_of_links(
    settings: dict[str, Any], knots: NDArray[np.int32], functions: NDArray[np.int32], x: Floats
) -> Windows:
    """The same of links with knots of their own: values [num_links, num_groups, points, functions]
    and indices of rows [num_links, num_groups, functions], those of all links one below the other.

    :param knots: as :class:`~neumatc_mimo.mapping.basis.KnotSplines` has them, likewise
    :param functions: numbers of functions, [num_links]
    """
    degree, place = settings["degree"], (x + 1) / 2 * settings["num_intervals"]
    size = min(_GROUP, len(x))
    filled = np.minimum(np.arange(-(-len(x) // size) * size), len(x) - 1).reshape(-1, size)
    ends = (functions.astype(np.int64) - degree + 1).cumsum()
    starts = functions.astype(np.int64).cumsum() - functions
    parts = []
    for end, number in zip(ends, functions, strict=True):
        own = knots[end - number + degree - 1 : end].astype(np.float64)
        lead, values = _on_knots(own, degree, place)
        columns = (lead[:, None] + np.arange(degree + 1))[filled]
        parts.append((columns, values[filled], columns.min((1, 2))))
    most = max(int((columns.max((1, 2)) - first).max()) + 1 for columns, _, first in parts)
    dense = np.zeros((len(parts), len(filled), size, most))
    rows = np.empty((len(parts), len(filled), most), np.int64)
    last = int(functions.sum(dtype=np.int64)) - 1
    for link, (columns, values, first) in enumerate(parts):
        np.put_along_axis(dense[link], columns - first[:, None, None], values, axis=2)
        # Beyond a link's own rows others follow, which have no weight.
        rows[link] = np.minimum(starts[link] + first[:, None] + np.arange(most), last)
    return Windows(dense, rows)


def _on_knots(knots: Floats, degree: int, x: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Splines on rising knots that differ from zero at x [B]: the first one, and their values
    [B, degree + 1], by the recursion of Cox and de Boor.
    """
    beside = np.arange(1, degree + 1)
    before = knots[0] - (knots[1] - knots[0]) * beside[::-1]
    t = np.concatenate([before, knots, knots[-1] + (knots[-1] - knots[-2]) * beside])
    # Points on a knot belong to the interval that follows, whatever rounding makes of them.
    last = len(knots) - 2
    lead = (np.searchsorted(knots, x + 1e-9, side="right") - 1).clip(0, last)
    left = [x - t[lead + degree + 1 - j] for j in range(1, degree + 1)]
    right = [t[lead + degree + j] - x for j in range(1, degree + 1)]
    values = [np.ones_like(x)]
    for j in range(degree):
        saved, found = np.zeros_like(x), []
        for r, value in enumerate(values):
            part = value / (right[r] + left[j - r])
            found.append(saved + right[r] * part)
            saved = left[j - r] * part
        values = [*found, saved]
    return lead, np.stack(values, axis=-1)


@_BASES.register(name="spline")
class _Spline:
    """Cardinal B-splines on even knots, see :class:`~neumatc_mimo.mapping.basis.SplineBasis`."""

    def __init__(self, num_functions: int, degree: int, points_per_interval: int) -> None:
        del points_per_interval  # it tells the band, which a model has
        self._num_functions, self._degree = num_functions, degree

    def __call__(self, x: Floats) -> tuple[NDArray[np.int64], Floats]:
        intervals = self._num_functions - self._degree
        place = (x + 1) / 2 * intervals
        # Points on a knot belong to the interval that follows, whatever rounding makes of them.
        first = np.floor(place + 1e-9).clip(0, intervals - 1)
        powers = np.vander(place - first - 0.5, self._degree + 1, increasing=True)
        columns = first.astype(np.int64)[:, None] + np.arange(self._degree + 1)
        return columns, powers @ cardinal_pieces(self._degree).T


@_BASES.register(name="sine")
class _Sine:
    """Sines at evenly spread delays, see :class:`~neumatc_mimo.mapping.basis.SineBasis`."""

    def __init__(self, num_functions: int, spacing: float, decay: float) -> None:
        count = (num_functions + 1) // 2
        delays = np.tile((np.arange(count) + 0.5) * spacing, 2)[:num_functions]
        self._delays = delays
        self._phase = np.where(np.arange(num_functions) < count, 0.0, np.pi / 2)
        self._amplitude = np.exp(-delays / decay).clip(1e-5)

    def __call__(self, x: Floats) -> tuple[NDArray[np.int64], Floats]:
        values = self._amplitude * np.sin(np.pi * x[:, None] * self._delays + self._phase)
        return _everywhere(values), values


@_BASES.register(name="fourier")
class _Fourier:
    """1, cos(π k x) and sin(π k x), see :class:`~neumatc_mimo.mapping.basis.FourierBasis`."""

    def __init__(self, num_functions: int) -> None:
        self._orders = np.arange(1, num_functions // 2 + 1)

    def __call__(self, x: Floats) -> tuple[NDArray[np.int64], Floats]:
        angle = np.pi * x[:, None] * self._orders
        values = np.concatenate([np.ones_like(x)[:, None], np.cos(angle), np.sin(angle)], axis=1)
        return _everywhere(values), values


def _everywhere(values: Floats) -> NDArray[np.int64]:
    return np.broadcast_to(np.arange(values.shape[1]), values.shape)
