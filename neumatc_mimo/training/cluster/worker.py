"""What a worker does: train the links of one shard and write it."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from dataclasses import replace
from typing import Any

import ray
import torch

import neumatc_mimo
from neumatc_mimo.model.packing import pack_model
from neumatc_mimo.progress import Event
from neumatc_mimo.training.batch import train_batch
from neumatc_mimo.training.cluster.folder import RUN
from neumatc_mimo.training.cluster.sizes import Cost
from neumatc_mimo.training.jobs import Job
from neumatc_mimo.training.reports import concatenated
from neumatc_mimo.training.store import Store
from neumatc_mimo.training.untrained import untrained_error


def train_shard(
    job: Job, links: range, store: Store, seed: int, step: str, version: str, events: Any
) -> tuple[Cost, dict[str, Any]]:
    """Train some links on one core, and write them to the store.

    :param job: of these links alone
    :param links: which of all links they are
    :param seed: of all that is random
    :param step: name of the shard in events
    :param version: of the package on the machine that asks
    :param events: Ray's queue that takes events

    :return: what it cost, and the values of the model

    :raises RuntimeError: if the package has another version here
    :raises FileNotFoundError: if the folder is not here
    """
    host = ray.util.get_node_ip_address()
    if neumatc_mimo.__version__ != version:
        raise RuntimeError(
            f"{host} has neumatc-mimo {neumatc_mimo.__version__}, the training was started with "
            f"{version}; install one version on all machines."
        )
    # Another folder of the same name, which this machine has for itself, does not hold it.
    if not (store.folder / RUN).is_file():
        raise FileNotFoundError(
            f"{host} does not see {store.folder}; give a folder on storage that all machines share."
        )
    torch.set_num_threads(1)
    done = Event(step, 0, len(links), f"links on {host}, process {os.getpid()}")
    parts = []
    for batch in torch.arange(len(links)).split(job.together):
        _tell(events, done)
        parts.append(train_batch(job, batch))
        done = replace(done, done=done.done + len(batch))
    part = concatenated(parts, job.links)
    if links.start == 0:
        part.training["untrained_error"] = untrained_error(job, seed)
    file = store.write(links, part)
    cost = Cost(
        seconds_per_link=part.training["seconds_per_link"],
        bytes_per_link=file.stat().st_size / len(links),
        peak_bytes=_peak_bytes(),
    )
    return cost, pack_model(part)[1]


def _tell(events: Any, event: Event) -> None:
    # The machine that takes them may be gone: the training goes on untold.
    with suppress(ray.exceptions.RayError):
        events.put_nowait(event)


def _peak_bytes() -> int:
    """Most memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
