"""Models of a scenario to a folder and back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neumatc_mimo.model.operation_model import OperationModel
from neumatc_mimo.model.packing import pack_model, unpack_model, write_manifest
from neumatc_mimo.storage.files import Location, local_path, replaced_folder
from neumatc_mimo.storage.model_folder import MANIFEST, read_model
from neumatc_mimo.storage.shards import read_tensors
from neumatc_mimo.storage.tensor_file import write_tensors


def save_models(
    folder: Location, name: str, models: Mapping[str, OperationModel], scenario: dict[str, Any]
) -> Path | str:
    """Write safetensors and a JSON manifest to a folder, complete or not at all.

    :param name: of the scenario
    :param models: operation name → its model
    :param scenario: what the models were trained on, plain values

    :return: the path, or the URL as it was given
    :raises ValueError: if the folder holds files but no model, which would go with it
    :raises OSError: if the folder cannot be written
    """

    def write(empty: Path) -> None:
        operations = {}
        for operation, model in models.items():
            tensors, operations[operation] = pack_model(model)
            write_tensors(empty / f"{operation}.safetensors", tensors)
        write_manifest(empty, name, scenario, operations)

    replaced_folder(folder, write, last=MANIFEST)
    return local_path(folder) or os.fspath(folder)


def load_models(
    folder: Location, device: str = "cpu"
) -> tuple[str, dict[str, OperationModel], dict[str, Any]]:
    """Read a model folder; nothing in it is executed.

    :return: name, models and scenario as :func:`save_models` takes them
    :raises FileNotFoundError: if there is no model in the folder
    :raises ValueError: if it is damaged or of a newer format
    :raises OSError: if it cannot be read, or was replaced while it was
    """
    manifest, models = read_model(
        folder,
        lambda source, operation: read_tensors(source, operation, device),
        unpack_model,
    )
    return manifest["name"], models, manifest["scenario"]
