"""``neumatc-mimo report``: the pictures and the table of an earlier demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neumatc_mimo.cli.demo import demo_table
from neumatc_mimo.cli.inputs import load_model, load_scenario, model_folder
from neumatc_mimo.cli.options import Json, ModelFolder
from neumatc_mimo.cli.terminal import out, print_json
from neumatc_mimo.storage.files import is_folder


def report(
    folder: Annotated[Path, typer.Argument(help="Report folder of an earlier demo.")] = Path(
        "report"
    ),
    model: ModelFolder = None,
    as_json: Json = False,
) -> None:
    """Draw the pictures of an earlier run again, and print its table.

    Example: [cyan]neumatc-mimo report report[/cyan]
    """
    from neumatc_mimo.reporting.report import read_summary, write_report

    summary = read_summary(folder)
    drawn = summary.get("scenario", {})
    loaded = load_scenario(drawn.get("file", "munich"), drawn.get("seed"))
    location = model_folder(loaded, model)
    # Pictures of queried results need the model; those of an exact-only run do not.
    trained = None
    if is_folder(location):
        trained = load_model(loaded, model, "cpu", drawn.get("file", "munich"))
    written = write_report(folder, summary, loaded, trained)
    if as_json:
        print_json([str(file) for file in written])
    else:
        out.print(demo_table(summary))
        out.print(f"Wrote {', '.join(str(file) for file in written)}", soft_wrap=True)
