"""Looking into folders, here and behind URLs."""

from __future__ import annotations

import fsspec
import torch

import neumatc_mimo as nm
from neumatc_mimo.model.packing import pack_model


def names_in(location: str) -> set[str]:
    """Names of what lies in a folder."""
    filesystem, path = fsspec.core.url_to_fs(location)
    if not filesystem.exists(path):
        return set()
    return {name.rsplit("/", 1)[-1] for name in filesystem.ls(path, detail=False)}


def names_beside(location: str) -> set[str]:
    """Names in the folder above."""
    filesystem, path = fsspec.core.url_to_fs(location)
    return names_in(filesystem.unstrip_protocol(filesystem._parent(path)))


def same(one: nm.ScenarioModel, other: nm.ScenarioModel) -> bool:
    """Whether models are the same, bit by bit."""
    if (one.name, one.scenario, list(one.models)) != (
        other.name,
        other.scenario,
        list(other.models),
    ):
        return False
    for name, model in one.models.items():
        (mine, values), (theirs, others) = pack_model(model), pack_model(other.models[name])
        if repr(values) != repr(others) or mine.keys() != theirs.keys():
            return False
        if not all(torch.equal(tensor, theirs[key]) for key, tensor in mine.items()):
            return False
    return True
