"""Whole simulations of coded links with Sionna's blocks, exact ones and queried ones.

``python -m benchmarks.simulations`` tells how many seconds a slot takes, and whose they are: the
blocks', which this package replaces, the LDPC decoder's, or the rest's, such as channels, noise,
mapping and demapping. Ways take turns, and each slot has another link than the one before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

import torch

from benchmarks.command import run, say
from benchmarks.kernels import OFF, kernels, settings
from benchmarks.paper.sheet import Row, Settings, Sheet
from benchmarks.theirs import TheirDownlink, TheirSVD, TheirUplink
from neumatc_mimo import Exact, Scenario, ScenarioModel, load_scenario, train
from neumatc_mimo.bench.timing import Spread
from neumatc_mimo.simulation import MultiUserDownlink, MultiUserUplink, SingleUserSVD
from neumatc_mimo.simulation.pusch import DMRS, PUSCHUplink

SIONNA, EXACT, QUERIED = "Sionna", "exact", "queried"
NAME = "simulations"
# Links that take turns, and slots of each way; decoding one takes seconds.
NUM_LINKS, NUM_SLOTS = 4, 6
# Every so many subcarriers of the scenario's, and OFDM symbols.
STRIDE, NUM_OFDM_SYMBOLS = 1, 14
# Seconds of a block.
_LONG = 2.0

Slot = Callable[[int, float], tuple[torch.Tensor, torch.Tensor]]


@dataclass
class Watched:
    """A simulation whose blocks and decoder are timed.

    :param slot: runs a batch of slots at an Eb/N0 in dB
    :param blocks: those that this package replaces
    :param decoder: of the code
    """

    slot: Slot
    blocks: Sequence[Any]
    decoder: Any
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for block in self.blocks:
            self._watch("block", block)
        self._watch("decoder", self.decoder)

    def _watch(self, name: str, block: Any) -> None:
        call = block.call

        def timed(*inputs: Any, **named: Any) -> Any:
            begin = time.perf_counter()
            result = call(*inputs, **named)
            spent = time.perf_counter() - begin
            self.seconds[name] = self.seconds.get(name, 0.0) + spent
            return result

        block.call = timed

    def run(self, ebno_db: float) -> tuple[dict[str, float], int]:
        """Seconds of the parts of one slot, and its blocks in error."""
        self.seconds = {"block": 0.0, "decoder": 0.0}
        begin = time.perf_counter()
        bits, bits_hat = self.slot(1, ebno_db)
        total = time.perf_counter() - begin
        errors = int((bits != bits_hat).any(-1).sum())
        return self.seconds | {"slot": total}, errors


@dataclass(frozen=True)
class Case:
    """A simulation that can be made with any solver.

    :param title: what is sent, and by which block of Sionna's
    :param size: subcarriers and OFDM symbols of a slot
    :param ebno_db: Eb/N0 in dB
    :param make: from a solver, None for Sionna's blocks
    :param ways: that make sense of it
    """

    title: str
    size: str
    ebno_db: float
    make: Callable[[Any], Watched]
    ways: tuple[str, ...] = (SIONNA, EXACT, QUERIED)


def cases(
    scenario: Scenario, model: ScenarioModel, stride: int, num_ofdm_symbols: int
) -> list[Case]:
    """Simulations on a scenario's links, of every ``stride``-th subcarrier of them."""
    many, one = scenario.multi_user, scenario.single_user
    assert many is not None and one is not None
    sizes: dict[str, Any] = {"stride": stride, "num_ofdm_symbols": num_ofdm_symbols}
    advanced, aligned = many.timing_advanced(), model.timing_advanced()

    def link(ours: type, theirs: type, links: Any, solver: Any) -> Watched:
        pipeline = (theirs if solver is None else ours)(links, solver, **sizes)
        return Watched(pipeline, pipeline._blocks, pipeline._decoder)

    def pusch(csi: Any, solver: Any) -> Watched:
        uplink = PUSCHUplink(
            advanced,
            aligned if isinstance(solver, ScenarioModel) else solver,
            csi=csi,
            dmrs=DMRS(length=2),
            num_resource_blocks=many.fft_size // (12 * stride),
        )
        return Watched(uplink, [uplink.detector], uplink._receiver._tb_decoder)

    size = f"{many.fft_size // stride} × {num_ofdm_symbols}"
    nr = f"{12 * (many.fft_size // (12 * stride))} × 14"
    return [
        Case(
            "downlink, zero forcing",
            size,
            5.0,
            partial(link, MultiUserDownlink, TheirDownlink, many),
        ),
        Case("uplink, LMMSE", size, 10.0, partial(link, MultiUserUplink, TheirUplink, many)),
        Case("single user, SVD", size, 5.0, partial(link, SingleUserSVD, TheirSVD, one)),
        Case("PUSCH, perfect channels", nr, -5.0, partial(pusch, "perfect")),
        # Nobody's links, so that there is nothing to query.
        Case("PUSCH, LS estimates", nr, 0.0, partial(pusch, "lin"), (SIONNA, EXACT)),
    ]


def sheets(chosen: Settings) -> Iterator[Sheet]:
    """One sheet of all simulations at the scenario's sizes, or at an eighth of the subcarriers."""
    started = time.perf_counter()
    config = load_scenario("munich").config
    assert config.multi_user is not None and config.single_user is not None
    # An array of 64 receives users well below the noise of one antenna.
    num_links = 2 if chosen.quick else NUM_LINKS
    many = {"num_links": num_links, "noise_db": (-40.0, 12.0)}
    one = {"num_links": num_links}
    scenario = Scenario(
        config.model_copy(
            update={
                "multi_user": config.multi_user.model_copy(update=many),
                "single_user": config.single_user.model_copy(update=one),
            }
        )
    )
    say("training")
    model = train(scenario)
    stride, num_ofdm_symbols = (39, 4) if chosen.quick else (STRIDE, NUM_OFDM_SYMBOLS)
    rows: list[Row] = []
    for case in cases(scenario, model, stride, num_ofdm_symbols):
        rows += timed(case, model, num_links, 1 if chosen.quick else NUM_SLOTS)
    assert scenario.multi_user is not None
    yield Sheet(
        NAME,
        "Seconds of a slot of whole simulations",
        f"{scenario.multi_user!r}; LDPC codes, each slot with another link than the one before, "
        "ways by turns, after a first slot of each link. Seconds a slot, median and quartiles; "
        "shares of the medians: the block's, Sionna's or the one in its place, the decoder's, and "
        "of all the rest. Kernels: the variant of the C++ kernels, or off. Sionna has no SVD "
        "block: torch.linalg.svd for every symbol stands for it. In error: code or transport "
        "blocks of the first slots, which are the same for all ways.",
        rows,
        seconds=time.perf_counter() - started,
    )


def timed(case: Case, model: ScenarioModel, num_links: int, num_slots: int) -> Iterator[Row]:
    """All ways of a simulation, by turns; a block that takes long gets a third of the slots."""
    say(case.title)
    solvers = {SIONNA: None, EXACT: Exact(), QUERIED: model}
    variants = settings()
    # Kernels are no part of Sionna's blocks.
    ways = {
        (way, variant): case.make(solvers[way])
        for way in case.ways
        for variant in ([OFF] if way == SIONNA else variants)
    }
    found: dict[tuple[str, str], list[dict[str, float]]] = {way: [] for way in ways}
    errors: dict[tuple[str, str], list[int]] = {way: [] for way in ways}
    seldom = set()
    for way, watched in ways.items():
        # Ours keep what derives from a link: a long simulation has met them all.
        for _ in range(1 if way[0] == SIONNA else num_links):
            with kernels(variants[way[1]]):
                seconds, wrong = watched.run(case.ebno_db)
            errors[way].append(wrong)
        if seconds["block"] > _LONG:
            seldom.add(way)
    for number in range(num_slots):
        for way, watched in ways.items():
            if number % 3 == 0 or way not in seldom:
                with kernels(variants[way[1]]):
                    seconds, wrong = watched.run(case.ebno_db)
                found[way].append(seconds)
                errors[way].append(wrong)
    # A way's slots are drawn by their number: of these all ways have the same.
    shared = min(map(len, errors.values()))
    sionna = median(run["slot"] for run in found[SIONNA, OFF])
    for (name, variant), runs in found.items():
        spread = Spread.of([run["slot"] for run in runs])
        block, decoder = (median(run[part] for run in runs) for part in ("block", "decoder"))
        rest = median(run["slot"] - run["block"] - run["decoder"] for run in runs)
        whole = block + decoder + rest
        yield {
            "simulation": case.title,
            "subcarriers × symbols": case.size,
            "way": name,
            "kernels": None if name == SIONNA else variant,
            "slots": len(runs),
            "s a slot": spread.median,
            "low": spread.low,
            "high": spread.high,
            "block, s": block,
            "block, %": 100 * block / whole,
            "decoder, %": 100 * decoder / whole,
            "rest, %": 100 * rest / whole,
            "times faster": sionna / spread.median,
            "in error": sum(errors[name, variant][:shared]),
        }


if __name__ == "__main__":
    run("simulations", __doc__, sheets)
