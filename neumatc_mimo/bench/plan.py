"""What training and querying a scenario cost on this machine, and which way is the cheapest."""

from __future__ import annotations

import math
from typing import Any

from neumatc_mimo.bench.blocks import LIMIT, Point, Row, at_point, few_links
from neumatc_mimo.bench.tasks import Detection, tasks_of
from neumatc_mimo.progress import Callbacks, reported, within
from neumatc_mimo.scenario import Scenario
from neumatc_mimo.training.scenario import train


def plan(
    scenario: Scenario,
    *,
    device: str = "cpu",
    progress: bool = True,
    callback: Callbacks = None,
) -> list[dict[str, Any]]:
    """Train a few links of each kind, time the blocks on them, and compare.

    Exact blocks and queries are measured in turn on slots of 14 OFDM symbols, each call with
    another link than the one before; queried results are certified as the scenario requires.

    :param scenario: whose links, antennas and grid are planned for
    :param device: where everything runs
    :param progress: show a progress bar, in a terminal or a notebook
    :param callback: called with the progress of the training, and for each way to run each block

    :return: one entry a block: milliseconds, seconds of training, bytes, the cheapest way, and what
        the operation is learned with
    """
    few = _with_links(scenario, few_links(Point.of(scenario)))
    entries = []
    with reported(callback, progress) as tell:
        training = within("training", tell)
        model = train(few, device=device, progress=False, callback=training)
        for task in tasks_of(few.config):
            # A detector's filters are those of an equalizer.
            if not task.queries or issubclass(task, Detection):
                continue
            links = getattr(few, task.kind)
            if links is None or task.operation not in model.models:
                continue
            point = Point(links.num_rows, links.num_cols, links.fft_size)
            rows = at_point(
                few,
                point,
                model,
                tasks=(task,),
                device=device,
                theirs=False,
                spline_samples=(),
                callback=tell,
            )
            by_way = {row.way: row for row in rows}
            entries.append(_entry(task.title, by_way, scenario, model, task))
    return entries


def _entry(
    block: str, rows: dict[str, Row], scenario: Scenario, model: Any, task: Any
) -> dict[str, Any]:
    exact, queried, limit = (rows[way].milliseconds.median for way in ("exact", "queried", LIMIT))
    links = getattr(scenario, task.kind)
    part = model.models[task.operation]
    seconds = float(part.training["seconds_per_link"]) * links.num_links
    gain = (exact - queried) / 1e3
    return {
        "block": block,
        "exact, ms": exact,
        "queried, ms": queried,
        "limit, ms": limit,
        "training, s": seconds,
        "model, MB": part.num_bytes / part.links.num_links / 1e6 * links.num_links,
        "patched": float(part.marks.exact.double().mean()),
        # Slots over all links until queries have saved what their training took.
        "repaid, slots": seconds / gain if gain > 0 else math.inf,
        "cheapest": "queried" if queried < exact else "exact",
        "operation": task.operation,
        "sizes": part.training["sizes"],
    }


def _with_links(scenario: Scenario, num_links: int) -> Scenario:
    """The scenario with so many links of each kind."""
    config = scenario.config
    kinds = {"multi_user": config.multi_user, "single_user": config.single_user}
    return scenario.with_config(
        config.model_copy(
            update={
                name: section.model_copy(update={"num_links": num_links})
                for name, section in kinds.items()
                if section is not None
            }
        )
    )


__all__ = ["plan"]
