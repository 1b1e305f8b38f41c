"""A small model in a folder, in both ways that models are stored, and whether two are the same.

Shared by ``benchmarks.bit_flips`` and ``benchmarks.concurrent_saves``.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from pathlib import Path

import torch
from torch import Tensor

import neumatc_mimo as nm
from benchmarks.paper.sheet import ROOT
from neumatc_mimo.model.packing import pack_model

FOLDER = ROOT / "benchmarks/results/files"

_SHARDS = (range(0, 2), range(2, 4))
_NOISE_POWERS = (0.0, 1e-3)


def train_in_shards(scenario: nm.Scenario, folder: Path) -> None:
    """Train to a folder with two shards an operation, as workers of a cluster do."""
    from neumatc_mimo.training.batch import train_batch
    from neumatc_mimo.training.cluster.folder import ModelInParts
    from neumatc_mimo.training.untrained import untrained_error

    model = ModelInParts.begun(str(folder), scenario, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nm.NeuMatCWarning)
        for part in model.parts:
            for links in _SHARDS:
                job = part.job_of(links)
                shard = train_batch(job, torch.arange(len(links)))
                if links.start == 0:
                    shard.training["untrained_error"] = untrained_error(job, 0)
                part.store.write(links, shard)
                part.finished[links] = pack_model(shard)[1]
        model.finish()


def digest(model: nm.ScenarioModel) -> str:
    """SHA-256 of all that a model is: its name, its scenario, and each operation's plain values
    and tensors, bit by bit.
    """
    hashed = hashlib.sha256(repr((model.name, model.scenario, list(model.models))).encode())
    for one in model.models.values():
        tensors, values = pack_model(one)
        hashed.update(repr(values).encode())
        for name, tensor in tensors.items():
            _add(hashed, name, tensor)
    return hashed.hexdigest()


def digest_of_answers(model: nm.ScenarioModel) -> str:
    """SHA-256 of all answers: every operation, link, subcarrier and component, and two noise powers
    of the pseudo-inverse.
    """
    hashed = hashlib.sha256()
    for name, one in model.models.items():
        for no in _NOISE_POWERS if name == "pseudo_inverse" else _NOISE_POWERS[:1]:
            frequencies = one.links.grid_frequencies()
            for component in model.query(name, frequencies, no=no):
                _add(hashed, name, component)
    return hashed.hexdigest()


def is_sentence(error: BaseException) -> bool:
    """Whether an error says one sentence, and not at length; what it quotes may be anything."""
    text = re.sub(r"'[^'\n]*'", "''", str(error))
    return bool(re.fullmatch(r"(?:[^.\n]|\.(?!\s|$))+\.", text)) and 20 < len(text) < 500


def _add(hashed: hashlib._Hash, name: str, tensor: Tensor) -> None:
    array = tensor.detach().cpu().resolve_conj().contiguous().numpy()
    hashed.update(f"{name} {array.dtype} {array.shape}\n".encode())
    hashed.update(array.tobytes())
