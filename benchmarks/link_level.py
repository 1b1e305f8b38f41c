"""What every trunk does to a link: coded blocks lost with its filters, before certificates and as
blocks serve them.

``python -m benchmarks.link_level`` trains some links of each city with every trunk and sends the
same blocks with exact filters, with those of the model, and with what its mapping alone answers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from benchmarks.command import run, say
from benchmarks.paper.sheet import Row, Settings, Sheet
from benchmarks.trunks import RANK, TITLES, few_links
from neumatc_mimo import Scenario, ScenarioModel, train
from neumatc_mimo.bench.evaluation import error_rates
from neumatc_mimo.model.marks import Marks

NAME = "link_level"
NUM_LINKS, NUM_BLOCKS = 2, 1000
_TASK, _BITS = "downlink", 4
# What a file says of each trunk; full ones leave no knots out that the tolerance can do without.
TRUNKS: dict[str, dict[str, Any]] = {
    "MLP as published": {"trunk": "mlp"},
    "MLP, variable projection": {"trunk": "mlp", "mlp.projection": True},
    f"sines, rank {RANK}": {"trunk": "sine", "rank": RANK},
    f"splines, rank {RANK}": {"rank": RANK},
    "splines, full": {"tolerance_db": 80.0},
    "splines, refined, the default": {},
}


def sheets(settings: Settings) -> Iterator[Sheet]:
    """A table of each city."""
    num_links, num_blocks = (2, 50) if settings.quick else (NUM_LINKS, NUM_BLOCKS)
    few = {"mlp.steps": 50} if settings.quick else {}
    for name, title in TITLES.items():
        if not settings.wants(name):
            continue
        started = time.perf_counter()
        scenario = few_links(name, num_links)
        rows = []
        for trunk, changes in TRUNKS.items():
            say(f"{title}: {trunk}")
            changes = changes | few if changes.get("trunk") == "mlp" else changes
            model = train(scenario.with_model(**changes), progress=False)
            rows.append({"trunk": trunk} | row_of(model, scenario, num_blocks))
        yield Sheet(
            name,
            f"Links with every trunk: {title}",
            f"Zero forcing of {num_links} links of 8 users on 64 antennas, 16-QAM, LDPC codes of "
            f"rate 1/2, {num_blocks} blocks at the Eb/N0 where exact filters lose one in ten; all "
            "ways send the same blocks through the same channels and noise. Mapping alone: what "
            "the model answers without certificates, corrections and patches; as served: with "
            "them, for 40 dB. Error of the filter before them, median; differ: blocks that one "
            "way loses and exact filters do not, or the other way round.",
            rows,
            seconds=time.perf_counter() - started,
        )


def row_of(model: ScenarioModel, scenario: Scenario, num_blocks: int) -> Row:
    """The blocks that exact filters, the model, and its mappings alone lose."""
    report = model.models["pseudo_inverse"].training
    served, alone = (
        error_rates(
            one, scenario, num_blocks=num_blocks, bits=(_BITS,), tasks=(_TASK,), progress=False
        )[0]
        for one in (model, without_proofs(model))
    )
    return {
        "error, dB": 20 * math.log10(report["error_median"]),
        "patched, %": 100 * report["patched_share"],
        "Eb/N0, dB": served["ebno_db"],
        "exact, % lost": 100 * served["exact_bler"],
        "mapping alone, % lost": 100 * alone["queried_bler"],
        "differ, alone": _differ(alone),
        "as served, % lost": 100 * served["queried_bler"],
        "differ, served": _differ(served),
    }


def without_proofs(model: ScenarioModel) -> ScenarioModel:
    """The same, which takes whatever its mappings answer for proven."""
    return replace(
        model,
        models={
            name: replace(part, marks=_all_is_well(part.marks))
            for name, part in model.models.items()
        },
    )


def _all_is_well(marks: Marks) -> Marks:
    none, most = torch.zeros_like(marks.corrected), torch.iinfo(marks.quality_db.dtype).max
    perfect = torch.full_like(marks.quality_db, most)
    return Marks(none, none.bool(), none.bool(), perfect, perfect)


def _differ(row: dict[str, Any]) -> str:
    num = row["only_exact_lost"] + row["only_queried_lost"]
    return f"{num} of {row['num_blocks']}"


if __name__ == "__main__":
    run(NAME, __doc__, sheets)
