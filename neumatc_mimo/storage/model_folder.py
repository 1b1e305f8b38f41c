"""Model folders: a JSON manifest, and the tensors of each operation."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from neumatc_mimo.storage.files import Location, fetched, local_path

FORMAT_VERSION = 6

# The file that tells what the others of a model folder are.
MANIFEST = "model.json"

A = TypeVar("A")
M = TypeVar("M")


def read_model(
    folder: Location,
    read: Callable[[Path, str], dict[str, A]],
    unpack: Callable[[dict[str, A], dict[str, Any]], M],
) -> tuple[dict[str, Any], dict[str, M]]:
    """Read a model folder; nothing in it is executed.

    :param folder: a path, or a URL; its files are copied to this machine while they are read
    :param read: gives the tensors of an operation by name, from a folder of this machine
    :param unpack: makes the model of one operation from its tensors and its part of the manifest

    :return: the manifest, and the models by the names of their operations
    :raises FileNotFoundError: if there is no model in the folder
    :raises ValueError: if it is damaged or of a newer format
    :raises OSError: if it cannot be read, or was replaced while it was
    """
    name = os.fspath(folder)
    models = {}
    with fetched(folder, MANIFEST) as source:
        manifest = _read_manifest(source, name)
        for operation, values in manifest["operations"].items():
            try:
                models[operation] = unpack(read(source, operation), values)
            except KeyError as error:
                raise ValueError(f"The model of {operation} in {name} lacks {error}.") from None
            except ValueError as error:
                if local_path(folder) is not None:
                    raise
                # The name of a copy on this machine tells a reader nothing.
                raise ValueError(str(error).replace(str(source), name)) from None
    return manifest, models


def _read_manifest(source: Path, name: str) -> dict[str, Any]:
    """The manifest of a folder, which errors call by name."""
    try:
        manifest = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{name} holds no model: {MANIFEST} is missing.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{name}/{MANIFEST} is damaged: {error}.") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT_VERSION:
        version = manifest.get("format") if isinstance(manifest, dict) else None
        raise ValueError(
            f"{name} has the model format {version}, this version of the package reads "
            f"{FORMAT_VERSION}; update the package or train again."
        )
    lacking = [key for key in ("name", "scenario", "operations") if key not in manifest]
    if lacking or not isinstance(manifest["operations"], dict):
        raise ValueError(
            f"{name}/{MANIFEST} is damaged: it lacks {', '.join(lacking or ['operations'])}."
        )
    return manifest
