"""A cell's downlink in Sionna's system-level module: our precoded channels against Sionna's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from benchmarks.command import run, say
from benchmarks.munich import munich
from benchmarks.paper.sheet import Row, Settings, Sheet
from neumatc_mimo import Exact, LinkSet, ScenarioModel
from neumatc_mimo.bench.timing import Spread
from neumatc_mimo.simulation.system import SystemDownlink, SystemSlots

SIONNA = "Sionna, every symbol"
WALKING = 3 / 3.6
# Little, so that SINRs spread over all modulation and coding schemes.
POWER_DBM = 5.0


@dataclass
class Timed:
    """A block that notes how long its calls take, in seconds and in CPU time of the process."""

    block: Any
    seconds: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)

    def __call__(self, *inputs: Any, **named: Any) -> Tensor:
        begin, busy_before = time.perf_counter(), time.process_time()
        output: Tensor = self.block(*inputs, **named)
        self.busy.append(time.process_time() - busy_before)
        self.seconds.append(time.perf_counter() - begin)
        return output


def sheets(settings: Settings) -> Iterator[Sheet]:
    """All ways through the same slots."""
    num_users, num_groups, num_slots = (4, 2, 3) if settings.quick else (8, 4, 8)
    scenario, model = munich(num_users, num_groups, WALKING)
    assert scenario.multi_user is not None
    yield compared(scenario.multi_user, model, num_slots)


def compared(links: LinkSet, model: ScenarioModel, num_slots: int) -> Sheet:
    """The sheet of a cell; the first way is what the others are compared with."""
    started = time.perf_counter()
    ways: dict[str, dict[str, Any]] = {
        SIONNA: {"solver": None},
        "Sionna, one symbol": {"solver": None, "num_ofdm_symbols": 1},
        "exact": {"solver": Exact()},
        "queried": {"solver": model},
    }
    rows: list[Row] = []
    reference: tuple[SystemSlots, float] | None = None
    for name, options in ways.items():
        say(name)
        downlink = SystemDownlink(links, **options, bs_power_dbm=POWER_DBM)
        downlink.channel = timed = Timed(downlink.channel)
        slots = downlink(num_slots)
        # A first call allocates and plans.
        busy = Spread.of(timed.busy[1:])
        reference = reference or (slots, busy.median)
        bits = float(slots.num_decoded_bits.sum())
        rows.append(
            {
                "way": name,
                "ms": str(Spread.of(timed.seconds[1:]).times(1e3)),
                "CPU ms": str(busy.times(1e3)),
                "times faster in CPU time": reference[1] / busy.median,
                "queried, %": _queried(timed.block),
                "Mbit/s": bits / (num_slots * downlink.slot_duration) / 1e6,
            }
            | _differences(slots, reference[0])
        )
    assert reference is not None
    served = int((reference[0].harq_feedback >= 0).sum())
    lost = int((reference[0].harq_feedback == 0).sum())
    return Sheet(
        "cell",
        "A cell in Sionna's system-level module",
        f"Munich, {links.num_links} groups of {links.num_users} users on {links.num_cols} antennas "
        f"compete for {links.fft_size // 12} resource blocks in {num_slots} slots, walking at 3 "
        f"km/h; {POWER_DBM:g} dBm of the base station, noise figure 7 dB. Fair power control, zero "
        "forcing, post-equalization SINR, proportional fairness, outer-loop link adaptation "
        f"and PHY abstraction are Sionna's: {served} transport blocks, {lost} of them lost. "
        "Milliseconds of the precoded channel of a group and slot, median and quartiles; one "
        "symbol: Sionna is told that the channel is constant over the slot, which the others find "
        "out. Differences from the first row: largest of an effective SINR, and counts.",
        rows,
        seconds=time.perf_counter() - started,
    )


def _queried(block: Any) -> float | None:
    """Percent of the subcarriers whose precoder was not computed; Sionna's block has no count."""
    stats = getattr(block, "stats", None)
    if stats is None:
        return None
    return 100 * stats.queried / (stats.queried + stats.corrected + stats.patched + stats.exact)


def _differences(slots: SystemSlots, expected: SystemSlots) -> Row:
    both = (slots.sinr_eff > 0) & (expected.sinr_eff > 0)
    ratio = 10 * torch.log10(slots.sinr_eff[both] / expected.sinr_eff[both])
    return {
        "SINR, dB": float(ratio.abs().amax()),
        "resource blocks": _differing(slots.scheduled, expected.scheduled),
        "MCS": _differing(slots.mcs_index, expected.mcs_index),
        "acknowledgements": _differing(slots.harq_feedback, expected.harq_feedback),
    }


def _differing(found: Tensor, expected: Tensor) -> str:
    return f"{int((found != expected).sum())} of {found.numel()}"


if __name__ == "__main__":
    run("system", __doc__, sheets)
