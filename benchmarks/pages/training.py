"""What training costs, from ``python -m benchmarks.training``."""

from __future__ import annotations

from benchmarks.pages.registry import figure
from benchmarks.pages.results import origin, rows
from benchmarks.paper.sheet import number
from neumatc_mimo.bench.sheet import origin_line, table


@figure
def training_seconds() -> str:
    """Seconds of both models of a link, with the kernels where there are any."""
    found = rows("training/seconds")
    best = next((row for row in found if row["kernels"]), found[0])
    return f"{number(best['s a link'])} s"


@figure
def training_stages() -> str:
    """Milliseconds of each stage."""
    return "\n".join(table(rows("training/stages")))


@figure
def training_origin() -> str:
    """Machine, versions and commit of these."""
    return origin_line(origin("training/seconds"))
