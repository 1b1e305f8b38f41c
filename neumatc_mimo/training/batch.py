"""Links that are trained together: learned, then certified."""

from __future__ import annotations

import time

from torch import Tensor

from neumatc_mimo.learning.adaptive import OnRound
from neumatc_mimo.learning.fit import fit
from neumatc_mimo.model import OperationModel
from neumatc_mimo.training.certification import certified_model
from neumatc_mimo.training.jobs import Job


def train_batch(job: Job, batch: Tensor, on_round: OnRound | None = None) -> OperationModel:
    """Train and certify some links together, on one device.

    :param batch: indices of the links
    """
    started = time.perf_counter()
    mapping, report = fit(job.problem, job.settings, batch, on_round)
    if job.in_16_bits:
        mapping = mapping.in_16_bits()
    part = certified_model(job, mapping, job.links.select(batch))
    part.training.update(
        exact_samples_per_link=report.exact_samples_per_link,
        seconds_per_link=(time.perf_counter() - started) / len(batch),
        bytes_per_link=part.num_bytes / len(batch),
        stopped=[report.stopped],
        batches=[report.history],
    )
    return part
