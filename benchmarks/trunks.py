"""The published network beside the other trunks: what each costs and how close it comes.

``python -m benchmarks.trunks`` trains some links of each city with every trunk, and times queries
of zero forcing, another link at every call. A trunk that links share has the rank that makes a link
take as many bytes as with a network of its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import torch

from benchmarks.command import run, say
from benchmarks.paper.sheet import Row, Settings, Sheet
from neumatc_mimo import Exact, Scenario, ScenarioModel, load_scenario, train
from neumatc_mimo.bench.tasks import Slot, ZeroForcing

NAME = "trunks"
TITLES = {"munich": "Munich", "newyork": "New York", "losangeles": "Los Angeles"}
NUM_LINKS, NUM_CALLS = 4, 24
RANK = 128
# What a file says of each trunk. "mlp" alone is Algorithm 1 with plain Adam, as published.
_SHARED = {"trunk": "mlp", "mlp.shared": True}
TRUNKS: dict[str, dict[str, Any]] = {
    "splines, the default": {},
    f"sines, rank {RANK}": {"trunk": "sine", "rank": RANK},
    "MLP as published": {"trunk": "mlp"},
    "MLP, variable projection": {"trunk": "mlp", "mlp.projection": True},
    "MLP as published, shared": _SHARED,
    "MLP, variable projection, shared": _SHARED | {"mlp.projection": True},
}


def few_links(name: str, num_links: int) -> Scenario:
    """So many links of several users of a scenario, and no others."""
    scenario = load_scenario(name, progress=False)
    many = scenario.config.multi_user
    assert many is not None
    changes = {"multi_user": many.model_copy(update={"num_links": num_links}), "single_user": None}
    return scenario.with_config(scenario.config.model_copy(update=changes))


def rows_of(name: str, num_links: int, settings: dict[str, Any]) -> list[Row]:
    """A row for each trunk, and one of exact results."""
    scenario = few_links(name, num_links)
    models: dict[str, ScenarioModel] = {}
    rows: list[Row] = []
    for title, changes in TRUNKS.items():
        say(f"{TITLES[name]}: {title}")
        if changes.get("mlp.shared"):
            changes = changes | {"mlp.rank": _rank_of_same_bytes(models["MLP as published"])}
        if changes.get("trunk") == "mlp":
            changes = settings | changes
        started = time.perf_counter()
        models[title] = train(scenario.with_model(**changes), progress=False)
        seconds = time.perf_counter() - started
        rows.append(_row(title, models[title], seconds))
    times = query_times({"exact": Exact(), **models}, models)
    exact = times.pop("exact")
    for row, taken in zip(rows, times.values(), strict=True):
        row |= {"query, ms": taken, "exact, ms": exact}
    return rows


def query_times(solvers: dict[str, Any], models: dict[str, ScenarioModel]) -> dict[str, float]:
    """Milliseconds of zero forcing by turns, medians; each call has another link than the last."""
    links = next(iter(models.values())).models["pseudo_inverse"].links
    tasks = [ZeroForcing(links, Slot(), turn) for turn in range(links.num_links)]
    blocks = {title: tasks[0].block(solver) for title, solver in solvers.items()}
    inputs = [task.inputs() for task in tasks]
    taken: dict[str, list[float]] = {title: [] for title in solvers}
    for number in range(NUM_CALLS + links.num_links):
        for title, block in blocks.items():
            started = time.perf_counter()
            block(*inputs[number % len(inputs)])
            # The first ones make what models keep.
            if number >= links.num_links:
                taken[title].append(1e3 * (time.perf_counter() - started))
    return {title: median(times) for title, times in taken.items()}


def _row(title: str, model: ScenarioModel, seconds: float) -> Row:
    part = model.models["pseudo_inverse"]
    report, num_links = part.training, part.links.num_links
    proven = report["quality_5_percent_db"]
    return {
        "trunk": title,
        "rank": part.mapping.trunk.rank,
        "error, dB": 20 * math.log10(report["error_median"]),
        "SIR of 95 %, dB": proven if math.isfinite(proven) else None,
        "corrected, %": 100 * report["corrected_share"],
        "patched, %": 100 * report["patched_share"],
        "kB a link": part.num_bytes / num_links / 1e3,
        "training, s a link": seconds / num_links,
    }


def _rank_of_same_bytes(model: ScenarioModel) -> int:
    """The rank whose latent tensors take what those and the network of a link do."""
    mapping = model.models["pseudo_inverse"].mapping
    of_a_function = sum(c.num_bytes for c in mapping.latents) / mapping.trunk.rank
    return round(mapping.num_bytes / of_a_function)


def sheets(settings: Settings) -> Iterator[Sheet]:
    """A table of each city."""
    num_links = 2 if settings.quick else NUM_LINKS
    changes = {"mlp.steps": 100} if settings.quick else {}
    for name, title in TITLES.items():
        if not settings.wants(name):
            continue
        started = time.perf_counter()
        rows = rows_of(name, num_links, changes)
        yield Sheet(
            name,
            f"Trunks: {title}",
            f"{num_links} links of 8 users on 64 antennas, 3276 subcarriers, with the "
            "pseudo-inverse at all noise powers. Error: of the filter, relative, before "
            "corrections and patches, median over subcarriers that training did not look at; "
            "corrected and patched: what of these takes correction steps or exact results to "
            f"reach 40 dB. Training: wall-clock time with {torch.get_num_threads()} threads, "
            "certificates included. Query: zero forcing of a slot in the block, another link at "
            "every call; exact: the same by exact results. As published: Algorithm 1 with plain "
            "Adam; variable projection is an addition. Shared: one trunk for all of these links.",
            rows,
            seconds=time.perf_counter() - started,
        )


if __name__ == "__main__":
    run(NAME, __doc__, sheets)
