"""The command line: results on standard output, progress on standard error."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Learned, certified matrix inverses and SVDs for MIMO-OFDM link-level simulation.",
)
# Tables in a file or a pipe get the width that they need.
_out = Console() if sys.stdout.isatty() else Console(width=100)
_err = Console(stderr=True)

# Commands import what they need: --help and bad input answer at once, torch and Sionna take
# seconds to load.

_EXPECTED = (ValueError, OSError, ImportError, RuntimeError, TypeError)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")]
ScenarioSeed = Annotated[
    int | None,
    typer.Option(min=0, help="Seed of the user groups; the scenario file's by default."),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of all that is random here.")]
ScenarioName = Annotated[str, typer.Argument(help="Bundled name, or path of a scenario TOML.")]
ModelFolder = Annotated[
    Path | None, typer.Option("--model", help="Model folder; models/SCENARIO by default.")
]


class Task(StrEnum):
    """The simulations."""

    DOWNLINK = "downlink"
    UPLINK = "uplink"
    SVD = "svd"
    ALL = "all"


def main() -> None:
    """Run the command line; a foreseeable error becomes one sentence and exit code 1."""
    try:
        app()
    except _EXPECTED as error:
        _fail(error)
    except KeyboardInterrupt:
        _err.print("Interrupted.")
        sys.exit(130)


@app.command()
def scenarios(as_json: Json = False) -> None:
    """List the bundled scenarios.

    Example: [cyan]neumatc-mimo scenarios --json[/cyan]
    """
    from neumatc_mimo.scenario.resources import bundled_scenarios
    from neumatc_mimo.scenario.schema import read_config

    configs = [read_config(name) for name in bundled_scenarios()]
    if as_json:
        _print_json([{"name": c.name, **json.loads(c.model_dump_json())} for c in configs])
        return
    table = Table(title="Scenarios")
    for column in ("name", "data", "array", "subcarriers", "groups of users", "single users"):
        table.add_column(column)
    for config in configs:
        multi, single = config.multi_user, config.single_user
        table.add_row(
            config.name,
            config.deepmimo.path or config.deepmimo.scenario,
            "{} × {}".format(*config.array.bs),
            f"{config.grid.fft_size} × {config.grid.subcarrier_spacing / 1e3:g} kHz",
            "–" if multi is None else f"{multi.num_links} of {multi.users_per_link}",
            "–" if single is None else f"{single.num_links}, {single.num_streams} streams",
        )
    _out.print(table)


@app.command()
def trace(
    scene: Annotated[str, typer.Argument(help="Built-in scene of Sionna RT, or a scene XML.")],
    folder: Annotated[Path, typer.Argument(help="DeepMIMO scenario folder to write.")],
    frequency: Annotated[float, typer.Option(help="Carrier frequency [Hz].")] = 3.5e9,
    base_station: Annotated[tuple[float, float, float], typer.Option(help="Position [m].")] = (
        8.5,
        21.0,
        27.0,
    ),
    x: Annotated[tuple[float, float], typer.Option(help="First and last x of users [m].")] = (
        -60.0,
        120.0,
    ),
    y: Annotated[tuple[float, float], typer.Option(help="First and last y of users [m].")] = (
        20.0,
        160.0,
    ),
    users: Annotated[tuple[int, int], typer.Option(help="Users along x and y.")] = (30, 25),
    max_depth: Annotated[int, typer.Option(help="Most reflections of a path.")] = 5,
    num_samples: Annotated[int, typer.Option(help="Rays that leave the base station.")] = 10**6,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing scenario.")] = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Ray-trace a scene into a DeepMIMO folder; needs LLVM or a GPU.

    Example: [cyan]neumatc-mimo trace munich data/munich_3p5[/cyan]
    """
    from neumatc_mimo.scenario.tracing import trace as run

    with _progress() as progress:
        bar = progress.add_task("Tracing users", total=None)
        path = run(
            scene,
            folder,
            frequency=frequency,
            base_station=base_station,
            x=x,
            y=y,
            users=users,
            max_depth=max_depth,
            num_samples=num_samples,
            seed=seed,
            overwrite=overwrite,
            progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    _print_json({"folder": str(path)}) if as_json else _out.print(f"Wrote {path}")


@app.command()
def train(
    scenario: ScenarioName = "munich",
    model: ModelFolder = None,
    device: Device = "cpu",
    rank: Annotated[
        int | None,
        typer.Option(min=1, help="Rank of the pseudo-inverse's trunk; the scenario's by default."),
    ] = None,
    scenario_seed: ScenarioSeed = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Train the models of a scenario and save them.

    Example: [cyan]neumatc-mimo train munich --model models/munich[/cyan]
    """
    loaded = _load_scenario(scenario, scenario_seed, rank)
    trained, folder, seconds = _train(loaded, model, device, seed)
    summary = _model_summary(trained) | {"folder": str(folder), "seconds": seconds}
    if as_json:
        _print_json(summary)
    else:
        _out.print(f"Trained in {seconds:.0f} s, {summary['mega_bytes']:.1f} MB, saved to {folder}")


@app.command()
def evaluate(
    scenario: ScenarioName = "munich",
    model: ModelFolder = None,
    blocks: Annotated[
        int, typer.Option(min=0, help="Coded blocks of each modulation; 0 for no error rates.")
    ] = 1000,
    bits: Annotated[
        str, typer.Option(help="Bits of the QAM symbols, of 2, 4, 6 and 8.")
    ] = "2,4,6,8",
    level: Annotated[float, typer.Option(help="Level of confidence intervals and tests.")] = 0.99,
    card: Annotated[
        Path | None,
        typer.Option(help="Model card to write; README.md in the model folder by default."),
    ] = None,
    device: Device = "cpu",
    scenario_seed: ScenarioSeed = None,
    seed: Seed = 0,
    num_frequencies: Annotated[
        int, typer.Option(min=1, help="Spread subcarriers of the figures, of those not trained on.")
    ] = 512,
    num_receivers: Annotated[
        int, typer.Option(min=1, help="Links whose MMSE block is compared with Sionna's.")
    ] = 8,
    as_json: Json = False,
) -> None:
    """Compare a trained model's results with exact ones, and write its model card.

    Figures of each operation in double precision; coded block error rates on the same bits,
    channels and noise, with a paired test of their difference.

    Example: [cyan]neumatc-mimo evaluate munich --blocks 10000[/cyan]
    """
    orders = _orders(bits)
    loaded = _load_scenario(scenario, scenario_seed)
    folder = model or Path("models") / loaded.name
    trained = _load_model(loaded, folder, device)
    file = card or folder / "README.md"
    _probe_folder(file.parent)
    from neumatc_mimo.card import error_rate_rows, tier_rows, write_card
    from neumatc_mimo.evaluation import evaluate as run

    with _progress() as progress:
        bar = progress.add_task("Comparing queried with exact results", total=None)
        results = run(
            trained,
            loaded,
            num_blocks=blocks,
            bits=orders,
            level=level,
            num_frequencies=num_frequencies,
            num_receivers=num_receivers,
            seed=seed,
            progress=lambda text, done, total: progress.update(
                bar, description=text, completed=done, total=total
            ),
        )
    write_card(file, loaded, trained, results)
    if as_json:
        _print_json(results)
        return
    _out.print(_fidelity_table(results))
    rates = results.get("error_rates")
    if rates:
        _out.print(_rows_table("Coded block error rates, paired", error_rate_rows(rates)))
        _out.print(_rows_table("How answers came about", tier_rows(rates)))
    _out.print(f"Wrote {file}")


@app.command()
def simulate(
    scenario: ScenarioName = "munich",
    task: Annotated[Task, typer.Option(help="Which transmission.")] = Task.ALL,
    model: ModelFolder = None,
    exact_only: Annotated[bool, typer.Option(help="Run the exact blocks alone.")] = False,
    coded: Annotated[bool, typer.Option(help="LDPC-coded, or uncoded, transmission.")] = True,
    points: Annotated[int, typer.Option(min=2, help="Eb/N0 points.")] = 5,
    block_errors: Annotated[int, typer.Option(min=1, help="Block errors at a point.")] = 100,
    max_calls: Annotated[int, typer.Option(min=1, help="Most batches at a point.")] = 80,
    stride: Annotated[int, typer.Option(min=1, help="Simulate every n-th subcarrier.")] = 12,
    batch_size: Annotated[int, typer.Option(min=1, help="Slots of a batch.")] = 32,
    device: Device = "cpu",
    scenario_seed: ScenarioSeed = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Simulate error curves with exact and queried blocks on the same bits, channels and noise.

    Example: [cyan]neumatc-mimo simulate munich --task downlink --points 6[/cyan]
    """
    loaded = _load_scenario(scenario, scenario_seed)
    trained = None if exact_only else _load_model(loaded, model, device)
    results = {}
    for name in _tasks(loaded, task):
        results[name] = _simulate(
            loaded,
            trained,
            name,
            coded,
            points,
            block_errors,
            max_calls,
            stride,
            batch_size,
            device,
            seed,
        )
    if as_json:
        _print_json(results)
        return
    for name, run in results.items():
        _out.print(_curve_table(name, run))


@app.command()
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
    from neumatc_mimo.report import read_summary, write_report

    summary = read_summary(folder)
    loaded = _load_scenario(summary.get("scenario", {}).get("file", "munich"))
    path = model or Path("models") / loaded.name
    # Pictures of queried results need the model; those of an exact-only run do not.
    trained = _load_model(loaded, path, "cpu") if path.is_dir() else None
    with _status("Drawing"):
        written = write_report(folder, summary, loaded, trained)
    if as_json:
        _print_json([str(file) for file in written])
    else:
        _out.print(_demo_table(summary))
        _out.print(f"Wrote {', '.join(str(file) for file in written)}")


@app.command()
def demo(
    scenario: ScenarioName = "munich",
    model: ModelFolder = None,
    folder: Annotated[Path, typer.Option("--report", help="Report folder.")] = Path("report"),
    exact_only: Annotated[
        bool, typer.Option(help="Train nothing, show exact blocks only.")
    ] = False,
    points: Annotated[int, typer.Option(min=2, help="Eb/N0 points of a curve.")] = 5,
    block_errors: Annotated[int, typer.Option(min=1, help="Block errors at a point.")] = 100,
    max_calls: Annotated[int, typer.Option(min=1, help="Most batches at a point.")] = 80,
    stride: Annotated[int, typer.Option(min=1, help="Simulate every n-th subcarrier.")] = 12,
    batch_size: Annotated[int, typer.Option(min=1, help="Slots of a batch.")] = 32,
    device: Device = "cpu",
    scenario_seed: ScenarioSeed = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Train, simulate, time and report: everything, on the bundled scenario.

    Example: [cyan]neumatc-mimo demo munich --report report[/cyan]
    """
    begin = time.perf_counter()
    loaded = _load_scenario(scenario, scenario_seed)
    _probe_folder(folder)
    trained, summary = None, _scenario_summary(loaded, scenario)
    from neumatc_mimo.report import write_report

    if not exact_only:
        trained, path, seconds = _train(loaded, model, device, seed)
        summary["model"] = _model_summary(trained) | {"folder": str(path), "seconds": seconds}
        from neumatc_mimo.bench.fidelity import fidelity

        with _status("Comparing queried with exact results"):
            summary["fidelity"] = fidelity(trained, loaded, num_frequencies=512, num_receivers=8)
    summary["simulations"] = {}
    for name in _tasks(loaded, Task.ALL):
        for coded in (True, False):
            key = f"{name}, {'coded' if coded else 'uncoded'}"
            summary["simulations"][key] = _simulate(
                loaded,
                trained,
                name,
                coded,
                points,
                block_errors,
                max_calls,
                stride,
                batch_size,
                device,
                seed,
            )
    if loaded.multi_user is not None:
        from neumatc_mimo.bench.blocks import Point, at_point
        from neumatc_mimo.bench.tasks import MMSE, ZeroForcing

        links = loaded.multi_user
        point = Point(links.num_rows, links.num_cols, links.fft_size)
        with _status("Timing blocks") as status:
            rows = at_point(
                loaded,
                point,
                trained,
                tasks=(ZeroForcing, MMSE),
                device=device,
                progress=lambda text: status.update(f"Timing {text}"),
            )
            summary["block_times"] = [row.to_json() for row in rows]
    summary["seconds"] = time.perf_counter() - begin
    with _status("Drawing"):
        written = write_report(folder, summary, loaded, trained)
    if as_json:
        _print_json(summary)
        return
    _out.print(_demo_table(summary))
    _out.print(f"{len(written)} files in {folder}/, {summary['seconds']:.0f} s in all")


@app.command()
def bench(
    scenario: ScenarioName = "munich",
    folder: Annotated[Path, typer.Option("--report", help="Folder of the results.")] = Path(
        "report/bench"
    ),
    quick: Annotated[
        bool, typer.Option(help="Few repetitions; without --axis the base point only.")
    ] = False,
    axis: Annotated[
        list[str] | None, typer.Option(help="Only this axis; may be given again.")
    ] = None,
    sionna: Annotated[bool, typer.Option(help="Time Sionna's blocks, too.")] = True,
    device: Device = "cpu",
    scenario_seed: ScenarioSeed = None,
    as_json: Json = False,
) -> None:
    """Time every block beside Sionna's, its rivals and its limit, along every size.

    Example: [cyan]neumatc-mimo bench munich --quick[/cyan]
    """
    loaded = _load_scenario(scenario, scenario_seed)
    _probe_folder(folder)
    from neumatc_mimo.bench.report import run_and_write

    with _status("Preparing") as status:
        sheets = run_and_write(
            loaded,
            folder,
            quick=quick,
            only=axis,
            theirs=sionna,
            device=device,
            progress=lambda text: status.update(text),
        )
    if as_json:
        _print_json({sheet.name: sheet.rows for sheet in sheets})
    else:
        for sheet in sheets:
            sys.stdout.write(sheet.markdown(str(folder)) + "\n")


@app.command()
def plan(
    scenario: ScenarioName = "munich",
    device: Device = "cpu",
    scenario_seed: ScenarioSeed = None,
    as_json: Json = False,
) -> None:
    """Tell what training and querying cost here, and which way is the cheapest.

    Trains one link of each kind and times the blocks on it.

    Example: [cyan]neumatc-mimo plan munich[/cyan]
    """
    loaded = _load_scenario(scenario, scenario_seed)
    from neumatc_mimo.bench.plan import plan as make

    with _status("Preparing") as status:
        entries = make(loaded, device=device, progress=lambda text: status.update(text))
    if as_json:
        _print_json(entries)
        return
    table = Table(title=f"{loaded.name}: a slot of one link, and the training of all links")
    for column in entries[0]:
        text = column in ("block", "cheapest")
        table.add_column(column, justify="left" if text else "right", no_wrap=text)
    for entry in entries:
        table.add_row(*(_planned(key, value) for key, value in entry.items()))
    _out.print(table)


def _planned(key: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if key == "patched":
        return f"{100 * value:.2f} %"
    if key == "repaid, slots":
        return f"{value:.0f}" if value < float("inf") else "never"
    return f"{value:.3g}"


def _fail(error: BaseException) -> None:
    text = " ".join(str(error).split()) or type(error).__name__
    _err.print(f"[bold red]Error:[/bold red] {_escape(text)}", soft_wrap=True, highlight=False)
    sys.exit(1)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _load_scenario(source: str, seed: int | None = None, rank: int | None = None) -> Any:
    from neumatc_mimo.scenario import Scenario, load_scenario

    scenario = load_scenario(source, seed)
    if rank is None:
        return scenario
    model = scenario.config.model.model_copy(update={"rank": rank})
    return Scenario(scenario.config.model_copy(update={"model": model}))


def _load_model(scenario: Any, folder: Path | None, device: str) -> Any:
    import neumatc_mimo as nm

    path = folder or Path("models") / scenario.name
    if not path.is_dir():
        raise FileNotFoundError(
            f"There is no model folder {path}, run `neumatc-mimo train {scenario.name}` first."
        )
    model = nm.ScenarioModel.load(path, device=device)
    model.check(scenario.fingerprint)
    return model


def _orders(bits: str) -> list[int]:
    try:
        return [int(part) for part in bits.split(",")]
    except ValueError:
        raise ValueError(
            f'--bits is "{bits}", numbers with commas between them are needed.'
        ) from None


def _train(scenario: Any, folder: Path | None, device: str, seed: int) -> Any:
    import neumatc_mimo as nm

    path = folder or Path("models") / scenario.name
    _probe_folder(path)
    begin = time.perf_counter()
    # Finished links are kept beside the model: an interrupted training resumes from there.
    checkpoint = path.with_name(f".{path.name}-training")
    model = nm.train(scenario, seed=seed, device=device, progress=True, checkpoint=checkpoint)
    seconds = time.perf_counter() - begin
    model.save(path)
    return model, path, seconds


def _probe_folder(folder: Path) -> None:
    """Find out before minutes of work that a folder cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f"{folder} cannot be written ({error.strerror}).") from error


def _tasks(scenario: Any, task: Task) -> list[str]:
    available = [
        *(["downlink", "uplink"] if scenario.config.multi_user is not None else []),
        *(["svd"] if scenario.config.single_user is not None else []),
    ]
    if task is Task.ALL:
        return available
    if task.value not in available:
        raise ValueError(
            f"{scenario.name} has no links for {task.value}, it has those for "
            f"{' and '.join(available)}."
        )
    return [task.value]


def _simulate(
    scenario: Any,
    model: Any | None,
    name: str,
    coded: bool,
    num_points: int,
    block_errors: int,
    max_calls: int,
    stride: int,
    batch_size: int,
    device: str,
    seed: int,
) -> dict[str, Any]:
    from neumatc_mimo.simulation import PIPELINES, error_curves, snr_offset_db, waterfall
    from neumatc_mimo.solvers.exact import Exact

    kind = PIPELINES[name]
    links = getattr(scenario, kind.kind).to(device)
    solvers = {"exact": Exact()} | ({} if model is None else {"queried": model})
    begin = time.perf_counter()

    def factory(solver: Any) -> Any:
        return kind(links, solver, coded=coded, stride=stride, seed=seed)

    with _progress() as progress:
        label = f"{kind.title}, {'coded' if coded else 'uncoded'}"
        bar = progress.add_task(f"{label}: finding Eb/N0", total=num_points * len(solvers))
        done = {solver: 0 for solver in solvers}

        def show(solver: str, point: int, errors: int) -> None:
            done[solver] = point
            text = f"{label}: {solver}, point {point + 1}, {errors} block errors"
            progress.update(bar, description=text, completed=sum(done.values()))

        ebno_dbs = waterfall(factory(Exact()), num_points=num_points, batch_size=batch_size)
        curves = error_curves(
            factory,
            solvers,
            ebno_dbs,
            batch_size=batch_size,
            target_block_errors=block_errors,
            max_calls=max_calls,
            progress=show,
        )
        progress.update(bar, completed=num_points * len(solvers))
    result: dict[str, Any] = {
        "title": label,
        "coded": coded,
        "curves": {solver: curve.to_json() for solver, curve in curves.items()},
        "seconds": time.perf_counter() - begin,
    }
    if model is not None:
        rate, levels = ("bler", (1e-2, 0.9)) if coded else ("ber", (1e-5, 0.5))
        result["offset_db"] = snr_offset_db(curves["exact"], curves["queried"], levels, rate=rate)
    return result


def _scenario_summary(scenario: Any, source: str) -> dict[str, Any]:
    return {
        "scenario": {"name": scenario.name, "file": source, "description": repr(scenario)},
        "version": _version(),
    }


def _version() -> str:
    import neumatc_mimo

    return neumatc_mimo.__version__


def _model_summary(model: Any) -> dict[str, Any]:
    return {"mega_bytes": model.num_bytes / 1e6, "training": model.training}


# What of the fidelity the demo's table shows; `evaluate` and the report's summary have all of it.
_HEADLINES = (
    "patched_share",
    "filter_error_median_db",
    "sir_5th_percentile_db",
    "mapping_alone_sir_5th_percentile_db",
    "x_hat_error_median_db",
    "no_eff_deviation_max",
    "rate_ratio",
)


def _demo_table(summary: dict[str, Any]) -> Table:
    """The one table of the demo."""
    from neumatc_mimo.bench.figures import label, written

    name = summary.get("scenario", {}).get("name", "")
    table = Table(title=f"neumatc-mimo on {name}", show_lines=False)
    table.add_column("what")
    table.add_column("result", justify="right")
    table.add_column("to Sionna", justify="right")
    table.add_column("to exact", justify="right")
    table.add_column("over limit", justify="right")
    for operation, values in (summary.get("fidelity") or {}).items():
        for key in (key for key in _HEADLINES if key in values):
            what = f"{operation.replace('_', ' ')}: {label(key)}"
            table.add_row(what, written(key, values[key]))
    table.add_section()
    for run in (summary.get("simulations") or {}).values():
        if run.get("offset_db") is not None:
            table.add_row(f"{run['title']}, offset", f"{run['offset_db']:+.3f} dB")
        else:
            errors = run["curves"]["exact"]["block_errors"]
            table.add_row(f"{run['title']}: block errors a point", f"{min(errors)} at least")
    table.add_section()
    for row in summary.get("block_times") or []:
        table.add_row(
            f"{row['block']}: {row['way']}",
            "{median:.1f} ({low:.1f} to {high:.1f}) ms".format(**row["milliseconds"]),
            f"{row['once'] * row['query']:.3g} ×" if row["once"] is not None else None,
            f"{row['query']:.3g} ×",
            f"{row['over_limit']:.3g} ×",
        )
    table.add_section()
    if summary.get("model"):
        table.add_row("training, both models", f"{summary['model']['seconds']:.0f} s")
        table.add_row("model size", f"{summary['model']['mega_bytes']:.1f} MB")
    return table


def _fidelity_table(results: dict[str, Any]) -> Table:
    from neumatc_mimo.bench.figures import label, written

    table = Table(title="Queried against exact, double precision")
    table.add_column("what")
    table.add_column("value", justify="right")
    for operation, values in results.items():
        if isinstance(values, dict):
            for key, value in values.items():
                table.add_row(f"{operation.replace('_', ' ')}: {label(key)}", written(key, value))
    return table


def _rows_table(title: str, rows: list[dict[str, Any]]) -> Table:
    """A table of rows that have the same keys."""
    table = Table(title=title)
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    return table


def _curve_table(name: str, run: dict[str, Any]) -> Table:
    offset = run.get("offset_db")
    caption = None if offset is None else f"queried − exact: {offset:+.3f} dB"
    table = Table(title=run["title"], caption=caption)
    table.add_column("Eb/N0 [dB]", justify="right")
    curves = run["curves"]
    for solver in curves:
        for column in ("BER", "BLER", "block errors"):
            table.add_column(f"{solver} {column}", justify="right")
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


def _print_json(value: Any) -> None:
    from neumatc_mimo.report import finite

    sys.stdout.write(json.dumps(finite(value), indent=2, allow_nan=False) + "\n")


@contextmanager
def _progress() -> Iterator[Progress]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_err, transient=True) as progress:
        yield progress


def _status(text: str) -> Any:
    return _err.status(text)
