"""``neumatc-mimo plan``: the cost of training and queries on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
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
    learned = {entry.pop("operation"): entry.pop("sizes") for entry in entries}
    out.print(plan_table(loaded.name, entries))
    for operation, sizes in learned.items():
        out.print(told_sizes(operation, sizes))


def plan_table(name: str, entries: Sequence[dict[str, Any]]) -> Table:
    """A row for each block; it fits into 80 columns."""
    table = Table(
        title=f"{name}: a slot of one link, and the training of all links",
        caption="kept: exact results of the training; repaid: slots until the time that\n"
        "queries save has paid for the training",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=0,
    )
    for column in entries[0]:
        text = column in ("block", "cheapest")
        words = "kept, %" if column == "patched" else column
        head = words.replace(", ", "\n").replace("training", "train")
        table.add_column(head, justify="left" if text else "right", no_wrap=True)
    for entry in entries:
        table.add_row(*(_planned(key, value) for key, value in entry.items()))
    return table


def _planned(key: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if key == "patched":
        return f"{100 * value:.2f}"
    if key == "repaid, slots":
        return f"{value:.0f}" if value < float("inf") else "never"
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
