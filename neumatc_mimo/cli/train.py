"""``neumatc-mimo train``: train the models of scenarios and save them, here or on a cluster."""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from neumatc_mimo.cli.inputs import load_scenario, model_folder
from neumatc_mimo.cli.options import Device, Force, Json, ModelFolder, ScenarioSeed, Seed
from neumatc_mimo.cli.sizes import told_sizes
from neumatc_mimo.cli.terminal import out, print_json
from neumatc_mimo.progress import Callback, Callbacks, within
from neumatc_mimo.storage.files import Location, check_writable, child, local_path
from neumatc_mimo.storage.model_folder import check_folder, holds_model
from neumatc_mimo.storage.names import check_plain

# Queries of an operation that are timed.
_QUERIES = 5


def train(
    scenarios: Annotated[
        list[str] | None,
        typer.Argument(help="Bundled names, or paths of scenario TOMLs; munich by default."),
    ] = None,
    model: ModelFolder = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE,...",
            help="Set a key of the scenario's \\[model]; may be given several times. With several "
            "values, a model is trained for each combination.",
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            help="Folder of several models, or its URL; each model has its own folder in it; "
            "models by default."
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Train on the Ray cluster at this address; auto: the cluster of this machine; "
            "local: the cores of this machine.",
        ),
    ] = None,
    task_seconds: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1e9,
            help="With --ray: seconds that a task should take; 60 by default.",
        ),
    ] = None,
    force: Force = False,
    device: Device = "cpu",
    tensorboard: Annotated[
        Path | None,
        typer.Option(help="Folder for a TensorBoard log of the training."),
    ] = None,
    scenario_seed: ScenarioSeed = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Train the models of scenarios and save them.

    Example: [cyan]neumatc-mimo train munich --model models/munich[/cyan]

    A grid on a cluster: [cyan]neumatc-mimo train a.toml b.toml --set rank=64,128 --ray auto[/cyan]
    """
    import neumatc_mimo as nm
    from neumatc_mimo.training.grid import grid

    if ray is not None and device != "cpu":
        raise ValueError(
            f"--device is {device}, but --ray trains on CPU cores; leave --device out."
        )
    if ray is None and task_seconds is not None:
        raise ValueError("--task-seconds needs --ray; give --ray or leave --task-seconds out.")
    if model is not None and models is not None:
        raise ValueError("--model and --models are both given; leave one out.")
    values: dict[str, list[Any]] = {}
    for key, given in map(_setting, settings or []):
        values.setdefault(key, []).extend(given)
    variants: dict[str, Any] = {}
    for source in scenarios or ["munich"]:
        for name, variant in grid(load_scenario(source, scenario_seed), values).items():
            if name in variants:
                raise ValueError(
                    f"Two scenarios are called {name}, one model would overwrite the other."
                )
            variants[name] = variant
    if model is not None and len(variants) > 1:
        raise ValueError(
            f"--model is the folder of one model, there are {len(variants)}; give --models."
        )
    folders: dict[str, Location] = {name: child(models or "models", name) for name in variants}
    if model is not None:
        folders = dict.fromkeys(variants, model)
    for name in variants:
        check_plain("The name of a model", name)
    callback: Callback | None = None if tensorboard is None else nm.TensorBoard(tensorboard)
    if ray is not None:
        rows = _on_cluster(variants, folders, ray, task_seconds, seed, callback)
    else:
        for folder in folders.values():
            check_folder(folder)
            if not force:
                ask_before_replacing(folder)
        rows = []
        for name, variant in variants.items():
            told = callback
            if callback is not None and len(variants) > 1:
                told = within(name, callback)
            rows.append(_here(variant, folders[name], device, seed, told))
    if as_json:
        print_json(rows)
    elif len(rows) == 1:
        (row,) = rows
        out.print(
            f"Trained in {row['seconds']:.0f} s, {row['mega_bytes']:.1f} MB, saved to "
            f"{row['folder']}"
        )
        for operation, report in row["training"].items():
            out.print(told_sizes(operation, report["sizes"]))
    else:
        out.print(_table(rows))


def ask_before_replacing(folder: Location) -> None:
    """Ask whether a model may be replaced, if one is there.

    :raises ValueError: if there is no terminal to ask on
    """
    if not holds_model(folder):
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise ValueError(
            f"{folder} already contains a model; give another --model, or --force to replace it."
        )
    typer.confirm(f"{folder} already contains a model. Replace it?", abort=True)


@contextmanager
def _left_as_it_was(folder: Location) -> Iterator[None]:
    """Leave no empty folders behind where what is done fails."""
    path = local_path(folder)
    made = [] if path is None else [one for one in (path, *path.parents) if not one.exists()]
    try:
        yield
    except BaseException:
        for one in made:
            with suppress(OSError):  # it is not there, or others have written to it
                one.rmdir()
        raise


def train_and_save(
    scenario: Any, folder: Location | None, device: str, seed: int, callback: Callbacks = None
) -> tuple[Any, Location, float]:
    """Train the models of a scenario and save them; the model, its folder, and seconds."""
    location = model_folder(scenario, folder)
    with _left_as_it_was(location):
        return _train_and_save(scenario, location, device, seed, callback)


def _train_and_save(
    scenario: Any, location: Location, device: str, seed: int, callback: Callbacks
) -> tuple[Any, Location, float]:
    from neumatc_mimo.training.scenario import train_and_keep
    from neumatc_mimo.training.store import discard_finished

    check_folder(location)
    check_writable(location)
    begin = time.perf_counter()
    # Finished links are kept beside the model, or where it would be by default if that is on
    # another machine: an interrupted training resumes from there.
    path = (local_path(location) or Path("models") / scenario.name).resolve()
    checkpoint = path.with_name(f".{path.name}-training")
    model = train_and_keep(
        scenario, seed=seed, device=device, checkpoint=checkpoint, callback=callback
    )
    seconds = time.perf_counter() - begin
    try:
        model.save(location)
    except (OSError, ValueError) as error:
        raise OSError(
            f"{error} The trained links are kept in {checkpoint}: run the same command again to "
            "save them without a new training."
        ) from error
    discard_finished(checkpoint, model.models)
    return model, location, seconds


def model_summary(model: Any) -> dict[str, Any]:
    return {"mega_bytes": model.num_bytes / 1e6, "training": model.training}


def _here(
    scenario: Any, folder: Location, device: str, seed: int, callback: Callbacks
) -> dict[str, Any]:
    model, path, seconds = train_and_save(scenario, folder, device, seed, callback)
    summary = model_summary(model) | {"query_ms": query_milliseconds(model)}
    return summary | {"folder": str(path), "seconds": seconds}


def query_milliseconds(model: Any) -> dict[str, float]:
    """What ``model.query`` takes for a link on its grid, repairs included; medians of some."""
    found = {}
    for operation, part in model.models.items():
        frequencies, taken = part.links.grid_frequencies(), []
        # The first call makes what later ones keep of the grid.
        for number in range(_QUERIES + 1):
            begin = time.perf_counter()
            model.query(operation, frequencies, links=[number % part.links.num_links])
            taken.append(1e3 * (time.perf_counter() - begin))
        found[operation] = statistics.median(taken[1:])
    return found


def _on_cluster(
    variants: dict[str, Any],
    folders: dict[str, Location],
    address: str,
    task_seconds: float | None,
    seed: int,
    callback: Callbacks,
) -> list[dict[str, Any]]:
    from neumatc_mimo.training import cluster

    paths = {name: local_path(folder) for name, folder in folders.items()}
    for name, path in paths.items():
        if path is None:
            raise ValueError(
                f"{folders[name]} is not a folder on this machine, but --ray needs one; train into "
                "a folder that all machines share and copy it afterwards."
            )
    settings: dict[str, Any] = {} if task_seconds is None else {"task_seconds": task_seconds}
    begin = time.perf_counter()
    trained = cluster.train(
        {str(paths[name]): variant for name, variant in variants.items()},
        address=address,
        seed=seed,
        callback=callback,
        **settings,
    )
    seconds = time.perf_counter() - begin
    return [
        model_summary(model) | {"folder": folder, "seconds": seconds}
        for folder, model in trained.items()
    ]


def _setting(text: str) -> tuple[str, list[Any]]:
    key, sign, values = text.partition("=")
    if not (key and sign and values):
        raise ValueError(f'--set is "{text}", KEY=VALUE or KEY=VALUE,VALUE is needed.')
    return key, [_value(value) for value in values.split(",")]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(
        title="Mappings alone, at subcarriers that they were not trained on",
        caption="Error and quality (5 %) in dB; corrected and exact in %; "
        "s and kB of a link, ms of a query.",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    # What is told by the settings is long: it takes several lines before any number is cut.
    table.add_column("model", overflow="fold")
    table.add_column("operation", no_wrap=True)
    for column in ("error", "qual.", "corr.", "exact", "s", "kB", "ms"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        for operation, report in row["training"].items():
            table.add_row(
                PurePath(row["folder"]).name,
                operation,
                _shown(20 * math.log10(report["error_median"]), 1),
                _shown(report["quality_5_percent_db"], 1),
                _shown(100 * report["corrected_share"], 1),
                _shown(100 * report["patched_share"], 1),
                f"{report['seconds_per_link']:.2f}",
                f"{report['bytes_per_link'] / 1e3:.0f}",
                # A cluster's models are not at hand.
                f"{row['query_ms'][operation]:.1f}" if "query_ms" in row else "–",
            )
    return table


def _shown(value: float, digits: int) -> str:
    """A number, or a dash: where a grid is so small that all of it was trained on, or nothing is
    proven of the mapping alone.
    """
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"
