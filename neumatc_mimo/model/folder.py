"""Models of a scenario to a folder and back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import starmap
from pathlib import Path
from typing import Any

import torch

from neumatc_mimo.model.operation_model import OperationModel
from neumatc_mimo.model.packing import pack_model, unpack_model
from neumatc_mimo.storage.files import Location, local_path
from neumatc_mimo.storage.model_folder import Packed, read_model, write_model
from neumatc_mimo.storage.tensor_file import Array


def save_models(
    folder: Location, name: str, models: Mapping[str, OperationModel], scenario: dict[str, Any]
) -> Path | str:
    """Write safetensors and a JSON manifest to a folder, completely or not at all.

    Files that are of no model stay.

    :param name: of the scenario
    :param models: the model of each operation, by its name
    :param scenario: description of the scenario that the models were trained on, plain values

    :return: the path, or the URL as it was given
    :raises ValueError: if a name could lead out of the folder, or if the folder holds files but
        no model
    :raises OSError: if the folder cannot be written
    """

    write_model(folder, name, scenario, starmap(_packed, models.items()))
    return local_path(folder) or os.fspath(folder)


def load_models(
    folder: Location, device: str = "cpu"
) -> tuple[str, dict[str, OperationModel], dict[str, Any]]:
    """Read a model folder. Nothing in it is executed, and no file stays open or mapped into memory.

    :return: name, models and scenario as :func:`save_models` takes them
    :raises FileNotFoundError: if there is no model in the folder
    :raises ValueError: if it is damaged or of another format
    :raises OSError: if it cannot be read, or was replaced again and again during the reading
    """

    def unpack(arrays: dict[str, Array], values: dict[str, Any]) -> OperationModel:
        tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        return unpack_model(tensors, values)

    manifest, models = read_model(folder, unpack)
    return manifest["name"], models, manifest["scenario"]


def _packed(operation: str, model: OperationModel) -> Packed:
    tensors, values = pack_model(model)
    return operation, {k: t.detach().cpu().numpy() for k, t in tensors.items()}, values
