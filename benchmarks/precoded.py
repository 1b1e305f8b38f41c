"""Precoded channels beside Sionna's, and correlated noise beside Sionna's equalizer of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import torch
from sionna.phy.mimo import lmmse_equalizer

from benchmarks.command import run, say
from benchmarks.paper.sheet import Row, Settings, Sheet
from neumatc_mimo import Exact, load_scenario
from neumatc_mimo.bench.blocks import Point, at_point
from neumatc_mimo.bench.channels import CHANNELS
from neumatc_mimo.bench.tasks import MMSE, Slot
from neumatc_mimo.progress import Event

_BLOCK = 12


def sheets(settings: Settings) -> Iterator[Sheet]:
    """Both, at the point of the bundled scenario."""
    point = Point(fft_size=252, slot=Slot(num_ofdm_symbols=2)) if settings.quick else Point()
    scenario = point.scenario(load_scenario("munich"), 2)
    yield channels(scenario, point, 0.05 if settings.quick else 1.0)
    yield noise(scenario, point, 2 if settings.quick else 9)


@torch.no_grad()
def channels(scenario: Any, point: Point, seconds: float) -> Sheet:
    """Precoded channels, exact, of another link at every call."""
    started = time.perf_counter()
    found = at_point(
        scenario, point, tasks=CHANNELS, seconds=seconds, spline_samples=(), callback=_tell
    )
    by_block: dict[str, dict[str, Any]] = {}
    for row in found:
        by_block.setdefault(row.block, {})[row.way] = row
    rows: list[Row] = []
    for block, ways in by_block.items():
        other = next((ways[way] for way in ways if way.startswith(("Sionna", "an SVD"))), None)
        exact = ways["exact"]
        rows.append(
            {
                "block": block,
                "beside": None if other is None else other.way,
                "its ms": None if other is None else str(other.milliseconds),
                "exact, ms": str(exact.milliseconds),
                "times faster": (
                    None if other is None else other.milliseconds.median / exact.milliseconds.median
                ),
                "over the limit": exact.over_limit,
                "error, dB": exact.worst_db,
            }
        )
    caption = (
        f"Munich, {point.label}; the channel is known to the transmitter, and constant over the "
        "symbols, which each block finds out. Limit: known matrices applied."
    )
    return Sheet(
        "channels", "Precoded channels", caption, rows, seconds=time.perf_counter() - started
    )


@torch.no_grad()
def noise(scenario: Any, point: Point, repetitions: int) -> Sheet:
    """``MMSEEqualizer`` in white and in correlated noise."""
    started = time.perf_counter()
    case = MMSE(scenario.multi_user, point.slot)
    y, h, err_var, no = case.inputs()
    num, antennas = point.fft_size // _BLOCK, y.shape[2]
    root = torch.randn(num, antennas, antennas, dtype=y.dtype) / antennas**0.5
    blocks = no * root @ root.mH
    block = case.block(Exact())
    ways: dict[str, tuple[Callable[[], Any], int]] = {
        "Sionna's lmmse_equalizer, a matrix each": (_theirs(y, h, no, blocks), 1),
        "white": (lambda: block(y, h, err_var, no), repetitions),
        "one matrix": (
            lambda: block(y, h, err_var, no, noise_covariance=blocks[0]),
            repetitions,
        ),
        "one for each resource block": (
            lambda: block(y, h, err_var, no, noise_covariance=blocks),
            repetitions,
        ),
    }
    taken = {}
    for way, (call, number) in ways.items():
        say(way)
        call()
        times = []
        for _ in range(number):
            begin = time.perf_counter()
            call()
            times.append(1e3 * (time.perf_counter() - begin))
        taken[way] = median(times)
    theirs = next(iter(taken.values()))
    rows = [
        {"noise": way, "ms": value, "times faster": theirs / value} for way, value in taken.items()
    ]
    caption = (
        f"MMSEEqualizer, Munich, {point.label}, exact: in white noise, and in noise correlated "
        "between the antennas. Sionna's function has its arguments laid out and whitened for it; "
        "medians of calls with the same link."
    )
    return Sheet("noise", "Correlated noise", caption, rows, seconds=time.perf_counter() - started)


def _theirs(
    y: torch.Tensor, h: torch.Tensor, no: torch.Tensor, blocks: torch.Tensor
) -> Callable[[], Any]:
    """Sionna's equalizer of every resource element, symbol by symbol as memory has it."""
    antennas = y.shape[2]
    each = blocks.repeat_interleave(y.shape[-1] // len(blocks), 0) + no * torch.eye(antennas)
    symbols = y[:, 0].permute(2, 0, 3, 1)
    channel = h[:, 0, :, :, 0].permute(3, 0, 4, 1, 2)

    def call() -> None:
        for here, there in zip(symbols, channel, strict=True):
            lmmse_equalizer(here, there, each.expand(len(here), -1, -1, -1))

    return call


def _tell(event: Event) -> None:
    say(event.step)


if __name__ == "__main__":
    run("precoded", __doc__, sheets)
