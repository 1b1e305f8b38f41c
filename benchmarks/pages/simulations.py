"""Whole simulations, from ``python -m benchmarks.simulations``."""

from __future__ import annotations

from benchmarks.pages.registry import figure
from benchmarks.pages.results import origin, rows
from benchmarks.paper.sheet import Row, number
from neumatc_mimo.bench.sheet import origin_line, table

_NAME = "simulations/simulations"
_COLUMNS = {"block": "block, %", "decoder": "decoder, %", "rest": "rest, %"}


@figure
def simulations() -> str:
    """Seconds a slot, and whose they are."""
    return "\n".join(table([_line(row) for row in rows(_NAME)]))


@figure
def simulations_origin() -> str:
    """Machine, versions and commit of the simulations."""
    return origin_line(origin(_NAME))


def _line(row: Row) -> Row:
    return {
        "simulation": row["simulation"],
        "subcarriers × symbols": row["subcarriers × symbols"],
        "way": row["way"],
        "kernels": row["kernels"],
        "s a slot": f"{number(row['s a slot'])} [{number(row['low'])}, {number(row['high'])}]",
        "times as fast as Sionna": row["times faster"],
        "block, s": row["block, s"],
        **{name: f"{row[column]:.1f} %" for name, column in _COLUMNS.items()},
    }
