"""The command line: one file a command, all of them registered here."""

from __future__ import annotations

import warnings
from typing import Annotated

import typer

from neumatc_mimo import __version__
from neumatc_mimo.cli.bench import bench
from neumatc_mimo.cli.demo import demo
from neumatc_mimo.cli.evaluate import evaluate
from neumatc_mimo.cli.export import export
from neumatc_mimo.cli.info import info
from neumatc_mimo.cli.plan import plan
from neumatc_mimo.cli.report import report
from neumatc_mimo.cli.scenarios import scenarios
from neumatc_mimo.cli.simulate import simulate
from neumatc_mimo.cli.terminal import fail, out, show_warning
from neumatc_mimo.cli.trace import trace
from neumatc_mimo.cli.train import train

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Learned, certified matrix inverses and SVDs for MIMO-OFDM link-level simulation.\n\n"
    "To see everything run: [cyan]neumatc-mimo demo[/cyan]. With your own scenario: "
    "[cyan]train[/cyan], then [cyan]evaluate[/cyan] and [cyan]simulate[/cyan].",
)

# Modules of commands import what the work needs inside of it: --help and bad input answer at once,
# torch and Sionna take seconds to load.
_COMMANDS = (
    scenarios,
    trace,
    plan,
    train,
    evaluate,
    simulate,
    export,
    bench,
    demo,
    report,
    info,
)
for command in _COMMANDS:
    app.command()(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"neumatc-mimo {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    del version  # done when it is read


_EXPECTED = (ValueError, OSError, ImportError, RuntimeError, TypeError, MemoryError, OverflowError)


def main() -> None:
    """Run the command line; a foreseeable error becomes one sentence and exit code 1, a warning
    one sentence, too.
    """
    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        try:
            app()
        except _EXPECTED as error:
            fail(error)
