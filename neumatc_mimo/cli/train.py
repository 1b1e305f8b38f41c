"""``neumatc-mimo train``: train the models of a scenario and save them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from neumatc_mimo.cli.inputs import load_scenario, model_folder
from neumatc_mimo.cli.options import Device, Json, ModelFolder, ScenarioName, ScenarioSeed, Seed
from neumatc_mimo.cli.terminal import out, print_json
from neumatc_mimo.files import Location, check_writable, local_path
from neumatc_mimo.progress import Callbacks


def train(
    scenario: ScenarioName = "munich",
    model: ModelFolder = None,
    device: Device = "cpu",
    rank: Annotated[
        int | None,
        typer.Option(min=1, help="Rank of the pseudo-inverse's trunk; the scenario's by default."),
    ] = None,
    tensorboard: Annotated[
        Path | None,
        typer.Option(help="Folder of a TensorBoard log of the training to write."),
    ] = None,
    scenario_seed: ScenarioSeed = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Train the models of a scenario and save them.

    Example: [cyan]neumatc-mimo train munich --model models/munich[/cyan]
    """
    import neumatc_mimo as nm

    loaded = load_scenario(scenario, scenario_seed, rank)
    callback = None if tensorboard is None else nm.TensorBoard(tensorboard)
    trained, folder, seconds = train_and_save(loaded, model, device, seed, callback)
    summary = model_summary(trained) | {"folder": str(folder), "seconds": seconds}
    if as_json:
        print_json(summary)
    else:
        out.print(f"Trained in {seconds:.0f} s, {summary['mega_bytes']:.1f} MB, saved to {folder}")


def train_and_save(
    scenario: Any, folder: Location | None, device: str, seed: int, callback: Callbacks = None
) -> tuple[Any, Location, float]:
    """Train the models of a scenario and save them; the model, its folder, and seconds."""
    import neumatc_mimo as nm

    location = model_folder(scenario, folder)
    check_writable(location)
    begin = time.perf_counter()
    # Finished links are kept beside the model, or where it would be by default if that is on
    # another machine: an interrupted training resumes from there.
    path = local_path(location) or Path("models") / scenario.name
    checkpoint = path.with_name(f".{path.name}-training")
    model = nm.train(scenario, seed=seed, device=device, checkpoint=checkpoint, callback=callback)
    seconds = time.perf_counter() - begin
    model.save(location)
    return model, location, seconds


def model_summary(model: Any) -> dict[str, Any]:
    return {"mega_bytes": model.num_bytes / 1e6, "training": model.training}
