"""What a promise costs: bytes, training and queries of models of three cities.

``python -m benchmarks.sizes`` trains all links of each city at ``tolerance_db`` of 40, 60 and 80,
and times blocks that query these models by turns with exact ones, another link at every call.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import torch

from benchmarks.command import run, say
from benchmarks.paper.sheet import Row, Settings, Sheet
from neumatc_mimo import Exact, Scenario, ScenarioModel, load_scenario, train
from neumatc_mimo.bench.tasks import MMSE, Beamforming, Slot, Task, ZeroForcing
from neumatc_mimo.bench.timing import Spread, side_by_side
from neumatc_mimo.bench.turns import Turns

NAME = "sizes"
CITIES = ("munich", "newyork", "losangeles")
TOLERANCES = (40.0, 60.0, 80.0)
BLOCKS: dict[str, type[Task]] = {"ZF": ZeroForcing, "MMSE": MMSE, "SVD": Beamforming}


def sheets(settings: Settings) -> Iterator[Sheet]:
    """A sheet for each city, a row for each tolerance."""
    for city in CITIES:
        if settings.wants(city):
            yield _sheet(city, settings.quick)


def _sheet(city: str, quick: bool) -> Sheet:
    started = time.perf_counter()
    rows = list(_rows(city, TOLERANCES[:1] if quick else TOLERANCES))
    return Sheet(
        city,
        f"What a promise costs, {city}",
        "All links of a city, 32 of 8 users on 64 antennas for zero forcing and MMSE and 32 of a "
        "user with 4 antennas for singular vectors, trained for tolerance_db: megabytes of both "
        "models; seconds of their training; share of subcarriers whose mapped results are "
        "corrected, and that are computed exactly; least and median quality of what is served, in "
        "dB, 127 and more as 127; milliseconds of blocks on a slot of 14 symbols, queried and "
        "exact, medians of calls by turns, another link at each.",
        rows,
        seconds=time.perf_counter() - started,
    )


def _rows(city: str, tolerances: Sequence[float]) -> Iterator[Row]:
    scenario = load_scenario(city)
    _ = scenario.multi_user, scenario.single_user  # drawn before the clock starts
    for tolerance in tolerances:
        say(f"{city}, {tolerance:g} dB")
        asked = scenario.with_model(tolerance_db=tolerance)
        started = time.perf_counter()
        model = train(asked, progress=False)
        seconds = time.perf_counter() - started
        yield {"city": city, "dB": tolerance} | _figures(model, seconds) | _times(asked, model)


def _figures(model: ScenarioModel, seconds: float) -> Row:
    """Size, training, and what is proven."""
    marks = [part.marks for part in model.models.values()]
    corrected = torch.cat([m.corrected.flatten() > 0 for m in marks]).double().mean().item()
    exact = torch.cat([m.exact.flatten() for m in marks]).double().mean().item()
    quality = torch.cat([m.quality_db[~m.fragile] for m in marks]).double()
    return {
        "MB": model.num_bytes / 1e6,
        "training, s": seconds,
        "corrected, %": 100 * corrected,
        "exact, %": 100 * exact,
        "least, dB": quality.min().item(),
        "median, dB": quality.median().item(),
    }


def _times(scenario: Scenario, model: ScenarioModel) -> Row:
    """Milliseconds of each block, queried and exact."""
    row: Row = {}
    for name, kind in BLOCKS.items():
        links = getattr(scenario, kind.kind)
        turns = Turns(kind, links, Slot())
        calls = {f"{name} queried, ms": turns.ours(model), f"{name} exact, ms": turns.ours(Exact())}
        for _ in range(8):
            calls[f"{name} queried, ms"]()  # what a model keeps of each link is made once
        times: dict[str, Spread] = side_by_side(calls)
        row |= {way: 1e3 * spread.median for way, spread in times.items()}
    return row


if __name__ == "__main__":
    run(NAME, __doc__, sheets)
