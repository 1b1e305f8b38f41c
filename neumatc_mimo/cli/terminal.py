"""What commands print: results on standard output, errors on standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

# Who closed a stream wants to see nothing. Somewhere it has to go: a file that is opened next would
# take its place, and be written to by whatever prints.
for _name in ("stdout", "stderr"):
    if getattr(sys, _name) is None:
        setattr(sys, _name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, it stays open

# Tables in a file or a pipe get the width that they need, unless COLUMNS says it.
_columns = os.environ.get("COLUMNS", "")
_width = int(_columns) if _columns.isdecimal() else None if sys.stdout.isatty() else 100
out = Console(width=_width)
err = Console(stderr=True)


def fail(error: BaseException) -> None:
    """Print an error as one sentence, and stop with exit code 1."""
    text = " ".join(str(error).split()) or type(error).__name__
    err.print(f"[bold red]Error:[/bold red] {escape(text)}", soft_wrap=True, highlight=False)
    sys.exit(1)


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning as its sentence; the line of ours that gave it helps nobody."""
    text = " ".join(str(message).split())
    err.print(
        f"[bold yellow]Warning:[/bold yellow] {escape(text)}", soft_wrap=True, highlight=False
    )


def fitting_table(title: str, rows: Sequence[Mapping[str, str]], width: int) -> Table:
    """A table of the first columns of rows that fit into a terminal; what is the same in all of
    them goes into its title.

    :param rows: of the same columns
    """
    same = [name for name in rows[0] if len(rows) > 1 and len({row[name] for row in rows}) == 1]
    told = [rows[0][name] for name in same if name == "point"]
    table, used = Table(title=", ".join([title, *told])), 1
    for name in (name for name in rows[0] if name not in same):
        used += max(len(text) for text in (name, *(row[name] for row in rows))) + 3
        if used > width and table.columns:
            break
        table.add_column(name, no_wrap=True, justify="left" if len(table.columns) < 2 else "right")
    for row in rows:
        table.add_row(*(row[str(column.header)] for column in table.columns))
    return table


def print_json(value: Any) -> None:
    """Print a value for programs; numbers that are not finite become null."""
    from neumatc_mimo.reporting.report import finite

    sys.stdout.write(json.dumps(finite(value), indent=2, allow_nan=False) + "\n")
