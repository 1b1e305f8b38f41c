"""``neumatc-mimo plan``: the cost of training and queries on this machine."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from neumatc_mimo.cli.inputs import load_scenario
from neumatc_mimo.cli.options import Device, Json, ScenarioName, ScenarioSeed
from neumatc_mimo.cli.sizes import told_sizes
from neumatc_mimo.cli.terminal import out, print_json


def plan(
    scenario: ScenarioName = "munich",
    device: Device = "cpu",
    scenario_seed: ScenarioSeed = None,
    as_json: Json = False,
) -> None:
    """Estimate the cost of training and queries on this machine, and find the fastest way.

    This trains one link of each kind and measures the blocks with it.

    Example: [cyan]neumatc-mimo plan munich[/cyan]
    """
    loaded = load_scenario(scenario, scenario_seed)
    from neumatc_mimo.bench.plan import plan as make

    entries = make(loaded, device=device)
    if as_json:
        print_json(entries)
        return
    table = Table(title=f"{loaded.name}: a slot of one link, and the training of all links")
    learned = {entry.pop("operation"): entry.pop("sizes") for entry in entries}
    for column in entries[0]:
        text = column in ("block", "cheapest")
        table.add_column(column, justify="left" if text else "right", no_wrap=text)
    for entry in entries:
        table.add_row(*(_planned(key, value) for key, value in entry.items()))
    out.print(table)
    for operation, sizes in learned.items():
        out.print(told_sizes(operation, sizes))


def _planned(key: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if key == "patched":
        return f"{100 * value:.2f} %"
    if key == "repaid, slots":
        return f"{value:.0f}" if value < float("inf") else "never"
    return f"{value:.3g}"
