"""Times of each block with another link at every call: eight links in turn.

A simulation that draws another link for every slot gets nothing from what a solver keeps of the
call before. ``python -m benchmarks.eight_links`` times such calls, and calls with the same link
again beside them. With ``--against FOLDER``, another checkout of the package, both versions are
timed by turns, so that a change of the machine's load meets both. This file asks for public names
only: another version may have its modules elsewhere.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import sionna.phy
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo import blocks

ROOT = Path(__file__).parents[1]
NUM_LINKS = 8
_NUM_SYMBOLS = 14
_NO_DB = -20.0

EXACT = "exact"
QUERIED = "queried"
NAMED = "queried, named"
AGAIN = "queried, same link again"
CACHED = "cached, same link again"
WAYS = (EXACT, QUERIED, NAMED, AGAIN, CACHED)
# These get one link at all calls, with other symbols.
_SAME_LINK = (AGAIN, CACHED)
# These have a model, each one of its own: none knows what was asked on another way.
_WITH_MODEL = (QUERIED, NAMED, AGAIN)
# An exact block that no model stands beside is left out if a call takes more seconds.
_LONG = 2.0

_RATIO = "after/before"

# Seconds by version, block and way: of each call of each round.
Rounds = list[list[float]]
Times = dict[str, dict[str, dict[str, Rounds]]]


def main() -> None:
    """Start the versions, time them by turns, print the tables and write the times."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.eight_links", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=6, help="rounds over all ways")
    parser.add_argument("--model", type=Path, help="folder of a model, trained where it is missing")
    parser.add_argument("--against", type=Path, help="another checkout, timed by turns: before")
    parser.add_argument("--model-against", type=Path, help="folder of that checkout's model")
    parser.add_argument("--json", type=Path, help="file for the time of every call")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), help="blocks")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scenario", default="munich", help="a name, or a TOML file")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        serve(arguments.scenario, arguments.model, arguments.threads)
        return
    setting = ["--scenario", arguments.scenario, "--threads", str(arguments.threads)]
    versions = {"after": (ROOT, arguments.model)}
    if arguments.against:
        versions = {"before": (arguments.against, arguments.model_against)} | versions
    with ExitStack() as stack:
        # One after the other: a version may train its model as it starts.
        workers = {
            name: stack.enter_context(worker(checkout, model, setting))
            for name, (checkout, model) in versions.items()
        }
        times = timed(workers, arguments.only, arguments.rounds)
        about = {name: found.about for name, found in workers.items()}
    if arguments.json:
        data = {"versions": about, "summary": summary(times), "quickest": least(times)}
        data |= {"seconds": times}
        arguments.json.write_text(json.dumps(data, indent=1, default=vars))
    print(tables(times, about))


# What is timed.


@dataclass(frozen=True)
class Slots:
    """Eight links as a block gets them, with a slot of symbols for each call.

    :param grid: resource grid
    :param streams: who sends to whom
    :param h: channels of each link, every OFDM symbol in memory of its own
    :param x: symbols to be sent
    :param y: symbols that were received
    """

    grid: ResourceGrid
    streams: StreamManagement
    h: list[Tensor]
    x: list[Tensor]
    y: list[Tensor]


Inputs = Callable[[Slots, int, int], tuple[Any, ...]]


@dataclass(frozen=True)
class Case:
    """A block, and what it is called with.

    :param slots: makes the links and symbols from a scenario
    :param block: makes the block from a grid, a stream management and a solver
    :param inputs: arguments of a call, from the slots, the number of the call and that of the link
    :param ways: what is timed
    """

    slots: Callable[[nm.Scenario], Slots]
    block: Callable[..., Any]
    inputs: Inputs
    ways: tuple[str, ...] = WAYS


def downlink(scenario: nm.Scenario) -> Slots:
    """Several users of one antenna, each the receiver of a stream."""
    links = scenario.multi_user
    assert links is not None
    h = [h[:, :, None, None] for h in _channels(links)]
    return _slots(h, links, num_tx=1, num_rx=links.num_rows, num_streams=links.num_rows)


def uplink(scenario: nm.Scenario) -> Slots:
    """The same users as transmitters: the transposed channels."""
    links = scenario.multi_user
    assert links is not None
    h = [h[:, None, :, :, None] for h in _channels(links, transposed=True)]
    return _slots(h, links, num_tx=links.num_rows, num_rx=1, num_streams=1)


def single_user(scenario: nm.Scenario) -> Slots:
    """One user of several antennas and streams."""
    links = scenario.single_user
    assert links is not None and links.num_streams is not None
    h = [h[:, None, :, None] for h in _channels(links)]
    return _slots(h, links, num_tx=1, num_rx=1, num_streams=links.num_streams)


def _channels(links: nm.LinkSet, transposed: bool = False) -> Iterator[Tensor]:
    """Channels [1, K, M, num_ofdm_symbols, fft_size] of the links, or [1, M, K, ...]."""
    for link in range(NUM_LINKS):
        h = links.channel(links.grid_frequencies(), [link])
        h = (h.mT if transposed else h).permute(0, 2, 3, 1)[:, :, :, None]
        # Written out for every symbol, as a channel model of Sionna gives them.
        yield h.expand(-1, -1, -1, _NUM_SYMBOLS, -1).contiguous()


def _slots(h: list[Tensor], links: nm.LinkSet, num_tx: int, num_rx: int, num_streams: int) -> Slots:
    generator = torch.Generator().manual_seed(1)

    def symbols(*shape: int) -> list[Tensor]:
        shape = (1, *shape, _NUM_SYMBOLS, links.fft_size)
        draw = partial(torch.randn, shape, dtype=torch.complex64, generator=generator)
        return [draw() for _ in range(NUM_LINKS)]

    grid = ResourceGrid(
        num_ofdm_symbols=_NUM_SYMBOLS,
        fft_size=links.fft_size,
        subcarrier_spacing=links.subcarrier_spacing,
        num_tx=num_tx,
        num_streams_per_tx=num_streams,
    )
    return Slots(
        grid,
        StreamManagement(np.ones([num_rx, num_tx]), num_streams),
        h,
        symbols(num_tx, num_streams),
        symbols(num_rx, h[0].shape[2]),
    )


def _no() -> Tensor:
    return torch.tensor(10 ** (_NO_DB / 10))


def _powers(slots: Slots) -> Tensor:
    return torch.ones(slots.x[0].shape[:3])


def _qam_detector(grid: ResourceGrid, streams: StreamManagement, solver: nm.Solver) -> Any:
    return blocks.MMSEDetector("bit", "maxlog", grid, streams, solver, "qam", 4)


# Blocks of the same slots lie side by side: these are made once for all of them.
CASES = {
    "ZFPrecoder": Case(
        downlink, blocks.ZFPrecoder, lambda slots, call, link: (slots.x[call], slots.h[link])
    ),
    "ZFPrecodedChannel": Case(
        downlink,
        blocks.ZFPrecodedChannel,
        lambda slots, call, link: (slots.h[link], _powers(slots)),
    ),
    "WMMSEPrecoder": Case(
        downlink,
        blocks.WMMSEPrecoder,
        lambda slots, call, link: (slots.x[call], slots.h[link], _no()),
        (EXACT,),
    ),
    "MMSEEqualizer": Case(
        uplink,
        blocks.MMSEEqualizer,
        lambda slots, call, link: (slots.y[call], slots.h[link], 0.0, _no()),
    ),
    "MMSEDetector": Case(
        uplink,
        _qam_detector,
        lambda slots, call, link: (slots.y[call], slots.h[link], 0.0, _no()),
    ),
    "SVDBeamformer": Case(
        single_user,
        blocks.SVDBeamformer,
        lambda slots, call, link: (slots.x[call], slots.h[link]),
    ),
    "SVDCombiner": Case(
        single_user,
        blocks.SVDCombiner,
        lambda slots, call, link: (slots.y[call], slots.h[link], _no()),
    ),
}


class Bench:
    """The blocks of this version of the package, one at a time.

    :param scenario: whose links are taken
    :param models: a model for each way that asks one
    """

    def __init__(self, scenario: nm.Scenario, models: dict[str, nm.Solver]) -> None:
        self._scenario, self._models = scenario, models
        self._kind: Callable[[nm.Scenario], Slots] | None = None
        self._slots: Slots | None = None
        self._calls: dict[str, Callable[[int], Any]] = {}

    def prepare(self, name: str) -> list[str]:
        """Make a block's links and warm its ways up.

        :return: the ways that are to be timed
        """
        case = CASES[name]
        self._calls.clear()
        if case.slots is not self._kind:
            # The others' memory first.
            self._slots = None
            self._kind, self._slots = case.slots, case.slots(self._scenario)
        assert self._slots is not None
        for way in case.ways:
            block = case.block(self._slots.grid, self._slots.streams, self._solver(way))
            self._calls[way] = call = partial(_call, block, case.inputs, self._slots, way)
            call(0)
            if case.ways == (EXACT,) and _seconds(partial(call, 1)) > _LONG:
                return []
            self.round(way)
            if way in _WITH_MODEL and block.stats.links_unknown:
                raise RuntimeError(f"{name}: the model does not know the scenario's links.")
        return list(case.ways)

    def round(self, way: str) -> list[float]:
        """Seconds of a call with each of the links."""
        call = self._calls[way]
        # Threads may have gone to sleep while another process was timed.
        call(NUM_LINKS - 1)
        return [_seconds(partial(call, number)) for number in range(NUM_LINKS)]

    def _solver(self, way: str) -> nm.Solver:
        if way in _WITH_MODEL:
            return self._models[way]
        return nm.Cached(nm.Exact()) if way == CACHED else nm.Exact()


def _call(block: Any, inputs: Inputs, slots: Slots, way: str, number: int) -> None:
    link = 0 if way in _SAME_LINK else number
    named = {"links": torch.tensor([link])} if way == NAMED else {}
    block(*inputs(slots, number, link), **named)


def _seconds(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


# A process for each version.


def serve(scenario: str, model: Path | None, threads: int) -> None:
    """Time what is asked for on standard input, a line each, until it ends."""
    # Whatever else writes to the standard output must not meet the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(threads)
    sionna.phy.config.device = "cpu"

    def answer(value: Any) -> None:
        print(json.dumps(value), file=answers, flush=True)

    chosen = nm.load_scenario(scenario)
    with tempfile.TemporaryDirectory() as kept:
        folder = model or Path(kept) / "model"
        if not folder.exists():
            say(f"Training {chosen.name}.")
            nm.train(chosen, progress=False).save(folder)
        models = {way: nm.ScenarioModel.load(folder) for way in _WITH_MODEL}
        answer(
            {
                "package": str(Path(nm.__file__).resolve().parent),
                "torch": torch.__version__,
                "threads": torch.get_num_threads(),
                "scenario": chosen.name,
            }
        )
        bench = Bench(chosen, dict(models))
        for line in sys.stdin:
            block, way = json.loads(line)
            answer(bench.round(way) if way else bench.prepare(block))


class Worker:
    """A version of the package in a process of its own.

    :param process: that answers, see :func:`serve`
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.about: dict[str, Any] = self._answer()

    def prepare(self, block: str) -> list[str]:
        """See :meth:`Bench.prepare`."""
        return self._ask(block, None)

    def round(self, block: str, way: str) -> list[float]:
        """See :meth:`Bench.round`."""
        return self._ask(block, way)

    def _ask(self, block: str, way: str | None) -> Any:
        assert self._process.stdin is not None
        print(json.dumps([block, way]), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("A version ended before it had answered, see its message above.")
        return json.loads(line)


@contextmanager
def worker(checkout: Path, model: Path | None, setting: Sequence[str]) -> Iterator[Worker]:
    """This file in a process with the package of a checkout."""
    # Without the folder of this file, whose modules have names of others.
    command = [sys.executable, "-P", __file__, "--worker", *setting]
    command += [] if model is None else ["--model", str(model)]
    checkout = checkout.resolve()
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        found = Worker(process)
        if Path(found.about["package"]).parent != checkout:
            raise RuntimeError(f"{found.about['package']} was timed, it is not in {checkout}.")
        yield found


def timed(workers: dict[str, Worker], names: Sequence[str], rounds: int) -> Times:
    """Seconds of all calls, versions and ways by turns; only one of them computes at a time."""
    times: Times = {version: {} for version in workers}
    for name in names:
        say(name)
        both = [found.prepare(name) for found in workers.values()]
        ways = [way for way in both[0] if all(way in others for others in both)]
        for version in workers:
            times[version][name] = {way: [] for way in ways}
        for number in range(rounds):
            # Who is first alternates.
            order = list(workers)[:: -1 if number % 2 else 1]
            for way in ways:
                for version in order:
                    times[version][name][way].append(workers[version].round(name, way))
    return times


# What is told.


@dataclass(frozen=True)
class Spread:
    """Quartiles of the rounds."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of a value for each round."""
        return cls(*(float(q) for q in np.quantile(values, [0.25, 0.5, 0.75])))

    def __str__(self) -> str:
        return " ".join((_short(self.median), f"[{_short(self.low)}, {_short(self.high)}]"))


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def milliseconds(rounds: Rounds) -> Spread:
    """Of a call: the median over the links, of each round."""
    return Spread.of([1e3 * float(np.median(calls)) for calls in rounds])


def ratio(after: Rounds, before: Rounds) -> Spread:
    """How many times as long a call takes after, of each round."""
    pairs = zip(after, before, strict=True)
    return Spread.of([float(np.median(a) / np.median(b)) for a, b in pairs])


def quickest(rounds: Rounds) -> float:
    """Milliseconds of a call: the least of a link in all rounds, its median over the links.

    What else runs on the machine only ever adds to a call.
    """
    return 1e3 * float(np.median(np.min(rounds, axis=0)))


def least(times: Times) -> dict[str, dict[str, dict[str, float]]]:
    """The quickest calls by version, block and way, and ratios where there are two versions."""
    found = {
        version: {
            name: {way: quickest(rounds) for way, rounds in ways.items()}
            for name, ways in by_block.items()
        }
        for version, by_block in times.items()
    }
    if "before" in times:
        found[_RATIO] = {
            name: {way: value / found["before"][name][way] for way, value in ways.items()}
            for name, ways in found["after"].items()
        }
    return found


def summary(times: Times) -> dict[str, dict[str, dict[str, Spread]]]:
    """Milliseconds by version, block and way, and ratios where there are two versions."""
    found = {
        version: {
            name: {way: milliseconds(rounds) for way, rounds in ways.items()}
            for name, ways in by_block.items()
        }
        for version, by_block in times.items()
    }
    if "before" in times:
        found[_RATIO] = {
            name: {way: ratio(rounds, times["before"][name][way]) for way, rounds in ways.items()}
            for name, ways in times["after"].items()
        }
    return found


def tables(times: Times, about: dict[str, dict[str, Any]]) -> str:
    """Two tables for each version, and two of the ratios, as Markdown."""
    lines = []
    best = least(times)
    for title, rows in summary(times).items():
        unit = "ratio of times" if title == _RATIO else "milliseconds a call"
        lines += [f"### {title}: {unit}, median and quartiles of the rounds", ""]
        lines += [*_table(rows), ""]
        lines += [f"### {title}: {unit}, quickest of the rounds", ""]
        lines += [*_table(best[title]), ""]
        if title in about:
            lines += [", ".join(f"{key} {value}" for key, value in about[title].items()), ""]
    return "\n".join(lines)


def _table(rows: Mapping[str, Mapping[str, Spread | float]]) -> list[str]:
    cells = [["block", *WAYS]]
    cells += [[name, *(_cell(row.get(way)) for way in WAYS)] for name, row in rows.items()]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    padded = ([c.ljust(w) for c, w in zip(line, widths, strict=True)] for line in cells)
    return [f"| {' | '.join(line)} |" for line in padded]


def _cell(value: Spread | float | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, Spread) else _short(value)


def say(text: str) -> None:
    """Tell on standard error how far the benchmark is."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
