"""Every block beside Sionna's, its rivals and its limit, at one point and along each axis."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from neumatc_mimo.bench.bandwidth import copied_per_second
from neumatc_mimo.bench.tasks import Precoding, Slot, Task, tasks_of
from neumatc_mimo.bench.timing import Call, Spread, peak_bytes, side_by_side
from neumatc_mimo.bench.turns import Turns
from neumatc_mimo.model.scenario_model import ScenarioModel
from neumatc_mimo.operations import Dimensions
from neumatc_mimo.progress import Callback, Callbacks, reported, within
from neumatc_mimo.scenario import Scenario, ScenarioConfig
from neumatc_mimo.scenario.links import LinkKind
from neumatc_mimo.solvers import Auto, Cached, Exact, Spline
from neumatc_mimo.solvers.auto import FIRST_CALLS
from neumatc_mimo.solvers.base import Solver
from neumatc_mimo.training.scenario import train

LIMIT = "limit"
_ALONE = ", alone"
# Of those that a spline may take the one that is fastest when all it answers is proven.
SPLINE_SAMPLES = (128, 256, 512)
_AGAIN = ", again"
# Links that a model of a point has: another one for each turn, or as many as the time allows.
_LINKS, _FEWEST_LINKS = 8, 2
# Entries of all their inverses: some ten seconds of training on two cores.
_MOST_ENTRIES = 2**25


@dataclass(frozen=True)
class Point:
    """Where blocks are compared; the default is the bundled scenario's point.

    :param num_users: K, users of a group
    :param num_antennas: M, of the base station
    :param fft_size: subcarriers; they share the scenario's band, whatever their number
    :param bs: array of the base station, rows and columns; None is as square as M antennas can be
    :param ue: array of the single user; None is K antennas in a line
    :param num_streams: of the single user; None is half its antennas, eight at most
    :param slot: OFDM symbols, batch size and precision
    :param num_links: that the model knows; None is one for each of eight slots in turn, fewer where
        their training would take long
    :param width: functions of its trunk; None is the scenario's, or where users or antennas are
        others chosen for them
    """

    num_users: int = 8
    num_antennas: int = 64
    fft_size: int = 3276
    bs: tuple[int, int] | None = None
    ue: tuple[int, int] | None = None
    num_streams: int | None = None
    slot: Slot = field(default_factory=Slot)
    num_links: int | None = None
    width: int | None = None

    @property
    def label(self) -> str:
        """As tables call it."""
        slot = self.slot
        parts = [f"{self.num_users} × {self.num_antennas}", f"{self.fft_size} subcarriers"]
        parts += [f"{slot.num_ofdm_symbols} symbols", f"batch {slot.batch_size}", slot.precision]
        parts += [] if self.ue is None else [f"user of {self.ue[0]} × {self.ue[1]}"]
        parts += ["h_eff"] if slot.return_effective_channel else []
        parts += [] if self.num_links is None else [f"{self.num_links} links"]
        parts += [] if self.width is None else [f"{self.width} units"]
        return ", ".join(parts)

    @classmethod
    def of(cls, scenario: Scenario) -> Point:
        """That of a scenario's own links."""
        config = scenario.config
        many, one = config.multi_user, config.single_user
        own: dict[str, Any] = {}
        if one is not None:
            own = {"ue": tuple(one.ue), "num_streams": one.num_streams}
        if many is not None:
            own["num_users"] = many.users_per_link
        bs = config.array.bs
        return cls(num_antennas=math.prod(bs), fft_size=config.grid.fft_size, bs=bs, **own)

    @property
    def num_matrices(self) -> int:
        """Exact results of a slot."""
        return self.slot.batch_size * self.fft_size

    @property
    def streams(self) -> int:
        """Streams of the single user."""
        return self.num_streams or min(max(math.prod(self.user) // 2, 1), 8)

    @property
    def user(self) -> tuple[int, int]:
        """Array of the single user."""
        return self.ue or (self.num_users, 1)

    def scenario(self, base: Scenario, num_links: int) -> Scenario:
        """The links of the point, from the data of a scenario."""
        config = base.config
        band = config.grid.fft_size * config.grid.subcarrier_spacing
        changes: dict[str, Any] = {
            "array": config.array.model_copy(update={"bs": self.bs or _array(self.num_antennas)}),
            "grid": config.grid.model_copy(
                update={"fft_size": self.fft_size, "subcarrier_spacing": band / self.fft_size}
            ),
        }
        # Sizes in a file suit its own users and antennas.
        model = {} if self._is_of(config) else dict.fromkeys(("width", "samples", "collocation"))
        if self.width is not None:
            model["width"] = self.width
        changes["model"] = config.model.model_copy(update=model)
        if config.multi_user is not None:
            update: dict[str, Any] = {
                "users_per_link": self.num_users,
                "num_links": num_links,
            }
            antennas = math.prod(config.multi_user.ue)
            sizes = Dimensions(self.num_users * antennas, self.num_antennas, antennas)
            update |= self._trained(config, "multi_user", sizes)
            if self.num_users > config.multi_user.users_per_link:
                # Large groups are badly conditioned: take any.
                update["max_condition"] = math.inf
            changes["multi_user"] = config.multi_user.model_copy(update=update)
        if config.single_user is not None:
            user: dict[str, Any] = {"ue": self.user, "num_streams": self.streams}
            user |= {"num_links": num_links}
            antennas = math.prod(self.user)
            sizes = Dimensions(antennas, self.num_antennas, antennas, self.streams)
            user |= self._trained(config, "single_user", sizes)
            changes["single_user"] = config.single_user.model_copy(update=user)
        return base.with_config(config.model_copy(update=changes))

    def _is_of(self, config: ScenarioConfig) -> bool:
        """Whether it has the users and antennas of a scenario file."""
        many = config.multi_user
        users = self.num_users if many is None else many.users_per_link
        return (self.num_users, self.num_antennas) == (users, math.prod(config.array.bs))

    def _trained(self, config: ScenarioConfig, kind: LinkKind, sizes: Dimensions) -> dict[str, Any]:
        """Keys of links that ask for the operations of all blocks that suit the point."""
        suited = [
            task.config
            for task in tasks_of(config)
            if task.kind == kind
            and issubclass(task, Precoding)
            and task.suits(sizes, self.num_matrices)
        ]
        section = type(getattr(config, kind))
        older = {key: section.model_fields[key].default for key in section.older}
        return {"operation": tuple(suited), **older}


@dataclass(frozen=True)
class Row:
    """One way to run one block at one point.

    :param point: label of the point
    :param block: the block
    :param way: "Sionna", "exact", "queried", …, "limit"
    :param milliseconds: of a call with other links than the one before
    :param again: of a call with the same links and other symbols
    :param once: Sionna's time over that of our exact block: once a subcarrier instead of a symbol
    :param query: our exact block's time over that of this row: a query instead of a computation
    :param over_limit: this row's time over the limit's
    :param bandwidth: milliseconds that the memory takes for what any way has to read and write:
        symbols, a channel of one OFDM symbol, and results, at the speed of a copy
    :param error_db: relative error of the symbols, median over subcarriers
    :param worst_db: the largest of them
    :param state_bytes: what is kept between calls
    :param peak_bytes: held during a call beside its inputs, the result included
    :param repaid: slots until training has cost less than exact results would have; infinite where
        a query is no faster
    :param alone: milliseconds of the solver's answers, without what the block does with them
    :param training: seconds a link
    :param hindsight: of ``nm.Auto``, this row's time over the smaller of exact and queried
    """

    point: str
    block: str
    way: str
    milliseconds: Spread
    once: float | None
    query: float
    over_limit: float
    error_db: float | None
    worst_db: float | None
    state_bytes: int
    peak_bytes: int
    repaid: float | None
    again: Spread | None = None
    alone: Spread | None = None
    training: float | None = None
    hindsight: float | None = None
    bandwidth: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def to_table(self) -> dict[str, Any]:
        """As a line of a table."""
        return {
            "point": self.point,
            "block": self.block,
            "way": self.way,
            "ms": str(self.milliseconds),
            "same link again, ms": None if self.again is None else str(self.again),
            "once × query": None if self.once is None else f"{self.once:.3g} × {self.query:.3g}",
            "to exact": f"{self.query:.3g}",
            "over limit": f"{self.over_limit:.3g}",
            "bandwidth, ms": None if self.bandwidth is None else f"{self.bandwidth:.3g}",
            "alone, ms": None if self.alone is None else str(self.alone),
            "error, dB": _rounded(self.error_db),
            "worst, dB": _rounded(self.worst_db),
            "state, MB": f"{self.state_bytes / 1e6:.3g}",
            "peak, MB": f"{self.peak_bytes / 1e6:.3g}",
            "repaid after": None if self.repaid is None else f"{self.repaid:.3g}",
            "to the better": None if self.hindsight is None else f"{self.hindsight:.3g}",
        }


def axes(base: Point) -> dict[str, list[Point]]:
    """From a point one size at a time; most axes hold the point, too.

    Where the number of users varies, the single user has as many antennas.
    """

    def slots(**values: Sequence[Any]) -> list[Point]:
        ((name, choices),) = values.items()
        return [replace(base, slot=replace(base.slot, **{name: choice})) for choice in choices]

    def sizes(users: Sequence[int], antennas: Sequence[int]) -> list[Point]:
        plain = replace(base, bs=None, ue=None, num_streams=None)
        return [replace(plain, num_users=k, num_antennas=m) for k in users for m in antennas]

    return {
        "K, M = 64": sizes((2, 4, 8, 16), (64,)),
        # More users ask for more antennas than most scenarios have.
        "K, M = 256": sizes((8, 16, 32, 64), (256,)),
        "M": sizes((base.num_users,), (16, 32, 64, 128, 256)),
        "subcarriers": [replace(base, fft_size=f) for f in (256, 1024, 3276, 13104, 65520)],
        "OFDM symbols": slots(num_ofdm_symbols=(1, 4, 14, 28)),
        "batch size": slots(batch_size=(1, 4, 16, 64)),
        "precision": slots(precision=("single", "double")),
        "effective channel": slots(return_effective_channel=(False, True)),
        "links": [replace(base, num_links=n) for n in (1, 4, 16)],
        "basis": [replace(base, width=n) for n in (250, 500, 1000, 2000)],
    }


def along(axis: str, point: Point) -> Any:
    """Where on an axis a point lies."""
    if axis.startswith("K"):
        return point.num_users
    slot = point.slot
    return {
        "M": point.num_antennas,
        "subcarriers": point.fft_size,
        "OFDM symbols": slot.num_ofdm_symbols,
        "batch size": slot.batch_size,
        "precision": slot.precision,
        "effective channel": slot.return_effective_channel,
        "links": point.num_links,
        "basis": point.width,
    }[axis]


@torch.no_grad()
def at_point(
    scenario: Scenario,
    point: Point,
    model: ScenarioModel | None = None,
    *,
    tasks: Sequence[type[Task]] | None = None,
    device: str = "cpu",
    seconds: float = 1.5,
    theirs: bool = True,
    spline_samples: Sequence[int] = SPLINE_SAMPLES,
    rivals: Mapping[str, Solver] | None = None,
    ways: Collection[str] | None = None,
    callback: Callbacks = None,
) -> Iterator[Row]:
    """Run all blocks at one point, each in all ways, on the same inputs.

    Slots take turns, so that each call gets other links than the one before, see
    :class:`~neumatc_mimo.bench.turns.Turns`. A model computes and keeps the repairs of a link in
    the link's first call, which is not timed.

    :param scenario: whose links have the sizes of the point
    :param point: the sizes
    :param model: of the scenario, or None
    :param tasks: the blocks; None for all, and those of the other operations that the scenario
        trains
    :param device: where everything runs
    :param seconds: of repetitions for each way
    :param theirs: whether to time Sionna's way, where it fits into memory
    :param spline_samples: of which a spline may take the number that makes it fastest; none of it
        without any
    :param rivals: other solvers by the names of their ways, each call of which is proven
    :param ways: of ours, beside the exact one and rivals; None for all, and for the times of their
        answers alone and of the same link again
    :param callback: called for each way to run each block
    """
    speed = copied_per_second(device)
    with reported(callback) as tell:
        for kind in tasks_of(scenario.config) if tasks is None else tasks:
            links = getattr(scenario, kind.kind)
            if links is not None and kind.suits(links.dimensions, point.num_matrices):
                turns = Turns(kind, links.to(device), point.slot)
                splines = [n for n in spline_samples if n <= point.fft_size // 2]
                if spline_samples and not splines:
                    splines = [max(point.fft_size // 4, 4)]
                others = {f"spline, {n} samples": Spline(n) for n in splines} | dict(rivals or {})
                told = within(f"{point.label}: {kind.title}", tell)
                yield from _compared(
                    turns, point, model, seconds, theirs, others, ways, speed, told
                )


def learned(
    base: Scenario, point: Point, device: str = "cpu", callback: Callbacks = None
) -> tuple[Scenario, ScenarioModel]:
    """A scenario of a point's sizes, and its model; a link for each slot in turn, or fewer where
    their training would take long.
    """
    scenario = point.scenario(base, point.num_links or few_links(point))
    return scenario, train(scenario, device=device, progress=False, callback=callback)


def few_links(point: Point) -> int:
    """Links for slots that take turns, fewer where their training would take long."""
    entries = point.num_users * point.num_antennas * point.fft_size
    return min(_LINKS, max(_FEWEST_LINKS, _MOST_ENTRIES // entries))


def _compared(
    turns: Turns,
    point: Point,
    model: ScenarioModel | None,
    seconds: float,
    theirs: bool,
    rivals: Mapping[str, Solver],
    wanted: Collection[str] | None,
    speed: float,
    tell: Callback,
) -> list[Row]:
    """All ways to run one block."""
    task = turns.first
    solvers: dict[str, tuple[Solver, str | None]] = {"exact": (Exact(), "link")}
    # Else there is nothing to keep, and nothing to interpolate.
    asked = task.asks_solver and task.queries
    if asked:
        solvers["exact, cached"] = (Cached(Exact()), "link")
        solvers |= {way: (solver, "call") for way, solver in rivals.items()}
    training = {}
    auto = None
    if asked and model is not None and task.operation in model.models:
        solvers["queried"] = (model, "link")
        solvers["queried, proven a call"] = (model, "call")
        part = model.models[task.operation]
        training["queried"] = part.training["seconds_per_link"]
        auto = Auto(model)
        solvers["auto"] = (auto, "link")
    if wanted is not None:
        asked_for = {"exact", *rivals, *wanted}
        solvers = {way: solver for way, solver in solvers.items() if way in asked_for}
    every = wanted is None
    calls: dict[str, Call] = {LIMIT: turns.limit()}
    calls |= {way: turns.ours(solver, certify) for way, (solver, certify) in solvers.items()}
    calls |= {
        f"{way}{_ALONE}": turns.alone(solvers[way][0])
        for way in ("exact", "queried")
        if every and way in solvers
    }
    calls |= {
        f"{way}{_AGAIN}": task.ours(_with_own_memory(solvers[way][0]), solvers[way][1])
        for way in ("exact", "exact, cached", "queried")
        if every and way in solvers
    }
    # What a model repairs of a link it keeps from the link's first call on.
    for _ in range(turns.num if "queried" in calls else 0):
        calls["queried"]()
    if auto is not None and "auto" in solvers:
        # It times both ways on its first calls.
        for _ in range(2 * (auto.num_trials + 1) + FIRST_CALLS):
            calls["auto"]()
    # What Sionna's way gave on the first slot: it takes too long to be run again for its error.
    outputs: dict[str, Any] = {}
    other = turns.theirs(_keeping(outputs)) if theirs and task.suits_theirs else None
    if other is not None:
        calls[task.theirs_title] = other
    times = side_by_side(calls, seconds=seconds, device=task.device, callback=tell)
    interpolated = [way for way in times if way.startswith("spline")]
    kept = min(interpolated, key=lambda way: times[way].median, default=None)
    better = min(times[way].median for way in ("exact", "queried") if way in times)
    reference = task.reference()
    bandwidth = 1e3 * task.bytes_moved(task.ours(Exact())()) / speed
    rows = []
    for way in reversed(times):
        if (way in interpolated and way != kept) or way.endswith((_ALONE, _AGAIN)):
            continue
        median, worst = None, None
        # The limit applies what is known, and an SVD of one's own has a gauge of its own.
        if way in solvers:
            median, worst = task.error_db(task.ours(*solvers[way])(), reference)
        elif way == "Sionna" and task.kind == "multi_user":
            median, worst = task.error_db(outputs["first"], reference)
        once = times[task.theirs_title].median if task.theirs_title in times else None
        exact, mine = times["exact"].median, times[way].median
        alone, again = times.get(f"{way}{_ALONE}"), times.get(f"{way}{_AGAIN}")
        cost = training.get(way)
        repaid = None
        if cost is not None:
            repaid = cost * task.slot.batch_size / (exact - mine) if mine < exact else math.inf
        rows.append(
            Row(
                point=point.label,
                block=task.title,
                way=way,
                milliseconds=times[way].times(1e3),
                once=None if once is None else once / exact,
                query=exact / mine,
                over_limit=mine / times[LIMIT].median,
                error_db=median,
                worst_db=worst,
                state_bytes=_state(way, solvers, task),
                peak_bytes=peak_bytes(calls[way], task.device) if way in solvers else 0,
                repaid=repaid,
                again=None if again is None else again.times(1e3),
                alone=None if alone is None else alone.times(1e3),
                training=cost,
                hindsight=mine / better if way == "auto" else None,
                bandwidth=bandwidth,
            )
        )
    return rows


def _keeping(outputs: dict[str, Any]) -> Callable[[Call], Call]:
    """A call that keeps what it gave first."""

    def kept(call: Call) -> Call:
        return lambda: outputs.setdefault("first", call())

    return kept


def _with_own_memory(solver: Solver) -> Solver:
    """The same solver, which knows nothing of the other's calls."""
    if isinstance(solver, ScenarioModel):
        models = {name: replace(part) for name, part in solver.models.items()}
        return replace(solver, models=models)
    return copy.copy(solver)


def _state(way: str, solvers: dict[str, tuple[Solver, str | None]], task: Task) -> int:
    """Bytes that stay between calls."""
    if way not in solvers:
        return 0
    solver = solvers[way][0]
    if isinstance(solver, Cached):
        return solver.num_bytes
    if isinstance(solver, ScenarioModel):
        part = solver.models[task.operation]
        return (
            part.num_bytes // part.links.num_links * min(task.slot.batch_size, task.links.num_links)
        )
    return 0


def _array(num_antennas: int) -> tuple[int, int]:
    """A planar array, as square as it can be."""
    short = next(n for n in range(math.isqrt(num_antennas), 0, -1) if num_antennas % n == 0)
    return num_antennas // short, short


def _rounded(value: float | None) -> str | None:
    return None if value is None else f"{value:.0f}"


__all__ = [
    "SPLINE_SAMPLES",
    "Point",
    "Row",
    "along",
    "at_point",
    "axes",
    "few_links",
    "learned",
]
