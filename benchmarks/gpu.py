"""Every block on a GPU, beside Sionna's and beside cuSOLVER, in eight minutes at most.

``PYTHONPATH=. python -m benchmarks.gpu --out FOLDER`` runs the tests that need a CUDA device, then
the blocks at 8 x 64, 16 x 128 and 32 x 256 on 3276 subcarriers and 14 symbols, eight links in turn,
and writes what it found after every block: a run that is stopped leaves what it has. Neither an
installation nor a network is needed, nor DeepMIMO nor Sionna's ray tracer, and PyTorch may be 2.11.
``--dry-run`` takes the same way at small sizes on the CPU, in less than a minute.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import platform
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import neumatc_mimo as nm
from benchmarks import plain_paths
from neumatc_mimo.bench.blocks import Point
from neumatc_mimo.bench.sheet import table
from neumatc_mimo.bench.tasks import (
    MMSE,
    TASKS,
    Beamforming,
    Combining,
    Detection,
    Slot,
    Task,
    ZeroForcing,
    applied,
)
from neumatc_mimo.bench.timing import Call, Spread, peak_bytes, side_by_side
from neumatc_mimo.bench.turns import in_turn
from neumatc_mimo.kernels import race
from neumatc_mimo.operations.tracking import normalised

ROOT = Path(__file__).parents[1]
NUM_LINKS = 8
_MAX_BYTES = 16 * 2**20
_LOG_BYTES = 2**20
# Seconds that a call may take at a point to be made at the next one, where it has eight times the
# work, and those of a first call after which there is no other.
_LONG, _ONCE = 0.7, 3.0

_PACKAGES = ("torch", "triton", "numpy", "scipy", "sionna", "sionna-no-rt", "deepmimo", "pytest")
_BASIC: tuple[type[Task], ...] = (ZeroForcing, MMSE, Detection, Beamforming, Combining)


@dataclass(frozen=True)
class Plan:
    """What is run.

    :param device: where
    :param points: sizes, the smaller ones first
    :param slot: sizes of a slot
    :param model: keys of ``[model]`` that differ from the scenario's
    :param seconds: of each way to run a block
    :param least: calls of each way at least
    :param tests: arguments of pytest, of one run after the other
    :param minutes: of all of it
    """

    device: str
    points: tuple[Point, ...]
    slot: Slot
    model: Mapping[str, Any]
    seconds: float
    least: int
    tests: tuple[tuple[str, ...], ...]
    minutes: float

    @classmethod
    def of(cls, device: str, minutes: float, dry: bool) -> Plan:
        """That of a GPU, or the small one."""
        if dry:
            sizes = ((2, 8, (4, 2)), (3, 16, (4, 4)), (4, 32, (8, 4)))
            points = [Point(k, m, 84, bs=bs, num_streams=1) for k, m, bs in sizes]
            small = {"width": 60, "samples": 64, "collocation": 42, "noise_nodes": 5, "rounds": 2}
            tests = (("-m", "cuda", "tests/blocks/test_compile.py"),)
            return cls(device, tuple(points), Slot(2), small, 0.0, 2, tests, minutes)
        points = [Point(k, m) for k, m in ((8, 64), (16, 128), (32, 256))]
        # Other files may import what is not installed. The kernels' tests take a GPU if they can;
        # the slow ones compile for many shapes.
        marked = sorted(
            str(file.relative_to(ROOT))
            for file in (ROOT / "tests").rglob("test_*.py")
            if "pytest.mark.cuda" in file.read_text()
        )
        kernels = ("-m", "not slow", "tests/kernels/test_on_gpu.py", "tests/kernels/test_fused.py")
        runs = (("-m", "cuda", *marked), kernels)
        return cls(device, tuple(points), Slot(14), {}, 0.5, NUM_LINKS, runs, minutes)


class Deadline(Exception):  # noqa: N818 (nothing is wrong, the time is over)
    """There is no time left for what was asked."""


@dataclass
class Clock:
    """How much of the time is left.

    :param seconds: of all of it
    """

    seconds: float
    begin: float = field(default_factory=time.perf_counter)

    @property
    def left(self) -> float:
        """Seconds."""
        return self.seconds - (time.perf_counter() - self.begin)

    def until(self, left: float) -> Callable[[Any], None]:
        """A callback that ends what calls it when no more than so many seconds are left."""

        def check(event: Any) -> None:
            del event
            if self.left < left:
                raise Deadline

        return check


def main() -> None:
    """Run the tests and the blocks, and write what was found."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--device", default="", help='"cuda" where there is one')
    parser.add_argument("--minutes", type=float, default=8.0, help="of the whole run at most")
    parser.add_argument("--dry-run", action="store_true", help="small sizes, on the CPU")
    parser.add_argument("--no-tests", action="store_true", help="the blocks alone")
    arguments = parser.parse_args()
    device = arguments.device or ("cpu" if arguments.dry_run else "cuda")
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch finds no CUDA device; --dry-run runs on the CPU.")
    run(
        arguments.out,
        Plan.of(device, arguments.minutes, arguments.dry_run),
        tests=not arguments.no_tests,
    )


def run(folder: Path, plan: Plan, *, tests: bool = True) -> None:
    """Run a plan and write its tables to a folder."""
    # What starting and ending take.
    clock = Clock(60 * plan.minutes - 10)
    folder.mkdir(parents=True, exist_ok=True)
    prepare(plan.device)
    found = Found(folder, facts(plan.device))
    found.write()
    # A call that takes minutes is not to take the tables with it.
    timer = threading.Timer(60 * plan.minutes - 2, stop, (found,))
    timer.daemon = True
    timer.start()
    if tests:
        say("tests")
        # The blocks are to have the rest.
        found.tests = run_tests(plan.tests, folder, 0.4 * clock.left)
        found.write()
    base = nm.load_scenario("munich", progress=False)
    slow: set[tuple[str, str]] = set()
    for number, point in enumerate(plan.points):
        share = clock.left / (len(plan.points) - number)
        if share < 5:
            found.notes.append(f"{label(point)}: no time was left.")
            break
        try:
            measure(base, point, plan, Clock(min(share * 1.4, clock.left)), found, slow)
        except Exception as error:  # the other points are worth as much
            found.notes.append(f"{label(point)}: {_line(error)}")
        found.write()
        free()
    timer.cancel()
    found.facts["seconds"] = round(time.perf_counter() - clock.begin, 1)
    found.write()
    print(found.markdown(), flush=True)


def stop(found: Found) -> None:
    """End the process with what was found."""
    found.notes.append("The time was over in the middle of a call.")
    found.write()
    os._exit(0)


def prepare(device: str) -> None:
    """What holds for all that is run."""
    if plain_paths.install():
        say("DeepMIMO is not installed: the bundled paths are read without it")
    warnings.simplefilter("ignore", nm.NeuMatCWarning)
    torch.manual_seed(0)
    if torch.device(device).type == "cuda":
        torch.backends.cuda.preferred_linalg_library("cusolver")


# What is timed.


def measure(
    base: nm.Scenario,
    point: Point,
    plan: Plan,
    clock: Clock,
    found: Found,
    slow: set[tuple[str, str]],
) -> None:
    """All blocks at one point.

    :param slow: blocks and ways that took too long at a smaller point; increased
    """
    first = point == plan.points[0]
    scenario = chosen(base.with_model(**plan.model), point, every=first)
    say(f"{label(point)}: links")
    for links in (scenario.multi_user, scenario.single_user):
        assert links is not None and links.num_links == NUM_LINKS
    say(f"{label(point)}: training")
    model, trained = None, time.perf_counter()
    try:
        # Exact results and those of others are worth more than those of a model.
        late = clock.until(0.55 * clock.left)
        model = nm.train(scenario, device=plan.device, progress=False, callback=late)
        seconds = time.perf_counter() - trained
        found.notes.append(f"{label(point)}: {seconds:.1f} s to train {NUM_LINKS} links of a kind.")
    except Deadline:
        found.notes.append(f"{label(point)}: training took too long, nothing is queried.")
    except Exception as error:
        found.notes.append(f"{label(point)}: training failed, {_line(error)}")
    for kind in TASKS if first else _BASIC:
        if clock.left < 2:
            found.notes.append(f"{label(point)}, {kind.title}: no time was left.")
            continue
        try:
            links = getattr(scenario, kind.kind).to(plan.device)
            tasks = [kind(links, plan.slot, turn) for turn in range(NUM_LINKS)]
            found.rows += compared(tasks, point, model, plan, clock, found, slow)
        except Exception as error:
            found.notes.append(f"{label(point)}, {kind.title}: {_line(error)}")
        found.write()
        free()


def chosen(base: nm.Scenario, point: Point, *, every: bool) -> nm.Scenario:
    """The scenario of a point; trained for the operations of all blocks, or the basic ones."""
    scenario = point.scenario(base, NUM_LINKS)
    config = scenario.config
    assert config.multi_user is not None and config.single_user is not None
    # Few users have as many strong streams as the larger sizes ask for.
    one: dict[str, Any] = {"min_singular_ratio": 0.0}
    many: dict[str, Any] = {}
    if not every:
        one["operation"] = many["operation"] = ()
    changes = {
        "multi_user": config.multi_user.model_copy(update=many),
        "single_user": config.single_user.model_copy(update=one),
    }
    return scenario.with_config(config.model_copy(update=changes))


def compared(
    tasks: Sequence[Task],
    point: Point,
    model: nm.ScenarioModel | None,
    plan: Plan,
    clock: Clock,
    found: Found,
    slow: set[tuple[str, str]],
) -> list[dict[str, Any]]:
    """All ways to run one block, by turns, with another link at every call."""
    task = tasks[0]
    calls = ways(tasks, model)
    outputs: dict[str, Any] = {}
    times: dict[str, Spread] = {}
    for way in list(calls):
        place = f"{label(point)}, {task.title}, {way}"
        if (task.title, way) in slow or clock.left < 1:
            why = "no time was left" if clock.left < 1 else "it took long at the size before"
            found.notes.append(f"{place}: left out, {why}.")
            del calls[way]
            continue
        say(place)
        try:
            outputs[way], once = warm(calls[way], plan.device)
        except Exception as error:  # too little memory, or not on this device
            found.notes.append(f"{place}: {_line(error)}")
            del calls[way]
            free()
            continue
        if once > _ONCE:
            found.notes.append(f"{place}: a single call, the first one.")
            times[way] = Spread(once, once, once)
    often = {way: call for way, call in calls.items() if way not in times}
    options: dict[str, Any] = {"seconds": plan.seconds, "least": plan.least, "most": 5 * NUM_LINKS}
    if often:
        times |= side_by_side(often, device=plan.device, **options)
    slow |= {(task.title, way) for way, spread in times.items() if spread.median > _LONG}
    reference = task.reference()
    rows = []
    for way in calls:
        # Singular vectors have phases of their own, and a limit has matrices of any values.
        ours = way in _OURS or task.operation != "svd"
        apart = task.error_db(outputs[way], reference) if ours and way != LIMIT else _NO_ERROR
        exact = times[way].median / times[EXACT].median if EXACT in times else math.nan
        again = way in often
        rows.append(
            {
                "point": label(point),
                "block": task.title,
                "way": way,
                "ms": _milliseconds(times[way]),
                "over exact": _digits(exact),
                "waits": waits(calls[way], plan.device) if again else None,
                "error, dB": _digits(apart[0]),
                "worst, dB": _digits(apart[1]),
                "peak, MB": _digits(peak_bytes(calls[way], plan.device) / 1e6) if again else None,
            }
        )
    return rows


EXACT, UNLOOKED, QUERIED, NAMED = "exact", "exact, unlooked", "queried", "queried, named, unlooked"
LIBRARY, LIMIT = "torch.linalg, once a subcarrier", "limit"
# The exact block takes one of these two at each shape, whichever is faster.
KERNELS, PLAIN = "exact, by kernels", "exact, by PyTorch"
# Operations that Triton has kernels for.
_WITH_KERNELS = ("pseudo_inverse", "svd", "slnr", "wmmse", "max_min")
_OURS = (EXACT, KERNELS, PLAIN, UNLOOKED, QUERIED, NAMED)
_NO_ERROR = (math.nan, math.nan)


def ways(tasks: Sequence[Task], model: nm.ScenarioModel | None) -> dict[str, Call]:
    """Calls of a block with each link in turn, by what computes its matrices."""
    task = tasks[0]

    def ours(solver: nm.Solver, certify: str | None, named: bool = False) -> Call:
        block = task.block(solver, certify)
        calls = []
        for turn, other in enumerate(tasks):
            given = other.inputs()
            links = (torch.arange(len(other.h), device=other.device) + turn) % NUM_LINKS
            options = {"links": links} if named else {}
            calls.append(lambda given=given, options=options: block(*given, **options))
        return in_turn(calls)

    calls: dict[str, Call] = {EXACT: ours(nm.Exact(), "link")}
    if task.operation in _WITH_KERNELS:
        calls[KERNELS] = _always(True, ours(nm.Exact(), "link"))
        calls[PLAIN] = _always(False, ours(nm.Exact(), "link"))
    calls[UNLOOKED] = ours(nm.Exact(), None)
    if model is not None and task.operation in model.models:
        calls[QUERIED] = ours(model, "link")
        calls[NAMED] = ours(model, None, named=True)
    library = [call for other in tasks if (call := by_library(other)) is not None]
    if library:
        calls[LIBRARY] = in_turn(library)
    theirs = [call for other in tasks if (call := other.theirs()) is not None]
    if theirs:
        calls[task.theirs_title] = in_turn(theirs)
    # As each makes its matrices before: one for all turns.
    calls[LIMIT] = task.limit()
    return calls


def _always(kernel: bool, call: Call) -> Call:
    """A call that takes the kernels, or PyTorch's way, whatever that takes."""

    def taken() -> Any:
        with race.always(kernel):
            return call()

    return taken


def by_library(task: Task) -> Call | None:
    """PyTorch's linear algebra, on a GPU cuSOLVER's, once for each subcarrier, and products with
    its result from and to Sionna's layout; None where it has no such result.
    """
    if isinstance(task, ZeroForcing):
        return lambda: _zero_forcing(task)
    if isinstance(task, MMSE):
        return lambda: _mmse(task)
    if isinstance(task, Beamforming):
        return lambda: _beams(task)
    if isinstance(task, Combining):
        return lambda: _combined(task)
    return None


def _zero_forcing(task: Task) -> Tensor:
    x, h = task.inputs()
    a = h[:, :, 0, 0, :, 0].permute(0, 3, 1, 2).contiguous()
    w = torch.linalg.solve(a @ a.mH, a).mH
    return applied(normalised(w)[0], x[:, 0])[:, None]


def _mmse(task: Task) -> tuple[Tensor, Tensor]:
    y, h, _, no = task.inputs()
    a = h[:, 0, :, :, 0, 0].permute(0, 3, 2, 1).contiguous()  # [batch_size, fft_size, K, M]
    conjugate = a.conj().resolve_conj()
    loaded = conjugate @ a.mT + no * torch.eye(a.shape[2], dtype=a.dtype, device=a.device)
    w = torch.linalg.solve(loaded, conjugate)
    gain = (w * a).sum(-1).real
    x_hat = applied(w / gain[..., None], y[:, 0])
    return x_hat.flatten(2)[:, :, None], (1 / gain - 1).mT


def _beams(task: Task) -> Tensor:
    x, h = task.inputs()
    a = h[:, 0, :, 0, :, 0].permute(0, 3, 1, 2).contiguous()
    v = torch.linalg.svd(a, full_matrices=False).Vh.mH[..., : x.shape[2]]
    return applied(v, x[:, 0])[:, None]


def _combined(task: Task) -> tuple[Tensor, Tensor]:
    y, h, no = task.inputs()
    num = task.links.num_streams
    a = h[:, 0, :, 0, :, 0].permute(0, 3, 1, 2).contiguous()
    u, s, _ = torch.linalg.svd(a, full_matrices=False)
    u, s = u[..., :num], s[..., :num]
    return applied(u.mH / s[..., None], y[:, 0])[:, None].flatten(3), (no / s.square()).mT


def warm(call: Call, device: str) -> tuple[Any, float]:
    """The output with the first link, and the seconds that it took; after a call with each of the
    links, unless that would take long.
    """
    begin = time.perf_counter()
    output = call()
    synchronise(device)
    seconds = time.perf_counter() - begin
    if seconds < _ONCE:
        for _ in range(NUM_LINKS - 1):
            call()
        synchronise(device)
    return output, seconds


def waits(call: Call, device: str) -> int | None:
    """How often a call waits for the GPU, as PyTorch counts it; None on a CPU."""
    if torch.device(device).type != "cuda":
        call()
        return None
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            call()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing CUDA operation" in str(warning.message) for warning in warned)


def synchronise(device: str) -> None:
    """Wait for a GPU: what failed there is told here."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def free() -> None:
    """Give memory back that nothing needs."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


# Tests.


def run_tests(runs: Sequence[Sequence[str]], folder: Path, seconds: float) -> str:
    """Run the tests that need a CUDA device, and those of the kernels for one.

    What they print is written to ``tests.txt``.

    :param runs: arguments of pytest
    :param seconds: of all of them

    :return: how they ended
    """
    if metadata_of("pytest") is None:
        return "pytest is not installed"
    clock, log, told = Clock(seconds), b"", []
    # Other versions of PyTorch warn of other things.
    command = [sys.executable, "-m", "pytest", "-q", "--maxfail=40", "-rf", "-W", "default"]
    command += ["-p", "no:cacheprovider", "-p", "benchmarks.plain_paths"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for arguments in runs:
        limit, output = max(clock.left, 1.0), folder / "running.txt"
        try:
            with output.open("w") as file:
                done = subprocess.run(
                    [*command, *arguments],
                    cwd=ROOT,
                    env=environment,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    timeout=limit,
                )
            ended = f"ended with {done.returncode}"
        except subprocess.TimeoutExpired:
            ended = f"was stopped after {limit:.0f} s"
        except OSError as error:
            ended = f"did not start, {error}"
        printed = output.read_bytes()[-_LOG_BYTES:]
        output.unlink()
        log += printed
        lines = [line for line in printed.decode(errors="replace").splitlines() if line.strip()]
        told.append(f"{arguments[-1]} {ended}: {lines[-1] if lines else 'nothing was told'}")
    (folder / "tests.txt").write_bytes(log)
    return "; ".join(told)


# What is told.


@dataclass
class Found:
    """What was found so far.

    :param folder: where it is written
    :param facts: of the machine and its programs
    """

    folder: Path
    facts: dict[str, Any]
    tests: str = "not run"
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """The tables."""
        lines = ["# Blocks on a GPU", "", f"Tests: {self.tests}", ""]
        lines += [
            "Milliseconds of a call, median and quartiles, all ways by turns, another link at "
            "every call. Unlooked: `certify=None`, without proof or repair. Waits: "
            "synchronisations that PyTorch counts in a call. Error: of the symbols against the "
            "exact result in double precision. Limit: known matrices, applied.",
            "",
        ]
        blocks = dict.fromkeys((row["point"], row["block"]) for row in self.rows)
        for point, block in blocks:
            lines += [f"## {block}, {point}", ""]
            some = [row for row in self.rows if (row["point"], row["block"]) == (point, block)]
            lines += [*table([{k: v for k, v in row.items() if k not in _HEAD} for row in some])]
            lines += [""]
        lines += ["## Notes", "", *(f"- {note}" for note in self.notes), ""]
        lines += ["## Machine", "", *(f"- {key}: {value}" for key, value in self.facts.items())]
        return "\n".join(lines) + "\n"

    def write(self) -> None:
        """Write ``gpu.md`` and ``gpu.json``.

        :raises ValueError: if the folder has grown beyond 16 MB
        """
        data = {"facts": self.facts, "tests": self.tests, "rows": self.rows, "notes": self.notes}
        (self.folder / "gpu.json").write_text(json.dumps(data, indent=1))
        (self.folder / "gpu.md").write_text(self.markdown())
        size = sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())
        if size > _MAX_BYTES:
            raise ValueError(f"{self.folder} has {size} bytes, {_MAX_BYTES} are allowed.")


_HEAD = ("point", "block")


def facts(device: str) -> dict[str, Any]:
    """The machine and its programs."""
    found: dict[str, Any] = {
        "time": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: v for name in _PACKAGES if (v := metadata_of(name)) is not None},
        "commit": _output("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "matmul precision": torch.get_float32_matmul_precision(),
        "device": device,
    }
    if torch.device(device).type != "cuda":
        return found
    properties = torch.cuda.get_device_properties(device)
    query = ["--query-gpu=name,driver_version,clocks.sm,clocks.max.sm,power.limit", "--format=csv"]
    return found | {
        "device": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory, GB": round(properties.total_memory / 1e9, 1),
        "multiprocessors": properties.multi_processor_count,
        "CUDA of PyTorch": torch.version.cuda,
        "linear algebra": str(torch.backends.cuda.preferred_linalg_library()),
        "TF32 in products": torch.backends.cuda.matmul.allow_tf32,
        "nvidia-smi": _output("nvidia-smi", *query),
    }


def metadata_of(name: str) -> str | None:
    """The version of an installed package; None where it is not."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def label(point: Point) -> str:
    """A point as tables call it."""
    return f"{point.num_users} × {point.num_antennas}, {point.fft_size} subcarriers"


def say(text: str) -> None:
    """Tell on standard error how far it is."""
    print(text, file=sys.stderr, flush=True)


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"


def _line(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _milliseconds(spread: Spread) -> str:
    low, median, high = (_digits(1e3 * value) for value in (spread.low, spread.median, spread.high))
    return f"{median} [{low}, {high}]"


def _digits(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3g}"


if __name__ == "__main__":
    main()
