"""Values of a trunk's units at fixed frequencies, with NumPy: a graph holds them as constants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neumatc_mimo.foundation.cardinal_splines import cardinal_pieces
from neumatc_mimo.foundation.registry import made

Floats = NDArray[np.float64]

# Points that share the few local units that differ from zero at any of them.
_GROUP = 48


class Windows(NamedTuple):
    """Ascending points in groups of one size, each with the consecutive units that it needs.

    :param values: of the units of each group, [num_groups, points, units]
    :param units: their indices, [num_groups, units]
    """

    values: Floats
    units: NDArray[np.int64]


def windows(settings: dict[str, Any], x: Floats) -> Windows:
    """The units that ``Units.settings`` described, at ascending x [B].

    The last group is filled up with its last point.

    :raises ValueError: if there are no units of that kind
    """
    table: Callable[[Floats], tuple[NDArray[np.int64], Floats]]
    table = made(_KINDS, settings, "kind", "There are no units")
    columns, values = table(x)
    local = columns.shape[1] <= columns.max()
    size = min(_GROUP, len(x)) if local else len(x)
    filled = np.minimum(np.arange(-(-len(x) // size) * size), len(x) - 1).reshape(-1, size)
    columns, values = columns[filled], values[filled]
    first = columns.min((1, 2))
    num_units = int((columns.max((1, 2)) - first).max()) + 1
    first = np.minimum(first, int(columns.max()) + 1 - num_units)
    dense = np.zeros((len(filled), size, num_units))
    np.put_along_axis(dense, columns - first[:, None, None], values, axis=2)
    return Windows(dense, first[:, None] + np.arange(num_units))


class _Spline:
    """Cardinal B-splines on even knots, see :class:`~neumatc_mimo.mapping.basis.SplineUnits`."""

    def __init__(self, num_units: int, degree: int, points_per_interval: int) -> None:
        del points_per_interval  # it tells the band, which a model has
        self._num_units, self._degree = num_units, degree

    def __call__(self, x: Floats) -> tuple[NDArray[np.int64], Floats]:
        intervals = self._num_units - self._degree
        place = (x + 1) / 2 * intervals
        # Points on a knot belong to the interval that follows, whatever rounding makes of them.
        first = np.floor(place + 1e-9).clip(0, intervals - 1)
        powers = np.vander(place - first - 0.5, self._degree + 1, increasing=True)
        columns = first.astype(np.int64)[:, None] + np.arange(self._degree + 1)
        return columns, powers @ cardinal_pieces(self._degree).T


class _Sine:
    """Sines at evenly spread delays, see :class:`~neumatc_mimo.mapping.basis.SineUnits`."""

    def __init__(self, num_units: int, spacing: float, decay: float) -> None:
        count = (num_units + 1) // 2
        delays = np.tile((np.arange(count) + 0.5) * spacing, 2)[:num_units]
        self._delays = delays
        self._phase = np.where(np.arange(num_units) < count, 0.0, np.pi / 2)
        self._amplitude = np.exp(-delays / decay).clip(1e-5)

    def __call__(self, x: Floats) -> tuple[NDArray[np.int64], Floats]:
        values = self._amplitude * np.sin(np.pi * x[:, None] * self._delays + self._phase)
        return _everywhere(values), values


class _Fourier:
    """1, cos(π k x) and sin(π k x), see :class:`~neumatc_mimo.mapping.basis.FourierUnits`."""

    def __init__(self, num_units: int) -> None:
        self._orders = np.arange(1, num_units // 2 + 1)

    def __call__(self, x: Floats) -> tuple[NDArray[np.int64], Floats]:
        angle = np.pi * x[:, None] * self._orders
        values = np.concatenate([np.ones_like(x)[:, None], np.cos(angle), np.sin(angle)], axis=1)
        return _everywhere(values), values


def _everywhere(values: Floats) -> NDArray[np.int64]:
    return np.broadcast_to(np.arange(values.shape[1]), values.shape)


_KINDS: dict[str, Any] = {"spline": _Spline, "sine": _Sine, "fourier": _Fourier}
