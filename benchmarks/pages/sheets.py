"""A whole sheet: its caption, its table and its pictures."""

from __future__ import annotations

from pathlib import PurePosixPath

from benchmarks.pages.registry import figure
from benchmarks.pages.results import read, rows
from neumatc_mimo.bench.sheet import Sheet
from neumatc_mimo.bench.sheet import table as markdown


@figure
def sheet(name: str) -> str:
    """A sheet with the commit that made it."""
    data = dict(read(name))
    commit = data.pop("origin")["commit"]
    return f"{Sheet(**data).markdown(f'results:{PurePosixPath(name).parent}')}\nCommit {commit}."


@figure
def table(name: str) -> str:
    """Its table alone."""
    return "\n".join(markdown(rows(name)))
