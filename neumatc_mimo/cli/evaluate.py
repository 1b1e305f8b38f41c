"""``neumatc-mimo evaluate``: compare a model with exact results, and write its model card."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from neumatc_mimo.cli.inputs import integers, load_model, load_scenario, model_folder
from neumatc_mimo.cli.options import Device, Json, ModelFolder, ScenarioName, ScenarioSeed, Seed
from neumatc_mimo.cli.terminal import out, print_json
from neumatc_mimo.storage.files import check_writable, child


def evaluate(
    scenario: ScenarioName = "munich",
    model: ModelFolder = None,
    blocks: Annotated[
        int,
        typer.Option(min=0, max=10**9, help="Coded blocks for each modulation; 0: no error rates."),
    ] = 1000,
    bits: Annotated[
        str, typer.Option(help="Bits per QAM symbol, out of 2, 4, 6 and 8.")
    ] = "2,4,6,8",
    level: Annotated[float, typer.Option(help="Confidence level of intervals and tests.")] = 0.99,
    card: Annotated[
        Path | None,
        typer.Option(help="Model card to write; README.md in the model folder by default."),
    ] = None,
    device: Device = "cpu",
    scenario_seed: ScenarioSeed = None,
    seed: Seed = 0,
    num_frequencies: Annotated[
        int,
        typer.Option(
            min=1, max=2**20, help="Subcarriers for the figures, out of those not used in training."
        ),
    ] = 512,
    num_receivers: Annotated[
        int,
        typer.Option(
            min=1, max=10**6, help="Links for which the MMSE block is compared with Sionna's."
        ),
    ] = 8,
    every: Annotated[
        bool, typer.Option("--all", help="Show all figures of the model card.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare a trained model's results with exact ones, and write its model card.

    Figures of each operation in double precision; coded block error rates on the same bits,
    channels and noise, with a paired test of their difference.

    Example: [cyan]neumatc-mimo evaluate munich --blocks 10000[/cyan]
    """
    orders = integers("--bits", bits)
    loaded = load_scenario(scenario, scenario_seed)
    folder = model_folder(loaded, model)
    trained = load_model(loaded, model, device, scenario)
    file = card or child(folder, "README.md")
    check_writable(card.parent if card else folder)
    from neumatc_mimo.bench.evaluation import evaluate as run
    from neumatc_mimo.bench.fidelity import broken_promises
    from neumatc_mimo.bench.model_card import error_rate_rows, tier_rows, write_model_card

    results = run(
        trained,
        loaded,
        num_blocks=blocks,
        bits=orders,
        level=level,
        num_frequencies=num_frequencies,
        num_receivers=num_receivers,
        seed=seed,
    )
    write_model_card(file, loaded, trained, results)
    if as_json:
        print_json(results)
        return
    out.print(_fidelity_table(results, every))
    rates = results.get("error_rates")
    if rates:
        out.print(rows_table("Coded block error rates, paired", error_rate_rows(rates)))
        out.print(rows_table("How results were obtained", tier_rows(rates)))
    broken = broken_promises(results)
    if broken:
        where = ", ".join(f"{number:,} of {name}" for name, number in broken.items())
        out.print(
            f"[bold red]The promise is broken:[/bold red] results below the quality that was "
            f'proven in training: {where}. Train again; until then, use certify="call".',
            highlight=False,
        )
    out.print(f"Wrote {file}", soft_wrap=True)


def _fidelity_table(results: dict[str, Any], every: bool) -> Table:
    from neumatc_mimo.bench.fidelity import BELOW
    from neumatc_mimo.bench.figures import headlines, label, subject, written

    table = Table(title="Queried against exact, double precision")
    table.add_column("what")
    table.add_column("value", justify="right")
    for operation, values in results.items():
        if isinstance(values, dict):
            for key in values if every else headlines(values):
                value = values[key]
                if not math.isfinite(value):
                    continue
                style = "bold red" if key == BELOW and value else None
                what = f"{subject(operation)}: {label(key)}"
                table.add_row(what, written(key, value), style=style)
    return table


def rows_table(title: str, rows: list[dict[str, Any]]) -> Table:
    """A table of rows that have the same keys."""
    table = Table(title=title)
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    return table
