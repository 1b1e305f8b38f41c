"""The committed results, read."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.paper.sheet import ROOT, Row

RESULTS = ROOT / "benchmarks/results"


def read(name: str) -> Any:
    """A file of ``benchmarks/results``, without its ending."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def rows(name: str, **wanted: Any) -> list[Row]:
    """Rows of a sheet whose columns have some values."""
    found = read(name)["rows"]
    return [row for row in found if all(row[key] == value for key, value in wanted.items())]


def row(name: str, **wanted: Any) -> Row:
    """The one row that has them."""
    (found,) = rows(name, **wanted)
    return found


def origin(name: str) -> dict[str, Any]:
    """Machine, versions and commit of a sheet."""
    return read(name)["origin"]
