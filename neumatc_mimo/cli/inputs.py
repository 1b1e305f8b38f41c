"""What commands read, and the folders that they will write, checked before minutes of work."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def load_scenario(source: str, seed: int | None = None) -> Any:
    """Scenario of a bundled name or a TOML, with other user groups if given."""
    import neumatc_mimo as nm

    return nm.load_scenario(source, seed)


def load_model(scenario: Any, folder: Path | None, device: str) -> Any:
    """Trained model of a scenario, from a folder or from models/SCENARIO."""
    import neumatc_mimo as nm

    path = folder or Path("models") / scenario.name
    if not path.is_dir():
        raise FileNotFoundError(
            f"There is no model folder {path}, run `neumatc-mimo train {scenario.name}` first."
        )
    model = nm.ScenarioModel.load(path, device=device)
    model.check(scenario.fingerprint)
    return model


def probe_folder(folder: Path) -> None:
    """Find out before minutes of work that a folder cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f"{folder} cannot be written ({error.strerror}).") from error
