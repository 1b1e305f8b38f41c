"""What commands print: results on standard output, errors on standard error."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from rich.console import Console
from rich.markup import escape

# Who closed a stream wants to see nothing. Somewhere it has to go: a file that is opened next would
# take its place, and be written to by whatever prints.
for _name in ("stdout", "stderr"):
    if getattr(sys, _name) is None:
        setattr(sys, _name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, it stays open

# Tables in a file or a pipe get the width that they need.
out = Console() if sys.stdout.isatty() else Console(width=100)
err = Console(stderr=True)


def fail(error: BaseException) -> None:
    """Print an error as one sentence, and stop with exit code 1."""
    text = " ".join(str(error).split()) or type(error).__name__
    err.print(f"[bold red]Error:[/bold red] {escape(text)}", soft_wrap=True, highlight=False)
    sys.exit(1)


def print_json(value: Any) -> None:
    """Print a value for programs; numbers that are not finite become null."""
    from neumatc_mimo.reporting.report import finite

    sys.stdout.write(json.dumps(finite(value), indent=2, allow_nan=False) + "\n")
