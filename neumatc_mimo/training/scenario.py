"""Training of a scenario's models: the front door, with progress and checkpoints."""

from __future__ import annotations

import json
import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neumatc_mimo.learning.adaptive import OnRound
from neumatc_mimo.model import OperationModel, ScenarioModel
from neumatc_mimo.progress import Callback, Callbacks, Event, reported
from neumatc_mimo.scenario import Scenario
from neumatc_mimo.tensors.device import check_device
from neumatc_mimo.training.batch import train_batch
from neumatc_mimo.training.jobs import Job, jobs
from neumatc_mimo.training.reports import CERTIFIED, add_choices, concatenated, warn_of_repairs
from neumatc_mimo.training.side_by_side import at_once, side_by_side, total_memory
from neumatc_mimo.training.store import Store, discard_finished
from neumatc_mimo.training.untrained import untrained_error


def train(
    scenario: Scenario,
    seed: int = 0,
    device: str | None = None,
    progress: bool = True,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    callback: Callbacks = None,
) -> ScenarioModel:
    """Train, certify and patch the models of a scenario's link sets.

    :param scenario: from :func:`load_scenario`
    :param seed: seed of the untrained trunk that the report compares with; it is stored, too. The
        models themselves do not depend on it, because nothing in them is random
    :param device: where to train. None: on the CPU
    :param progress: show a progress bar, in a terminal or a notebook
    :param checkpoint: folder for finished links, so that an interrupted training can continue. They
        are removed at the end
    :param callback: function that is called after every round of training, with its loss and
        residual, and for finished links, with the figures of their certificate. The step is the
        operation's name

    :return: the models, on the device
    :raises ValueError: if there is no such device, or the links cannot be drawn from the data
    """
    model = train_and_keep(
        scenario, seed, device, progress, checkpoint=checkpoint, callback=callback
    )
    if checkpoint is not None:
        discard_finished(Path(checkpoint), model.models)
    return model


def train_and_keep(
    scenario: Scenario,
    seed: int = 0,
    device: str | None = None,
    progress: bool = True,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    callback: Callbacks = None,
) -> ScenarioModel:
    """As :func:`train`, but the finished links stay, for whoever has yet to save the model."""
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed is {seed}, it must not be negative, and below 2^63.")
    models = {}
    with reported(callback, progress) as tell:
        for job in jobs(scenario, check_device(device)):
            job = _prepared(job, tell)
            store = None
            if checkpoint is not None:
                store = Store(Path(checkpoint), job.operation.name, job.key)
            models[job.operation.name] = _train_links(job, store, seed, tell)
    for name, model in models.items():
        patched, corrected = model.marks.exact, model.training["corrected_share"]
        warn_of_repairs(name, patched.double().mean().item(), corrected, model.tolerance)
    return ScenarioModel(scenario.name, models, origin(scenario, seed))


def origin(scenario: Scenario, seed: int) -> dict[str, Any]:
    """What models of a scenario are trained on, as their manifest tells it."""
    return {
        "fingerprint": scenario.fingerprint,
        "seed": seed,
        "torch": torch.__version__,
        "config": json.loads(scenario.config.model_dump_json()),
    }


def _prepared(job: Job, tell: Callback) -> Job:
    """A job with what all its links have in common, which is learned first."""
    done = Event(job.operation.name, 0, job.links.num_links, "links")

    def tell_round(figures: dict[str, float]) -> None:
        tell(replace(done, metrics=figures))

    return job.prepared(tell_round)


def _train_links(job: Job, store: Store | None, seed: int, tell: Callback) -> OperationModel:
    links = job.links
    batches = torch.arange(links.num_links, device=links.device).split(job.together)
    workers = at_once(links.device, min(len(batches), job.most_at_once(total_memory())))
    done = Event(job.operation.name, 0, links.num_links, "links")
    tell(done)

    def trained(batch: Tensor, on_round: OnRound) -> tuple[OperationModel, bool]:
        """The model of a batch, and whether it was finished before."""
        part = None if store is None else store.read(_span(batch), str(links.device))
        if part is not None:
            return part, True
        part = train_batch(job, batch, on_round)
        # Of the time that passes it has its share.
        part.training["seconds_per_link"] /= workers
        return part, False

    def tell_round(figures: dict[str, float]) -> None:
        tell(replace(done, metrics=figures))

    parts: list[OperationModel] = []
    # What listeners raise ends the others' work, too.
    with closing(side_by_side(trained, batches, tell_round, workers)) as results:
        for batch, (part, finished) in zip(batches, results, strict=True):
            if store is not None and not finished:
                store.write(_span(batch), part)
            parts.append(part)
            figures = {name: part.training[name] for name in CERTIFIED}
            done = replace(done, done=done.done + len(batch), metrics=figures)
            tell(done)
    whole = concatenated(parts, links)
    whole.training["untrained_error"] = untrained_error(job, seed)
    add_choices(job, whole.training)
    return whole


def _span(batch: Tensor) -> range:
    """The links of a batch, which are consecutive."""
    return range(int(batch[0]), int(batch[-1]) + 1)
