"""What a training reports: joined over batches of links, and told of where it is poor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neumatc_mimo.foundation.tolerance import Tolerance
from neumatc_mimo.foundation.warnings import warn
from neumatc_mimo.mapping.compact import CompactMapping
from neumatc_mimo.model import OperationModel
from neumatc_mimo.model.marks import Marks
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.training.jobs import Job

# Of the training report what the certificate found.
CERTIFIED = ("error_median", "quality_5_percent_db", "corrected_share", "patched_share")

# Shares of patched and of corrected subcarriers above which training warns.
_PATCHED, _CORRECTED = 0.1, 0.9


def concatenated(parts: Sequence[OperationModel], links: LinkSet) -> OperationModel:
    """One model of the links of several, in their order."""
    return OperationModel(
        parts[0].operation,
        CompactMapping.concatenate([part.mapping for part in parts]),
        links,
        Marks.concatenate([part.marks for part in parts]),
        parts[0].unseen,
        parts[0].tolerance,
        mean_report([(part.links.num_links, part.training) for part in parts]),
    )


def mean_report(parts: Sequence[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """One training report of several numbers of links and the report on each: means over links."""
    report: dict[str, Any] = {}
    for name in parts[0][1]:
        told = [(number, r[name]) for number, r in parts if isinstance(r.get(name), float)]
        if told:
            report[name] = sum(n * value for n, value in told) / sum(n for n, _ in told)
    for name in ("stopped", "batches"):  # one entry a batch
        # Links that an earlier version trained do not tell why it stopped.
        report[name] = [entry for _, r in parts for entry in r.get(name, [])]
    return report


def add_choices(job: Job, report: dict[str, Any]) -> None:
    """Add to the report on all links of a job what was chosen for them, and how."""
    report["sizes"] = job.sizes.as_dict()
    if job.search is not None:
        report["time_nodes"] = job.search.as_dict()
        report["seconds_per_link"] += job.search.seconds / job.links.num_links


def warn_of_repairs(name: str, patched: float, corrected: float, tolerance: Tolerance) -> None:
    """Warn where a large share of the subcarriers of an operation's model is patched, or corrected.

    :param patched: share whose exact results are used
    :param corrected: share that a correction step brings within the tolerance
    """
    fewer = (
        "To have fewer, raise samples, width or rank in [model] of the scenario (for a network in "
        "[model.mlp]), or require less with tolerance_db and tolerance_range."
    )
    if patched > _PATCHED:
        warn(
            f"{100 * patched:.0f} % of the subcarriers of {name} are patched: the mapping does not "
            f"reach {tolerance.quality_db:g} dB there, so their exact results are used. {fewer}"
        )
    elif corrected > _CORRECTED:
        warn(
            f"{100 * corrected:.0f} % of the subcarriers of {name} are corrected: the mapping does "
            f"not reach {tolerance.quality_db:g} dB there. Their results are computed in the first "
            "call of a link, and in every call if they are too large to keep; nm.Auto(model) takes "
            f"the faster way. {fewer}"
        )
