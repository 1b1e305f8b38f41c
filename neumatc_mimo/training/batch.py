"""Links that are trained together: learned, then certified."""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import Tensor

from neumatc_mimo.learning.adaptive import OnRound
from neumatc_mimo.model import OperationModel
from neumatc_mimo.training.antennas import Directions
from neumatc_mimo.training.certification import certified_model
from neumatc_mimo.training.jobs import Job


def train_batch(job: Job, batch: Tensor, on_round: OnRound | None = None) -> OperationModel:
    """Train and certify some links together, on one device.

    :param batch: indices of the links
    """
    started = time.perf_counter()
    links = job.links.select(batch)
    directions = Directions.of(job.operation, links)
    if directions is None:
        mapping, report = job.settings.learn(job.problem, batch, on_round)
    else:
        small = replace(job, links=links.in_columns(directions.basis))
        every = torch.arange(len(batch), device=batch.device)
        mapping, report = job.settings.learn(small.problem, every, on_round)
        mapping = directions.mapping(job.operation.stored, mapping)
    if job.in_16_bits:
        mapping = mapping.in_16_bits()
    part = certified_model(job, mapping, links)
    part.training.update(
        exact_samples_per_link=report.exact_samples_per_link,
        seconds_per_link=(time.perf_counter() - started) / len(batch),
        bytes_per_link=part.num_bytes / len(batch),
        stopped=[report.stopped],
        batches=[report.history],
    )
    return part
