"""What a promise costs, from ``python -m benchmarks.sizes``."""

from __future__ import annotations

from benchmarks.pages.registry import figure
from benchmarks.pages.results import RESULTS, origin, rows
from neumatc_mimo.bench.sheet import origin_line, table


@figure
def sizes_dial() -> str:
    """Bytes, training, quality and query times of the cities at several tolerances."""
    cities = [f"sizes/{city}" for city in ("munich", "newyork", "losangeles")]
    measured = [name for name in cities if (RESULTS / f"{name}.json").is_file()]
    return "\n".join(table([row for name in measured for row in rows(name)]))


@figure
def sizes_origin() -> str:
    """Machine, versions and commit of these."""
    return origin_line(origin("sizes/munich"))
