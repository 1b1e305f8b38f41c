"""``neumatc-mimo simulate``: error curves of exact and queried blocks."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from neumatc_mimo.cli.inputs import load_model, load_scenario
from neumatc_mimo.cli.options import (
    BatchSize,
    BlockErrors,
    Device,
    Json,
    MaxCalls,
    ModelFolder,
    Points,
    ScenarioName,
    ScenarioSeed,
    Seed,
    Stride,
)
from neumatc_mimo.cli.terminal import out, print_json
from neumatc_mimo.progress import reported, within
from neumatc_mimo.storage.files import check_writable

# Beyond, an offset says nothing about two curves.
_MOST_ERROR_DB = 0.5


@dataclass(frozen=True)
class Effort:
    """How an error curve is simulated.

    :param points: Eb/N0 points
    :param block_errors: at which a point ends
    :param max_calls: batches at which it ends in any case
    :param stride: from one simulated subcarrier to the next
    :param batch_size: slots of a batch
    :param device: that computes
    :param seed: of bits, noise and links
    """

    points: int
    block_errors: int
    max_calls: int
    stride: int
    batch_size: int
    device: str
    seed: int


class Task(StrEnum):
    """The simulations."""

    DOWNLINK = "downlink"
    UPLINK = "uplink"
    SVD = "svd"
    ALL = "all"


def simulate(
    scenario: ScenarioName = "munich",
    task: Annotated[Task, typer.Option(help="Transmission to simulate.")] = Task.ALL,
    model: ModelFolder = None,
    exact_only: Annotated[
        bool, typer.Option("--exact-only", help="Use exact blocks only, without a model.")
    ] = False,
    coded: Annotated[bool, typer.Option(help="LDPC-coded or uncoded transmission.")] = True,
    points: Points = 5,
    block_errors: BlockErrors = 100,
    max_calls: MaxCalls = 80,
    stride: Stride = 12,
    batch_size: BatchSize = 32,
    folder: Annotated[Path, typer.Option("--report", help="Folder of the picture.")] = Path(
        "report"
    ),
    device: Device = "cpu",
    scenario_seed: ScenarioSeed = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Simulate error curves with exact and queried blocks on the same bits, channels and noise.

    Example: [cyan]neumatc-mimo simulate munich --task downlink --points 6[/cyan]
    """
    loaded = load_scenario(scenario, scenario_seed)
    trained = None if exact_only else load_model(loaded, model, device, scenario)
    check_writable(folder)
    effort = Effort(points, block_errors, max_calls, stride, batch_size, device, seed)
    results = {}
    for name in tasks_of(loaded, task):
        results[name] = simulate_task(loaded, trained, name, coded, effort)
    from neumatc_mimo.reporting.report import draw_error_curves

    titled = {run["title"]: run for run in results.values()}
    picture = draw_error_curves(folder / f"{loaded.name}_{task.value}.png", titled)
    if as_json:
        print_json(results)
        return
    for run in results.values():
        out.print(_curve_table(run))
    out.print(f"Drew {picture}")


def tasks_of(scenario: Any, task: Task) -> list[str]:
    available = [
        *(["downlink", "uplink"] if scenario.config.multi_user is not None else []),
        *(["svd"] if scenario.config.single_user is not None else []),
    ]
    if task is Task.ALL:
        return available
    if task.value not in available:
        raise ValueError(
            f"{scenario.name} has no links for {task.value}, only for {' and '.join(available)}."
        )
    return [task.value]


def simulate_task(
    scenario: Any, model: Any | None, name: str, coded: bool, effort: Effort
) -> dict[str, Any]:
    from neumatc_mimo.simulation import (
        PIPELINES,
        error_curves,
        snr_offset_db,
        snr_offset_error_db,
        waterfall,
    )
    from neumatc_mimo.solvers.exact import Exact

    kind = PIPELINES[name]
    links = getattr(scenario, kind.kind).to(effort.device)
    solvers = {"exact": Exact()} | ({} if model is None else {"queried": model})
    begin = time.perf_counter()

    def factory(solver: Any) -> Any:
        return kind(links, solver, coded=coded, stride=effort.stride, seed=effort.seed)

    label = f"{kind.title}, {'coded' if coded else 'uncoded'}"
    with reported(progress=True) as tell:
        common: dict[str, Any] = {
            "batch_size": effort.batch_size,
            "progress": False,
            "callback": within(label, tell),
        }
        ebno_dbs = waterfall(factory(Exact()), num_points=effort.points, **common)
        curves = error_curves(
            factory,
            solvers,
            ebno_dbs,
            target_block_errors=effort.block_errors,
            max_calls=effort.max_calls,
            **common,
        )
    result: dict[str, Any] = {
        "title": label,
        "coded": coded,
        "curves": {solver: curve.to_json() for solver, curve in curves.items()},
        "seconds": time.perf_counter() - begin,
    }
    if model is not None:
        rate, levels = ("bler", (1e-2, 0.9)) if coded else ("ber", (1e-5, 0.5))
        both = curves["exact"], curves["queried"]
        result["offset_db"] = snr_offset_db(*both, levels, rate=rate)
        result["offset_error_db"] = snr_offset_error_db(*both, levels, rate=rate)
    return result


def offset_words(run: dict[str, Any]) -> str | None:
    """The distance of the curves with its 95 % interval; None where chance alone tells it."""
    offset, error = run.get("offset_db"), run.get("offset_error_db")
    if offset is None or error is None or not math.isfinite(offset + error):
        return None
    if error > _MOST_ERROR_DB:
        return f"within ± {error:.1f} dB; more block errors are needed to say more"
    return f"{offset:+.2f} ± {error:.2f} dB"


def _curve_table(run: dict[str, Any]) -> Table:
    offset = offset_words(run)
    caption = None if offset is None else f"queried − exact: {offset}"
    table = Table(title=run["title"], caption=caption, expand=False)
    table.add_column("Eb/N0\n[dB]", justify="right")
    curves = run["curves"]
    for solver in curves:
        for column in ("BER", "BLER", "errors"):
            table.add_column(f"{solver}\n{column}", justify="right", no_wrap=True)
    for i, ebno_db in enumerate(next(iter(curves.values()))["ebno_dbs"]):
        cells = [f"{ebno_db:.2f}"]
        for curve in curves.values():
            cells += [
                f"{curve['ber'][i]:.2e}",
                f"{curve['bler'][i]:.2e}",
                str(curve["block_errors"][i]),
            ]
        table.add_row(*cells)
    return table
