"""How costs grow with each size, from what was measured along the axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

from neumatc_mimo.bench.blocks import LIMIT, Point, Row, along


def _alone(row: Row) -> float | None:
    return None if row.alone is None else row.alone.median


# What is fitted: of which way, and of a row of it what.
_COSTS: dict[str, tuple[str, Callable[[Row], float | None]]] = {
    "limit, ms": (LIMIT, lambda row: row.milliseconds.median),
    "exact, ms": ("exact", lambda row: row.milliseconds.median),
    "queried, ms": ("queried", lambda row: row.milliseconds.median),
    "exact alone, ms": ("exact", _alone),
    "queried alone, ms": ("queried", _alone),
    "training, s a link": ("queried", lambda row: row.training),
    "state, MB": ("queried", lambda row: row.state_bytes / 1e6),
    "peak, MB": ("queried", lambda row: row.peak_bytes / 1e6),
}


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The b of a cost that grows as a size to the b-th power: least squares of the logarithms."""
    slope, _ = np.polyfit(np.log(sizes), np.log(costs), 1)
    return float(slope)


def growth(
    axis: str, points: Sequence[Point], rows: Mapping[Point, Sequence[Row]]
) -> list[dict[str, Any]]:
    """Fitted exponents of every block's costs along an axis of numbers.

    :param axis: its name
    :param points: of the axis, in ascending order
    :param rows: measured at each point

    :return: one entry for a block and a cost: both ends, the exponent over all points and that of
        the last step, which small sizes do not flatten
    """
    entries = []
    blocks = dict.fromkeys(row.block for point in points for row in rows.get(point, ()))
    for block in blocks:
        for cost, (way, of) in _COSTS.items():
            found = [
                (float(along(axis, point)), value)
                for point in points
                for row in rows.get(point, ())
                if (row.block, row.way) == (block, way) and (value := of(row))
            ]
            if len(found) < 3:
                continue
            sizes, costs = zip(*found, strict=True)
            entries.append(
                {
                    "axis": axis,
                    "block": block,
                    "cost": cost,
                    "from": f"{costs[0]:.3g} at {sizes[0]:g}",
                    "to": f"{costs[-1]:.3g} at {sizes[-1]:g}",
                    "exponent": f"{exponent(sizes, costs):.2f}",
                    "last step": f"{exponent(sizes[-2:], costs[-2:]):.2f}",
                }
            )
    return entries


def hindsight(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """``nm.Auto`` against the better of both ways, over all points: one entry a block."""
    entries = []
    for block in dict.fromkeys(row.block for row in rows):
        found = [r.hindsight for r in rows if r.block == block and r.hindsight is not None]
        if found:
            entries.append(
                {
                    "block": block,
                    "points": len(found),
                    "auto over the better, median": f"{median(found):.3g}",
                    "largest": f"{max(found):.3g}",
                    "within 1.1": f"{sum(ratio <= 1.1 for ratio in found)}",
                }
            )
    return entries
