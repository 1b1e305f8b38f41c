"""Whether a model meets channels of no scenario with exact results, and what that costs.

``python -m benchmarks.strangers`` draws ten thousand links of each kind from Sionna's channel
models, sends them through blocks with a trained model as their solver, and compares the outputs
with those of exact blocks and of Sionna's. Then it times full slots by turns.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sionna.phy
import torch
from torch import Tensor

import neumatc_mimo as nm
from benchmarks.strangers.channels import (
    FAMILIES,
    Drawn,
    drawn,
    family_of,
    on_fewer_subcarriers,
)
from neumatc_mimo.bench.sheet import Row, Sheet, origin, origin_line
from neumatc_mimo.bench.tasks import MMSE, Beamforming, Combining, Slot, Task, ZeroForcing
from neumatc_mimo.bench.timing import Call, side_by_side

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks/results/strangers"

TASKS: tuple[type[Task], ...] = (ZeroForcing, MMSE, Beamforming, Combining)
# Every 45th subcarrier of the band.
_STEP = 45
_BATCH = 100
# Links of each family that Sionna's blocks see as well.
_COMPARED = 20
# Slots that are timed in turn, so that none is known from the call before.
_SLOTS = 4


def main() -> None:
    """Train, draw, compare, time and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strangers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the links, one model")
    parser.add_argument("--model", type=Path, help="folder of a trained model, instead of training")
    parser.add_argument("--output", type=Path, help="folder of the results")
    arguments = parser.parse_args()
    folder = arguments.output or (ROOT / "report/strangers" if arguments.quick else RESULTS)
    source = origin("benchmarks/strangers") | {"quick": arguments.quick}
    sionna.phy.config.seed = 1
    model = nm.ScenarioModel.load(arguments.model) if arguments.model else _trained()
    for sheet in (
        _timed(results, model, 20 if arguments.quick else 1),
        _timed(times, model, 0.5 if arguments.quick else 6.0),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        sheet.write(folder, source)
        print(sheet.markdown())
    print(origin_line(source))


def _trained() -> nm.ScenarioModel:
    return nm.train(nm.load_scenario("munich"))


def _timed(make: Callable[..., Sheet], *arguments: Any) -> Sheet:
    started = time.perf_counter()
    sheet = make(*arguments)
    sheet.seconds = time.perf_counter() - started
    return sheet


def results(model: nm.ScenarioModel, fewer: int = 1) -> Sheet:
    """Outputs of blocks with a model against exact ones, link by link.

    :param fewer: divides the numbers of links
    """
    found: dict[type[Task], list[Row]] = {task: [] for task in TASKS}
    size = 0
    for tasks in (TASKS[:2], TASKS[2:]):
        like = on_fewer_subcarriers(model.models[tasks[0].operation].links, _STEP)
        size = like.fft_size
        for name, (_, total) in FAMILIES.items():
            print(f"{tasks[0].kind}, {name}", file=sys.stderr, flush=True)
            tallies = {task: Tally() for task in tasks}
            users = family_of(name, like)
            num_links = -(-total // fewer)
            for start in range(0, num_links, _BATCH):
                links = drawn(like, min(_BATCH, num_links - start), users)
                for task, tally in tallies.items():
                    tally.add(model, task, links)
            for task, tally in tallies.items():
                found[task].append({"block": task.title, "channels": name} | tally.row())
    count = sum(row["links"] for row in found[ZeroForcing])
    caption = (
        f"{count} links of each kind from Sionna's channel models, each at {size} subcarriers over "
        "the band of the model of Munich: links that the model takes for its own, share of the "
        "subcarriers that is computed exactly, and largest errors of a subcarrier: of the symbols "
        f"against the exact block in single precision, and, for {_COMPARED} of each family in "
        "double precision, against Sionna's block (for singular vectors: of the streams' powers, "
        "against torch.linalg.svdvals)."
    )
    rows = [row for rows in found.values() for row in rows]
    return Sheet("results", "Channels of no scenario: results", caption, rows)


@dataclass
class Tally:
    """What became of the links of one family in one block.

    :param links: that were drawn
    :param recalled: of these, links that the model took for its own
    :param computed: subcarriers computed exactly
    :param subcarriers: all of them
    :param error: largest one against the exact block
    :param others: largest one against a way that is not ours
    """

    links: int = 0
    recalled: int = 0
    computed: int = 0
    subcarriers: int = 0
    error: float = 0.0
    others: float = 0.0

    def add(self, model: nm.ScenarioModel, task: type[Task], links: Drawn) -> None:
        """Send links through the block."""
        case = task(links, Slot(1, links.num_links))
        block, inputs = case.block(model), case.inputs()
        found = case.result(block(*inputs))
        exact = case.result(case.block(nm.Exact())(*inputs))
        self.error = max(self.error, _largest(found, exact))
        if not self.links:
            self.others = _against_others(model, task, links, min(_COMPARED, links.num_links))
        self.links += links.num_links
        self.recalled += block.stats.links_recalled
        self.computed += block.stats.exact
        self.subcarriers += links.num_links * links.fft_size

    def row(self) -> Row:
        """A line of the table."""
        return {
            "links": self.links,
            "taken for a trained one": self.recalled,
            "computed exactly": self.computed / self.subcarriers,
            "error against exact": self.error,
            "error against others": self.others,
        }


def _against_others(model: nm.ScenarioModel, task: type[Task], links: Drawn, num: int) -> float:
    """Largest error of a subcarrier in double precision, against a way that is not ours."""
    slot = Slot(1, num, "double", issubclass(task, Beamforming))
    case = task(links, slot)
    output = case.block(model)(*case.inputs())
    if isinstance(case, ZeroForcing | MMSE):
        theirs = case.theirs()
        assert theirs is not None
        return _largest(case.result(output), case.result(theirs()))
    # Their phases are free: the powers that arrive are not.
    s = torch.linalg.svdvals(case.h)[..., : links.num_streams].square()
    if isinstance(case, Combining):
        no_eff = output[1][:, 0].unflatten(-1, (1, links.fft_size))[:, :, 0].mT
        return _largest((case.no / no_eff).mT, s.mT)
    h_eff = output[1][:, 0, :, 0, :, 0]
    return _largest(h_eff.abs().square().sum(1), s.mT)


def _largest(found: Tensor, expected: Tensor) -> float:
    """Largest relative error of a subcarrier, [num_items, rows, ..., num_subcarriers]."""
    error = torch.linalg.vector_norm(found - expected, dim=1)
    return float((error / torch.linalg.vector_norm(expected, dim=1)).max())


def times(model: nm.ScenarioModel, seconds: float = 6.0) -> Sheet:
    """Full slots, with the model and exactly, by turns.

    :param seconds: of each way
    """
    rows = []
    for task in TASKS:
        links = model.models[task.operation].links
        for name in ("Rayleigh", "CDL-C"):
            users = family_of(name, links)
            cases = [task(drawn(links, 1, users), Slot()) for _ in range(_SLOTS)]
            print(f"{task.title}, {name}, times", file=sys.stderr, flush=True)
            calls = {
                way: _in_turn(cases, solver)
                for way, solver in (("exact", nm.Exact()), ("model", model))
            }
            spread = side_by_side(calls, seconds=seconds, most=400)
            rows.append(
                {
                    "block": task.title,
                    "channels": name,
                    "exact [ms]": str(spread["exact"].times(1e3)),
                    "with the model [ms]": str(spread["model"].times(1e3)),
                    "ratio of medians": spread["model"].median / spread["exact"].median,
                }
            )
    caption = (
        f"Full slots of {links.fft_size} subcarriers and 14 OFDM symbols, single precision, "
        f"{_SLOTS} channels of no scenario in turn; medians and quartiles of runs by turns."
    )
    return Sheet("times", "Channels of no scenario: times", caption, rows)


def _in_turn(cases: list[Task], solver: nm.Solver) -> Call:
    """A call of the block on the next slot each time."""
    blocks = [(case.block(solver), case.inputs()) for case in cases]
    order = itertools.cycle(blocks)

    def call() -> Any:
        block, inputs = next(order)
        return block(*inputs)

    return call


if __name__ == "__main__":
    main()
