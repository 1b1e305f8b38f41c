"""5G NR uplink: our detector against Sionna's in Sionna's PUSCH receiver."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.command import run, say
from benchmarks.munich import munich
from benchmarks.paper.sheet import Row, Settings, Sheet
from neumatc_mimo import Exact, LinkSet, ScenarioModel
from neumatc_mimo.bench.paired import paired_errors
from neumatc_mimo.bench.timing import Spread
from neumatc_mimo.blocks import MMSEDetector
from neumatc_mimo.progress import Event
from neumatc_mimo.simulation import error_curves
from neumatc_mimo.simulation.pilots import CSI
from neumatc_mimo.simulation.pusch import DMRS, PUSCHUplink

SETTINGS = (
    DMRS(additional_position=1),
    DMRS(),
    DMRS(additional_position=3),
    DMRS(length=2, additional_position=1, num_cdm_groups_without_data=1),
    DMRS(config_type=2, additional_position=1),
    DMRS(config_type=2, length=2, num_cdm_groups_without_data=3),
)
# Eb/N0 in dB around the fall of the error rate.
POINTS: dict[CSI, tuple[float, ...]] = {
    "perfect": (-14.0, -12.5, -11.0),
    "lin": (-6.0, -4.0, -2.0),
}
# Where between one and ninety percent of the transport blocks of 273 resource blocks are lost.
PAIRED_POINTS = (-14.0, -13.0, -12.0, -11.0)
SIONNA, TRUSTED = "Sionna", 'trust="model"'
# Slots over other links that timed calls take in turn: none is that of the call before.
_NUM_SLOTS = 4


@dataclass(frozen=True)
class Way:
    """A way of getting the filters: a solver, `None` for Sionna's detector, and its trust."""

    solver: Any
    trust: str = "estimate"


def sheets(settings: Settings) -> Iterator[Sheet]:
    """Detector times over all reference signals, and error rates at the first of them."""
    scenario, model = munich(4, 2 if settings.quick else 8)
    assert scenario.multi_user is not None
    links, model = scenario.multi_user.timing_advanced(), model.timing_advanced()
    small, large = Uplinks(links, model, 24), Uplinks(links, model, 273)
    makers = {
        "times_273": partial(_times, large, SETTINGS),
        "error_rates_24": partial(_rates, small, 8, POINTS),
        "times_24": partial(_times, small, SETTINGS),
        # A slot of Sionna's detector takes most of a minute of a core.
        "error_rates_273": partial(
            _rates, large, 2, {csi: points[1:2] for csi, points in POINTS.items()}
        ),
        "paired_273": partial(_paired, large, 16, PAIRED_POINTS),
    }
    if settings.quick:
        makers = {
            "times_24": partial(_times, small, SETTINGS[:1]),
            "error_rates_24": partial(_rates, small, 1, POINTS),
            "paired_24": partial(_paired, small, 2, PAIRED_POINTS[:1]),
        }
    for name, make in makers.items():
        if settings.wants(name):
            yield make()


@dataclass(frozen=True)
class Uplinks:
    """Slots of one bandwidth over the links of a model."""

    links: LinkSet
    model: ScenarioModel
    num_resource_blocks: int

    def ways(self, csi: CSI) -> dict[str, Way]:
        """Those that make sense of perfect and of estimated channels."""
        found = {SIONNA: Way(None), "exact": Way(Exact())}
        if csi == "perfect":
            return found | {"queried": Way(self.model)}
        return found | {TRUSTED: Way(self.model, "model")}

    def pipeline(self, way: Way, csi: CSI, dmrs: DMRS) -> PUSCHUplink:
        """A pipeline with its own count of calls."""
        return PUSCHUplink(
            self.links,
            way.solver,
            csi=csi,
            trust=way.trust,
            dmrs=dmrs,
            num_resource_blocks=self.num_resource_blocks,
        )

    def __str__(self) -> str:
        return (
            f"Munich, {self.links.num_links} links of 4 single-antenna users on 64 antennas with "
            f"timing advance, {self.num_resource_blocks} resource blocks of 30 kHz, 14 symbols, "
            "MCS 14 (16-QAM, 0.54)"
        )


def _times(uplinks: Uplinks, chosen: Sequence[DMRS]) -> Sheet:
    started = time.perf_counter()
    rows = [row for dmrs in chosen for row in _timed(uplinks, dmrs)]
    return Sheet(
        f"times_{uplinks.num_resource_blocks}",
        "Time of the detector in Sionna's PUSCH receiver, "
        f"{uplinks.num_resource_blocks} resource blocks",
        f"{uplinks}; perfect channels, or LS estimates with linear interpolation (lin). "
        "Milliseconds a slot, equalizer and demapper, median and quartiles of runs by turns after "
        f"a first one, each with another of {_NUM_SLOTS} links. CPU time is that of the "
        "process: what counts on a machine that others use, where calls of seconds wait and short "
        "ones do not. Queried: subcarriers whose filter is not computed. Deviation: of the "
        "log-likelihood ratios from Sionna's on the same input, norm relative to theirs; with "
        'trust="model" from those of Sionna with perfect channels.',
        rows,
        seconds=time.perf_counter() - started,
    )


def _timed(uplinks: Uplinks, dmrs: DMRS) -> list[Row]:
    """All ways with one setting."""
    rows = []
    perfect: Tensor | None = None
    kinds: tuple[CSI, ...] = ("perfect", "lin")
    for csi in kinds:
        say(f"{dmrs}: {csi}")
        chosen = uplinks.ways(csi)
        pipelines = {name: uplinks.pipeline(way, csi, dmrs) for name, way in chosen.items()}
        inputs = [_inputs(pipelines[SIONNA], csi) for _ in range(_NUM_SLOTS)]
        links = torch.arange(_NUM_SLOTS) % uplinks.links.num_links

        def detect(
            name: str,
            number: int,
            chosen: dict[str, Way] = chosen,
            pipelines: dict[str, PUSCHUplink] = pipelines,
            inputs: list[tuple[Tensor, ...]] = inputs,
            links: Tensor = links,
        ) -> Tensor:
            trusting = chosen[name].trust == "model"
            named = {"links": links[number : number + 1]} if trusting else {}
            llr: Tensor = pipelines[name].detector(*inputs[number], **named)
            return llr

        first = {name: detect(name, 0) for name in chosen}
        if perfect is None:
            perfect = first[SIONNA]
        seconds: dict[str, list[float]] = {name: [] for name in chosen}
        busy: dict[str, list[float]] = {name: [] for name in chosen}
        for turn in range(9):
            for name in chosen:
                # Sionna's takes a hundred times as long.
                if name != SIONNA or turn % 3 == 0:
                    begin, busy_before = time.perf_counter(), time.process_time()
                    detect(name, (turn + 1) % _NUM_SLOTS)
                    busy[name].append(time.process_time() - busy_before)
                    seconds[name].append(time.perf_counter() - begin)
        for name, runs in seconds.items():
            reference = perfect if name == TRUSTED else first[SIONNA]
            rows.append(
                {
                    "DMRS": str(dmrs),
                    "channels": csi,
                    "way": name,
                    "ms": str(Spread.of(runs).times(1e3)),
                    "CPU ms": str(Spread.of(busy[name]).times(1e3)),
                    "runs": len(runs),
                    "times faster": median(seconds[SIONNA]) / median(runs),
                    "in CPU time": median(busy[SIONNA]) / median(busy[name]),
                    "queried": _queried(pipelines[name].detector, len(runs) + 1),
                    "deviation": None if name == SIONNA else _deviation(first[name], reference),
                }
            )
    return rows


def _inputs(pipeline: PUSCHUplink, csi: CSI) -> tuple[Tensor, ...]:
    """What the receiver gives its detector for the next slot."""
    _, y, h, no = pipeline.slots(1, -5.0)
    known = (h, torch.zeros(1)) if csi == "perfect" else pipeline.estimator(y, no)
    return (y, *known, no)


def _queried(detector: Any, num_calls: int) -> int:
    """Subcarriers of a call whose filter was queried; Sionna's detector has no such count."""
    return detector.stats.queried // num_calls if isinstance(detector, MMSEDetector) else 0


def _deviation(llr: Tensor, expected: Tensor) -> float:
    return float((llr - expected).double().norm() / expected.double().norm())


def _rates(uplinks: Uplinks, num_slots: int, points: Mapping[CSI, Sequence[float]]) -> Sheet:
    started = time.perf_counter()
    rows = []
    for csi, ebno_dbs in points.items():
        curves = error_curves(
            partial(uplinks.pipeline, csi=csi, dmrs=SETTINGS[0]),
            uplinks.ways(csi),
            ebno_dbs,
            batch_size=1,
            target_block_errors=10**6,
            max_calls=num_slots,
            progress=False,
            callback=partial(_tell, f"{uplinks.num_resource_blocks} resource blocks, {csi}"),
        )
        rows += [
            {
                "channels": csi,
                "way": way,
                "Eb/N0, dB": ebno_db,
                "blocks": curve.num_blocks[i],
                "in error": curve.block_errors[i],
                "BER": curve.ber[i],
            }
            for way, curve in curves.items()
            for i, ebno_db in enumerate(ebno_dbs)
        ]
    return Sheet(
        f"error_rates_{uplinks.num_resource_blocks}",
        f"Transport blocks in error, {uplinks.num_resource_blocks} resource blocks",
        f"{uplinks}, DMRS {SETTINGS[0]}; the same transport blocks and noise for all ways, slots "
        "over the links in turn.",
        rows,
        seconds=time.perf_counter() - started,
    )


def _paired(uplinks: Uplinks, num_slots: int, ebno_dbs: Sequence[float]) -> Sheet:
    """Exact against queried filters of perfect channels, on many more blocks than Sionna's takes.

    Slots go through one at a time: larger batches leave the cache, and a decoder takes longer.
    """
    started = time.perf_counter()
    ways = uplinks.ways("perfect")
    exact, queried = (
        uplinks.pipeline(ways[name], "perfect", SETTINGS[0]) for name in ("exact", "queried")
    )
    rows = []
    for ebno_db in ebno_dbs:
        found = paired_errors(
            exact,
            queried,
            ebno_db,
            num_slots * uplinks.links.num_rows,
            batch_size=1,
            callback=partial(_tell_blocks, ebno_db),
        )
        rows.append(
            {
                "Eb/N0, dB": ebno_db,
                "blocks": found.num_blocks,
                "exact in error": found.both + found.only_first,
                "queried in error": found.both + found.only_second,
                "one alone in error": found.only_first + found.only_second,
                "BLER, exact": _interval(found.interval(found.both + found.only_first)),
                "BLER, queried": _interval(found.interval(found.both + found.only_second)),
                "difference": _interval(found.difference_interval()),
            }
        )
    stats = queried.detector.stats
    return Sheet(
        f"paired_{uplinks.num_resource_blocks}",
        "Transport blocks in error, exact and queried filters, "
        f"{uplinks.num_resource_blocks} resource blocks",
        f"{uplinks}, DMRS {SETTINGS[0]}, perfect channels; the same transport blocks and noise, "
        "slots over the links in turn. Intervals of 99 %: Clopper and Pearson's of the rates, "
        "Agresti and Min's of the difference, queried less exact. Of the subcarriers "
        f"{stats.queried} were queried, {stats.corrected} corrected and "
        f"{stats.patched + stats.exact} computed exactly.",
        rows,
        seconds=time.perf_counter() - started,
    )


def _interval(bounds: tuple[float, float]) -> str:
    return f"[{bounds[0]:.3f}, {bounds[1]:.3f}]"


def _tell_blocks(ebno_db: float, event: Event) -> None:
    say(f"{ebno_db} dB: {event.done} blocks")


def _tell(what: str, event: Event) -> None:
    if event.metrics:
        errors = event.metrics["block_errors"]
        say(f"{what}, {event.step}, point {event.done}: {errors} in error")


if __name__ == "__main__":
    run("pusch", __doc__, sheets)
