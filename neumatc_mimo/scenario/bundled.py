"""Where the bundled scenarios lie: inside an installed wheel, or in a source checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def scenarios_folder() -> Path:
    """Return the folder of the bundled scenario files.

    The wheel carries them in the package; an editable install reads the checkout's own folder.
    """
    installed = _PACKAGE / "_scenarios"
    return installed if installed.is_dir() else _PACKAGE.parent / "scenarios"


def bundled_scenarios() -> list[str]:
    """Return the names of the bundled scenarios, sorted."""
    return sorted(file.stem for file in scenarios_folder().glob("*.toml"))
