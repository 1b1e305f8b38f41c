"""``neumatc-mimo demo``: train, simulate, measure and report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.table import Table

from neumatc_mimo.cli.inputs import load_scenario, model_folder
from neumatc_mimo.cli.options import (
    BatchSize,
    BlockErrors,
    Device,
    Force,
    Json,
    MaxCalls,
    ModelFolder,
    Points,
    ScenarioName,
    ScenarioSeed,
    Seed,
    Stride,
)
from neumatc_mimo.cli.simulate import Effort, Task, offset_words, simulate_task, tasks_of
from neumatc_mimo.cli.terminal import out, print_json
from neumatc_mimo.cli.train import ask_before_replacing, model_summary, train_and_save
from neumatc_mimo.progress import reported
from neumatc_mimo.storage.files import check_writable


def demo(
    scenario: ScenarioName = "munich",
    model: ModelFolder = None,
    folder: Annotated[Path, typer.Option("--report", help="Report folder.")] = Path("report"),
    exact_only: Annotated[
        bool, typer.Option("--exact-only", help="Use exact blocks only, without training.")
    ] = False,
    force: Force = False,
    points: Points = 5,
    block_errors: BlockErrors = 100,
    max_calls: MaxCalls = 80,
    stride: Stride = 12,
    batch_size: BatchSize = 32,
    device: Device = "cpu",
    scenario_seed: ScenarioSeed = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Train, simulate, measure times and write a report, on the bundled scenario.

    Example: [cyan]neumatc-mimo demo munich --report report[/cyan]
    """
    begin = time.perf_counter()
    loaded = load_scenario(scenario, scenario_seed)
    check_writable(folder)
    if not (exact_only or force):
        ask_before_replacing(model_folder(loaded, model))
    trained, summary = None, _scenario_summary(loaded, scenario)
    from neumatc_mimo.reporting.report import write_report

    if not exact_only:
        trained, path, seconds = train_and_save(loaded, model, device, seed)
        summary["model"] = model_summary(trained) | {"folder": str(path), "seconds": seconds}
        from neumatc_mimo.bench.fidelity import fidelity

        summary["fidelity"] = fidelity(trained, loaded, num_frequencies=512, num_receivers=8)
    summary["simulations"] = {}
    effort = Effort(points, block_errors, max_calls, stride, batch_size, device, seed)
    for name in tasks_of(loaded, Task.ALL):
        for coded in (True, False):
            key = f"{name}, {'coded' if coded else 'uncoded'}"
            summary["simulations"][key] = simulate_task(loaded, trained, name, coded, effort)
    if loaded.multi_user is not None:
        from neumatc_mimo.bench.blocks import Point, at_point
        from neumatc_mimo.bench.tasks import MMSE, ZeroForcing

        links = loaded.multi_user
        point = Point(links.num_rows, links.num_cols, links.fft_size)
        with reported(progress=True) as tell:
            rows = at_point(
                loaded, point, trained, tasks=(ZeroForcing, MMSE), device=device, callback=tell
            )
            summary["block_times"] = [row.to_json() for row in rows]
    summary["seconds"] = time.perf_counter() - begin
    written = write_report(folder, summary, loaded, trained)
    if as_json:
        print_json(summary)
        return
    out.print(demo_table(summary))
    out.print(f"{len(written)} files in {folder}/, {summary['seconds']:.0f} s in all")


def _scenario_summary(scenario: Any, source: str) -> dict[str, Any]:
    return {
        "scenario": {
            "name": scenario.name,
            "file": source,
            "seed": scenario.config.seed,
            "description": repr(scenario),
        },
        "version": _version(),
    }


def _version() -> str:
    import neumatc_mimo

    return neumatc_mimo.__version__


def demo_table(summary: dict[str, Any]) -> Group:
    """What the demo shows: results, and the times of the blocks."""
    name = summary.get("scenario", {}).get("name", "")
    tables = [_results(f"neumatc-mimo on {name}", summary)]
    if summary.get("block_times"):
        tables.append(_times(summary["block_times"]))
    return Group(*tables)


def _results(title: str, summary: dict[str, Any]) -> Table:
    from neumatc_mimo.bench.figures import headlines, label, subject, written

    table = Table(title=title)
    table.add_column("what")
    table.add_column("result", justify="right")
    for operation, values in (summary.get("fidelity") or {}).items():
        for key in headlines(values):
            what = f"{subject(operation)}: {label(key)}"
            table.add_row(what, written(key, values[key]))
    table.add_section()
    for run in (summary.get("simulations") or {}).values():
        if (offset := offset_words(run)) is not None:
            table.add_row(f"{run['title']}: offset", offset)
        else:
            errors = run["curves"]["exact"]["block_errors"]
            table.add_row(f"{run['title']}: block errors a point", f"{min(errors)} at least")
    table.add_section()
    if summary.get("model"):
        table.add_row("training, all models", f"{summary['model']['seconds']:.0f} s")
        table.add_row("model size", f"{summary['model']['mega_bytes']:.1f} MB")
    return table


def _times(rows: Sequence[dict[str, Any]]) -> Table:
    """Medians of the blocks' calls, and how many times as fast as others they are."""
    table = Table(title="One call of a block; the summary has quartiles")
    table.add_column("block: way")
    for column in ("ms", "to Sionna", "to exact", "over limit"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            f"{row['block']}: {row['way']}",
            f"{row['milliseconds']['median']:.1f}",
            f"{row['once'] * row['query']:.3g} ×" if row["once"] is not None else None,
            f"{row['query']:.3g} ×",
            f"{row['over_limit']:.3g} ×",
        )
    return table
