"""What becomes of a model folder that many write at once, or in which a writer is killed.

``python -m benchmarks.concurrent_saves`` makes three tables.

``concurrent_saves``: in each of a thousand rounds three processes save different models to one
folder while two others load it; every tenth round begins without the folder. Whatever is loaded has
to be one of these models, bit by bit.

``killed_saves``: two hundred times a process is killed (SIGKILL) at a moment drawn from the time
that saving takes. What is loaded then has to be the whole old or the whole new model.

``cost_of_checks``: the time that loading a model of some hundred MB takes with and without SHA-256.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import neumatc_mimo as nm
from benchmarks.command import say
from benchmarks.saved_models import FOLDER, digest
from benchmarks.savers import (
    MIXED,
    NO_MODEL,
    REFUSED,
    SECONDS,
    WHOLE,
    killed,
    kind,
    load,
    outcome,
    prepared,
    processes,
    save,
    variant,
)
from benchmarks.small import small_model
from neumatc_mimo.bench.sheet import Sheet, origin, origin_line
from neumatc_mimo.model import OperationModel
from neumatc_mimo.storage import tensor_file

SAVERS, LOADERS = 3, 2
_SOURCES = [
    f"benchmarks/{name}.py" for name in ("concurrent_saves", "savers", "saved_models", "small")
]
# So many rounds from one that finds no folder to the next.
ANEW = 10

_OUTCOMES = (WHOLE, NO_MODEL, REFUSED, MIXED)


def concurrent_saves(model: nm.ScenarioModel, rounds: int, folder: Path) -> Sheet:
    """Save and load in many processes at once.

    :param folder: of this machine, for all that is written
    """
    sources, known = prepared([variant(model, i) for i in range(2 * SAVERS)], folder / "models")
    target, started = folder / "together", time.perf_counter()
    meet, busy = processes.Barrier(SAVERS + LOADERS + 1), processes.Value("i", 0)
    shared = (rounds, meet, busy, results := processes.Queue())
    tasks: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
        (save, (sources[i::SAVERS], target, *shared)) for i in range(SAVERS)
    ] + [(load, (target, known, *shared))] * LOADERS
    workers = [processes.Process(target=run, args=given, daemon=True) for run, given in tasks]
    for worker in workers:
        worker.start()
    counts, most = Counter[str](), 0
    for number in range(rounds):
        if number % ANEW == 0:
            shutil.rmtree(target, ignore_errors=True)
        busy.value = SAVERS
        meet.wait(SECONDS)
        meet.wait(SECONDS)
        counts["after: " + kind(outcome(target, known), known)] += 1
        most = max(most, len(list(target.iterdir())))
        if number % 100 == 99:
            say(f"{number + 1} rounds")
    for _ in workers:
        counts += results.get(timeout=SECONDS)
    for worker in workers:
        worker.join()
    loads = {
        "when": "meanwhile",
        "loads": sum(counts[what] for what in _OUTCOMES),
        **{what: counts[what] for what in _OUTCOMES},
        "the model was replaced while it was read": counts["replaced meanwhile"],
    }
    after = {
        "when": "after each round",
        "loads": rounds,
        **{what: counts[f"after: {what}"] for what in _OUTCOMES},
        "the model was replaced while it was read": None,
    }
    caption = (
        f"{rounds:,} rounds, in each of which {SAVERS} processes save a model and {LOADERS} load "
        f"the folder until these are done; every {ANEW}th begins without the folder. "
        f"{counts['saved']:,} saves were made, {counts['save refused']} refused; "
        f"a model has {1 + len(model.models)} files, the folder had at most {most} after a round."
    )
    sheet = Sheet(
        "concurrent_saves", "Many save to one folder and load it", caption, [loads, after]
    )
    sheet.seconds = time.perf_counter() - started
    return sheet


def killed_saves(model: nm.ScenarioModel, kills: int, seed: int, folder: Path) -> Sheet:
    """Kill savers, of which every fourth found no folder.

    :param folder: of this machine, for all that is written
    """
    sources, known = prepared([variant(model, i) for i in range(2)], folder / "models")
    target, started = folder / "killed", time.perf_counter()
    longest = 1.2 * _seconds_of_a_save(model, folder / "timed")
    rng, counts = np.random.default_rng(seed), Counter[tuple[bool, str]]()
    late = 0
    while counts.total() < kills:
        number = counts.total()
        if over := number % 4 != 0:
            # The old model is another one than that which is being saved.
            nm.ScenarioModel.load(sources[number % 2]).save(target)
        else:
            shutil.rmtree(target, ignore_errors=True)
        if not killed(sources[1 - number % 2], target, rng.uniform(0, longest)):
            late += 1
            continue
        what = outcome(target, known)
        old, new = (f"model_{i}" for i in (number % 2, 1 - number % 2))
        found = {old: "the old model", new: "the new model"}.get(what, what)
        counts[over, found if over or found != "the old model" else MIXED] += 1
    target.mkdir(exist_ok=True)
    left = _a_day_ago(target)
    model.save(target)
    assert outcome(target, {model.name: digest(model)}) == model.name
    kinds = ("the old model", "the new model", NO_MODEL, REFUSED, MIXED)
    rows = [
        {"saved": "over an old model" if over else "to a new folder"}
        | {"kills": sum(counts[over, kind] for kind in kinds)}
        | {kind: counts[over, kind] for kind in kinds}
        for over in (True, False)
    ]
    caption = (
        f"{kills} processes were killed by SIGKILL while they saved, at moments drawn with the "
        f"seed {seed} from the first {1e3 * longest:.0f} ms; {late} more had finished before and "
        f"are not counted. What loading the folder gave then. The last folder had {left} files at "
        f"the end, and {len(list(target.iterdir()))} after a save a day later."
    )
    sheet = Sheet("killed_saves", "Writers that are killed", caption, rows)
    sheet.seconds = time.perf_counter() - started
    return sheet


def _seconds_of_a_save(model: nm.ScenarioModel, folder: Path) -> float:
    """How long a save takes."""
    taken = []
    for _ in range(10):
        started = time.perf_counter()
        model.save(folder)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def _a_day_ago(folder: Path) -> int:
    """Make all files as old as those of writers that were killed long ago; how many there are."""
    yesterday, files = time.time() - 2 * 24 * 3600, list(folder.iterdir())
    for file in files:
        os.utime(file, (yesterday, yesterday))
    return len(files)


# The price


def cost_of_checks(
    model: nm.ScenarioModel, megabytes: int, repetitions: int, folder: Path
) -> Sheet:
    """Time a large model's loading with and without its checks, by turns.

    :param megabytes: of its files, about
    :param folder: of this machine, for all that is written
    """
    started = time.perf_counter()
    small = Path(model.save(folder / "small"))
    links = next(iter(model.models.values())).links.num_links
    times = max(1, round(megabytes * 1e6 / _bytes_of(small)))
    large = nm.ScenarioModel(
        "large", {name: _repeated(one, times) for name, one in model.models.items()}
    )
    begun = time.perf_counter()
    target = Path(large.save(folder / "large"))
    saving, size = time.perf_counter() - begun, _bytes_of(target)
    ways: dict[str, Callable[[], Any]] = {
        "load, as it is": lambda: nm.ScenarioModel.load(target),
        "load without SHA-256": lambda: _unchecked(target),
        "read the files, no more": lambda: [file.read_bytes() for file in target.iterdir()],
    }
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repetitions):
        for way, run in ways.items():
            begun = time.perf_counter()
            run()
            taken[way].append(time.perf_counter() - begun)
    medians = {way: statistics.median(seconds) for way, seconds in taken.items()}
    medians["save, once"] = saving
    least = medians["load without SHA-256"]
    rows = [
        {
            "what": way,
            "seconds": seconds,
            "MB/s": size / 1e6 / seconds,
            "over loading without SHA-256": seconds / least,
        }
        for way, seconds in medians.items()
    ]
    caption = (
        f"A model of {len(large.models)} operations on {links * times:,} links each, "
        f"{size / 1e6:.0f} MB, in the system's cache of files. Medians of {repetitions} by turns."
    )
    sheet = Sheet("cost_of_checks", "What the checks cost", caption, rows)
    sheet.seconds = time.perf_counter() - started
    return sheet


def _repeated(model: OperationModel, times: int) -> OperationModel:
    """A model of each link so many times."""
    chosen = torch.arange(model.links.num_links).repeat(times)
    return replace(
        model,
        mapping=model.mapping.select(chosen),
        links=model.links.select(chosen),
        marks=model.marks[chosen],
    )


def _bytes_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


class _Anything(str):
    """A digest that every tensor has."""

    def __ne__(self, other: object) -> bool:
        return False


class _NoHash:
    def update(self, piece: memoryview) -> None:
        """Take nothing."""

    def hexdigest(self) -> str:
        return _Anything()


@contextmanager
def _without_checks() -> Iterator[None]:
    begun = tensor_file._begun
    tensor_file._begun = lambda dtype, shape: _NoHash()
    try:
        yield
    finally:
        tensor_file._begun = begun


def _unchecked(folder: Path) -> nm.ScenarioModel:
    """A model whose tensors are compared with nothing."""
    with _without_checks():
        return nm.ScenarioModel.load(folder)


def main() -> None:
    """Save, load, kill, time and write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.concurrent_saves", description=__doc__
    )
    parser.add_argument("--rounds", type=int, default=1000, help="in which many save and load")
    parser.add_argument("--kills", type=int, default=200, help="processes that are killed")
    parser.add_argument("--megabytes", type=int, default=300, help="of the model that is timed")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the results")
    parser.add_argument("--only", nargs="+", default=[], help="tables to make, by their names")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    source = origin(*_SOURCES)
    arguments.output.mkdir(parents=True, exist_ok=True)
    model, failed = small_model(), False
    ways: dict[str, Callable[[Path], Sheet]] = {
        "concurrent_saves": lambda folder: concurrent_saves(model, arguments.rounds, folder),
        "killed_saves": lambda folder: killed_saves(model, arguments.kills, arguments.seed, folder),
        "cost_of_checks": lambda folder: cost_of_checks(model, arguments.megabytes, 9, folder),
    }
    for name, make in ways.items():
        if arguments.only and name not in arguments.only:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            sheet = make(Path(temporary))
        sheet.write(arguments.output, source)
        print(sheet.markdown(), flush=True)
        failed |= any(row.get(MIXED) for row in sheet.rows)
    print(origin_line(source))
    if failed:
        sys.exit("Some loads gave no whole model and no refusal in one sentence.")


if __name__ == "__main__":
    main()
