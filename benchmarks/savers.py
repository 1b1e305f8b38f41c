"""Processes that save models to one folder, load it, and are killed: of ``concurrent_saves``."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import neumatc_mimo as nm
from benchmarks.command import say
from benchmarks.saved_models import digest, is_sentence
from neumatc_mimo.mapping.latent import Latent
from neumatc_mimo.storage.manifest import MANIFEST

WHOLE = "one whole model"
NO_MODEL = "refused: there is no model"
REFUSED = "refused in another sentence"
MIXED = "of two models, or unclear"
# A round takes a tenth of a second; by this a process that is gone is found.
SECONDS = 120.0

# Forked from a process that has imported all of this, and has no threads.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["benchmarks.savers"])


def variant(model: nm.ScenarioModel, number: int) -> nm.ScenarioModel:
    """Another model of the same operations: other tensors, another name, another scenario."""
    models = {}
    for name, one in model.models.items():
        latents = tuple(Latent((1 + number) * latent.values) for latent in one.mapping.latents)
        models[name] = replace(one, mapping=replace(one.mapping, latents=latents))
    return nm.ScenarioModel(f"model_{number}", models, {"fingerprint": f"of {number}"})


def outcome(folder: Path, known: Mapping[str, str]) -> str:
    """What loading a folder comes to: the name of a model, or one of the constants above.

    :param known: name of each model → its digest
    """
    try:
        model = nm.ScenarioModel.load(folder)
    except (ValueError, OSError) as error:
        if not is_sentence(error):
            return MIXED
        return NO_MODEL if isinstance(error, FileNotFoundError) else REFUSED
    except Exception:
        return MIXED
    return model.name if digest(model) == known.get(model.name) else MIXED


def prepared(models: Sequence[nm.ScenarioModel], folder: Path) -> tuple[list[Path], dict[str, str]]:
    """The models in folders of their own, for other processes; their digests by name."""
    folders = [Path(model.save(folder / model.name)) for model in models]
    return folders, {model.name: digest(model) for model in models}


def save(
    sources: Sequence[Path], target: Path, rounds: int, meet: Any, busy: Any, results: Any
) -> None:
    """A process that saves one of its models in each round.

    :param meet: a barrier, where rounds begin and end
    :param busy: how many are saving
    :param results: a queue for what became of it
    """
    models, counts = [nm.ScenarioModel.load(source) for source in sources], Counter[str]()
    for number in range(rounds):
        meet.wait(SECONDS)
        try:
            models[number % len(models)].save(target)
            counts["saved"] += 1
        except (ValueError, OSError) as error:
            counts["save refused" if is_sentence(error) else MIXED] += 1
            say(f"save: {error}")
        with busy.get_lock():
            busy.value -= 1
        meet.wait(SECONDS)
    results.put(counts)


def load(
    target: Path, known: Mapping[str, str], rounds: int, meet: Any, busy: Any, results: Any
) -> None:
    """A process that loads what is there again and again, in each round until all have saved; see
    :func:`outcome` and :func:`save`.
    """
    counts = Counter[str]()
    for _ in range(rounds):
        meet.wait(SECONDS)
        more = True
        while more:
            more = busy.value > 0
            before = _manifest_of(target)
            counts[what := kind(outcome(target, known), known)] += 1
            counts["replaced meanwhile"] += before != _manifest_of(target)
            if what == NO_MODEL:
                # It is found at once: the others get the processor.
                time.sleep(1e-3)
        meet.wait(SECONDS)
    results.put(counts)


def kind(what: str, known: Mapping[str, str]) -> str:
    """What tables call an outcome."""
    return WHOLE if what in known else what


def _manifest_of(folder: Path) -> tuple[int, int] | None:
    try:
        told = (folder / MANIFEST).stat()
    except OSError:
        return None
    return told.st_ino, told.st_mtime_ns


def _save_once(source: Path, target: Path, tell: Connection) -> None:
    """A process that is there to be killed."""
    model = nm.ScenarioModel.load(source)
    tell.send("begun")
    model.save(target)
    tell.send("done")


def killed(source: Path, target: Path, seconds: float) -> bool:
    """Save in a process, and kill it so long after it began; whether it was still saving."""
    mine, theirs = processes.Pipe(duplex=False)
    worker = processes.Process(target=_save_once, args=(source, target, theirs), daemon=True)
    worker.start()
    theirs.close()
    assert mine.recv() == "begun"
    time.sleep(seconds)
    worker.kill()
    worker.join()
    try:
        return mine.recv() != "done"
    except EOFError:
        return True
