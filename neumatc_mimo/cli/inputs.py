"""What commands read."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from neumatc_mimo.storage.files import Location, is_folder


def load_scenario(source: str, seed: int | None = None) -> Any:
    """Scenario of a bundled name or a TOML, with other user groups if given."""
    import neumatc_mimo as nm

    return nm.load_scenario(source, seed)


def model_folder(scenario: Any, folder: Location | None) -> Location:
    """The folder or URL that was given, or models/SCENARIO."""
    return folder or Path("models") / scenario.name


def load_model(scenario: Any, folder: Location | None, device: str, source: str) -> Any:
    """Trained model of a scenario, from a folder, a URL or models/SCENARIO.

    :param source: what the user calls the scenario
    """
    import neumatc_mimo as nm

    location = model_folder(scenario, folder)
    place = "" if folder is None else f" --model {shlex.quote(str(folder))}"
    advice = f"run `neumatc-mimo train {shlex.quote(source)}{place}` first"
    if not is_folder(location):
        raise FileNotFoundError(f"There is no model folder {location}, {advice}.")
    try:
        model = nm.ScenarioModel.load(location, device=device)
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no model in {location}, {advice}.") from None
    model.check(scenario.fingerprint, json.loads(scenario.config.model_dump_json()))
    return model


def integers(option: str, text: str) -> list[int]:
    """Numbers that were given to an option, with commas between them."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f'{option} is "{text}", numbers separated by commas are needed.') from None
