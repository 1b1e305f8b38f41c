"""What a promise costs, from ``python -m benchmarks.sizes``."""

from __future__ import annotations

from benchmarks.pages.registry import figure
from benchmarks.pages.results import origin, rows
from neumatc_mimo.bench.sheet import origin_line, table


@figure
def sizes_dial() -> str:
    """Bytes, training, quality and query times of three cities at several tolerances."""
    every = (row for city in ("munich", "newyork", "losangeles") for row in rows(f"sizes/{city}"))
    return "\n".join(table(list(every)))


@figure
def sizes_origin() -> str:
    """Machine, versions and commit of these."""
    return origin_line(origin("sizes/munich"))
