"""``neumatc-mimo bench``: every block beside its rivals and its limit."""

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
        typer.Option("--quick", help="Few repetitions; without --axis the scenario's sizes."),
    ] = False,
    axis: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this axis from the scenario's sizes, or own: these; may be given again."
        ),
    ] = None,
    sionna: Annotated[bool, typer.Option(help="Time Sionna's blocks, too.")] = True,
    device: Device = "cpu",
    scenario_seed: ScenarioSeed = None,
    as_json: Json = False,
) -> None:
    """Time every block beside Sionna's, its rivals and its limit, along every size.

    Each call gets other links than the one before, as in a simulation.

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
