"""``neumatc-mimo bench``: the times of every block, its rivals and its limit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neumatc_mimo.cli.inputs import load_scenario
from neumatc_mimo.cli.options import Device, Json, ScenarioName, ScenarioSeed
from neumatc_mimo.cli.terminal import fitting_table, out, print_json
from neumatc_mimo.storage.files import check_writable


def bench(
    scenario: ScenarioName = "munich",
    folder: Annotated[Path, typer.Option("--report", help="Folder of the results.")] = Path(
        "report/bench"
    ),
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Few repetitions; without --axis, only the scenario's sizes."),
    ] = False,
    axis: Annotated[
        list[str] | None,
        typer.Option(
            help="Vary only this size; own: the scenario's sizes. May be given several times."
        ),
    ] = None,
    sionna: Annotated[bool, typer.Option(help="Measure Sionna's blocks, too.")] = True,
    device: Device = "cpu",
    scenario_seed: ScenarioSeed = None,
    as_json: Json = False,
) -> None:
    """Measure the times of every block, of Sionna's and of rivals, for many sizes.

    Each call has other links than the call before, as in a simulation.

    Example: [cyan]neumatc-mimo bench munich --quick[/cyan]
    """
    loaded = load_scenario(scenario, scenario_seed)
    check_writable(folder)
    from neumatc_mimo.bench.report import run_and_write

    sheets = run_and_write(loaded, folder, quick=quick, only=axis, theirs=sionna, device=device)
    if as_json:
        print_json({sheet.name: sheet.rows for sheet in sheets})
    else:
        for sheet in sheets:
            for group in sheet.groups:
                out.print(fitting_table(sheet.title, group, out.width))
            out.print(f"All columns, and how to read them: {folder / sheet.name}.md\n")
