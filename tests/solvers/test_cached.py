"""Kept answers: for whom they are, for whom not, and what of a call may stay."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks import MMSEEqualizer, SVDCombiner, ZFPrecoder
from neumatc_mimo.operations import SVD, Operation, PseudoInverse, Tolerance
from neumatc_mimo.solvers import (
    Adapted,
    Answers,
    Auto,
    Cached,
    Channels,
    Counts,
    Exact,
    Solver,
    Spline,
)
from neumatc_mimo.solvers.delegating import Delegating

FREQUENCIES = torch.arange(60, dtype=torch.float64)
TILES = (slice(0, 40), slice(40, 60))
EXACT = Exact()


def matrices(seed: int = 0, num_items: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_items, 60, 3, 5, dtype=torch.complex128, generator=generator)


def given(a: Tensor, **others: Any) -> Channels:
    return Channels(a, FREQUENCIES, **others)


def answered(solver: Solver, channels: Channels, operation: Operation | None = None) -> Any:
    """Results on the whole grid, asked for as a block does."""
    operation = operation or PseudoInverse()
    answers = solver.start(operation, channels)
    parts = [operation.results(answers.tile(tile)) for tile in TILES]
    answers.finish()
    return tuple(torch.cat(part, 1) for part in zip(*parts, strict=True))


def counted(solver: Solver, channels: Channels) -> Counts:
    answers = solver.start(PseudoInverse(), channels)
    for tile in TILES:
        answers.tile(tile)
    answers.finish()
    return answers.counts


class Counting(Solver):
    """Another solver, which counts its calls."""

    def __init__(self, inner: Solver = EXACT) -> None:
        self.calls, self.inner = 0, inner

    def start(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
    ) -> Answers:
        self.calls += 1
        return self.inner.start(operation, channels, certify, tolerance)


class Knowing(Counting):
    """A solver of links that turn with time, and which finds all but one of the items."""

    @property
    def knows_links(self) -> bool:
        return True

    def start(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
    ) -> Answers:
        counts, num_items = Counts(), len(channels.a)
        if channels.trusted:
            counts.links_trusted = num_items
            assert channels.links is not None
            turn = torch.polar(channels.links + 1.0, torch.full((num_items,), channels.time))
            own = matrices(9, num_items) * turn[:, None, None, None]
            channels = replace(channels, a=own)
        else:
            counts = Counts(links_recalled=num_items - 1, links_unknown=1)
        return Told(super().start(operation, channels, certify, tolerance), counts)


class Told(Delegating):
    """Answers with counts of links."""

    def __init__(self, inner: Answers, links: Counts) -> None:
        super().__init__(inner)
        self._links = links

    @property
    def counts(self) -> Counts:
        total = replace(self._links)
        total.add(self._inner.counts)
        return total


def tensors_of(value: Any, seen: set[int] | None = None) -> Iterator[Tensor]:
    """All tensors that an object holds, at any depth."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from tensors_of(one, seen)
    elif isinstance(value, list | tuple) or type(value).__name__ == "deque":
        for one in value:
            yield from tensors_of(one, seen)
    elif hasattr(value, "__dict__"):
        yield from tensors_of(vars(value), seen)


# For whom answers are


@pytest.mark.parametrize("operation", [PseudoInverse(), SVD(2)], ids=lambda o: o.name)
def test_the_same_channels_are_answered_again(operation: Operation) -> None:
    inner = Counting()
    solver, a = Cached(inner, num_calls=2), matrices()
    first = answered(solver, given(a), operation)
    again = answered(solver, given(a.clone()), operation)
    assert inner.calls == 1
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one, other)
    assert solver.num_bytes >= a.nbytes
    solver.clear()
    assert solver.num_bytes == 0
    answered(solver, given(a), operation)
    assert inner.calls == 2


def test_the_oldest_are_forgotten() -> None:
    inner = Counting()
    solver = Cached(inner, num_calls=2)
    for seed in (0, 1, 2, 2, 1, 0):
        answered(solver, given(matrices(seed)))
    assert inner.calls == 4


def as_the_caller_has_it(a: Tensor) -> Tensor:
    """The same matrices as a view of a slot, subcarriers last in memory."""
    slot = torch.zeros(*a.shape[:1], *a.shape[2:], 4, a.shape[1], dtype=a.dtype)
    slot[..., 2, :] = a.permute(0, 2, 3, 1)
    return slot[..., 2, :].permute(0, 3, 1, 2)


def test_the_memory_of_a_channel_does_not_matter() -> None:
    inner = Counting()
    solver, a = Cached(inner), matrices(num_items=2)
    first = answered(solver, given(as_the_caller_has_it(a)))
    (kept,) = solver._kept
    # Dense, and in the caller's order.
    assert kept.asked.channels.a.stride() == (900, 1, 300, 60)
    for same in (as_the_caller_has_it(a), a, a.conj().resolve_conj().conj()):
        for one, other in zip(first, answered(solver, given(same)), strict=True):
            assert torch.equal(one, other)
    assert inner.calls == 1


@pytest.mark.parametrize("where", [(0, 0, 0, 0), (0, 17, 1, 2), (0, 59, 2, 4)])
def test_any_entry_of_a_channel_makes_another_one(where: tuple[int, ...]) -> None:
    inner = Counting()
    solver, a = Cached(inner), matrices()
    answered(solver, given(a))
    a = a.clone()
    a[where] += 1e-12
    (found, *_) = answered(solver, given(a))
    assert inner.calls == 2
    assert torch.equal(found, answered(EXACT, given(a))[0])


NO = torch.tensor([0.1], dtype=torch.float64)
LINKS = torch.tensor([3])
CHANGES: dict[str, Callable[[Channels], Channels]] = {
    "channel": lambda c: replace(c, a=matrices(1)),
    "items": lambda c: replace(c, a=matrices(0, 2)),
    "precision": lambda c: replace(c, a=c.a.to(torch.complex64)),
    "frequencies": lambda c: replace(c, frequencies=c.frequencies + 1),
    "no noise": lambda c: replace(c, no=None),
    "noise": lambda c: replace(c, no=2 * NO),
    "noise over frequency": lambda c: replace(c, no=NO.expand(1, 60)),
    "no links": lambda c: replace(c, links=None),
    "links": lambda c: replace(c, links=LINKS + 1),
    "time": lambda c: replace(c, time=1e-3),
    "products": lambda c: replace(c, products=True),
    "trusted": lambda c: replace(c, trusted=True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_a_call_asks_differently_is_computed(change: str) -> None:
    inner = Counting(Knowing())
    solver, first = Cached(inner), given(matrices(), no=NO, links=LINKS)
    answered(solver, first)
    answered(solver, first)
    assert inner.calls == 1
    changed = CHANGES[change](first)
    for one, other in zip(answered(solver, changed), answered(inner, changed), strict=True):
        torch.testing.assert_close(one, other)
    assert inner.calls == 3


def test_operations_and_proofs_are_told_apart() -> None:
    inner = Counting()
    solver, channels = Cached(inner, num_calls=10), given(matrices())
    kinds: list[tuple[Any, ...]] = [
        (PseudoInverse(),),
        (SVD(1),),
        (SVD(2),),
        (SVD(2, unused="v"),),
        (PseudoInverse(), "call"),
        (PseudoInverse(), None),
        (PseudoInverse(), "call", Tolerance(50.0)),
    ]
    for _ in range(2):
        for kind in kinds:
            solver.start(kind[0], channels, *kind[1:])
    assert inner.calls == len(kinds)


def test_the_time_of_trusted_links_counts() -> None:
    solver = Cached(Knowing(), num_calls=2)
    for time in (0.0, 1.0, 0.0):
        channels = given(matrices(), links=LINKS, trusted=True, time=time)
        for one, other in zip(
            answered(solver, channels), answered(Knowing(), channels), strict=True
        ):
            torch.testing.assert_close(one, other)


def test_links_that_are_changed_in_place_are_others() -> None:
    links = np.array([0])
    solver = Cached(Knowing(), num_calls=2)
    for link in (0, 1, 0):
        links[:] = link
        channels = given(matrices(), links=torch.as_tensor(links), trusted=True)
        torch.testing.assert_close(answered(solver, channels), answered(Knowing(), channels))


def test_a_channel_and_noise_that_are_written_to_in_place_are_others() -> None:
    inner = Counting()
    solver, a, no = Cached(inner), matrices(), NO.clone()
    for change in (lambda: a.mul_(1j), lambda: no.mul_(2), lambda: a[0, 30].mul_(2)):
        answered(solver, given(a, no=no))
        change()
        found, expected = answered(solver, given(a, no=no)), answered(EXACT, given(a, no=no))
        torch.testing.assert_close(found, expected)


def test_of_trusted_links_the_channel_does_not_matter() -> None:
    inner = Counting(Knowing())
    solver = Cached(inner)
    first = answered(solver, given(matrices(0), links=LINKS, trusted=True))
    again = answered(solver, given(matrices(1), links=LINKS, trusted=True))
    assert inner.calls == 1 and torch.equal(first[0], again[0])


# What is not finite


def test_a_subcarrier_of_nan_is_computed_not_served() -> None:
    solver, a = Cached(EXACT), matrices()
    (clean, *_) = answered(solver, given(a))
    for _ in range(2):
        spoilt = a.clone()
        spoilt[0, 23] = torch.nan
        (found, *_) = answered(solver, given(spoilt))
        wrong = ~torch.isfinite(found).flatten(2).all(-1)
        assert wrong.nonzero().tolist() == [[0, 23]]
    assert torch.equal(answered(solver, given(a))[0], clean)


def slot(num: int, users: int) -> tuple[ResourceGrid, StreamManagement, Tensor, Tensor]:
    grid = ResourceGrid(2, num, 30e3, num_tx=1, num_streams_per_tx=users)
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(2, users, 1, 1, 4, 1, num, dtype=torch.complex64, generator=generator)
    h = h.expand(-1, -1, -1, -1, -1, 2, -1)
    x = torch.randn(2, 1, users, 2, num, dtype=torch.complex64, generator=generator)
    return grid, StreamManagement(np.ones([users, 1]), users), x, h


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_call_that_a_block_refuses_spoils_no_later_one(value: float) -> None:
    grid, streams, x, h = slot(200, 3)
    expected = ZFPrecoder(grid, streams, Cached(EXACT))(x, h)
    spoilt = h.clone()
    spoilt[1, 2, 0, 0, 1, :, 137] = value
    block = ZFPrecoder(grid, streams, Cached(EXACT))
    for _ in range(2):
        with pytest.raises(ValueError, match="The channel has NaN or infinite entries"):
            block(x, spoilt)
        assert torch.equal(block(x, h), expected)
        assert torch.equal(block(x, h), expected)


# How they came about


def test_answers_that_are_served_again_cost_no_subcarrier() -> None:
    solver, channels = Cached(EXACT), given(matrices(num_items=3))
    assert counted(solver, channels) == Counts(exact=180)
    assert counted(solver, channels) == Counts(links_recalled=3)


def test_strangers_stay_strangers() -> None:
    solver, channels = Cached(Knowing()), given(matrices(num_items=3))
    assert counted(solver, channels) == Counts(links_recalled=2, links_unknown=1, exact=180)
    for _ in range(2):
        assert counted(solver, channels) == Counts(links_recalled=2, links_unknown=1)
    trusted = replace(channels, links=torch.arange(3), trusted=True)
    assert counted(solver, trusted) == Counts(links_trusted=3, exact=180)
    assert counted(solver, trusted) == Counts(links_trusted=3)


def test_a_block_counts_and_tells_of_strangers_at_every_call() -> None:
    grid, streams, x, h = slot(60, 3)

    class Strangers(Counting):
        def start(self, *arguments: Any, **options: Any) -> Answers:
            return Told(super().start(*arguments, **options), Counts(links_unknown=2))

    block = ZFPrecoder(grid, streams, Cached(Strangers()))
    with pytest.warns(UserWarning, match="computed 2 of 2 links exactly"):
        block(x, h)
    block(x, h)
    assert block.stats == Counts(links_unknown=4, exact=120)


def test_what_an_earlier_call_left_out_is_computed_and_counted() -> None:
    solver, channels = Cached(EXACT), given(matrices())
    solver.start(PseudoInverse(), channels).tile(TILES[0])
    answers = solver.start(PseudoInverse(), channels)
    for tile in TILES:
        answers.tile(tile)
    assert answers.counts == Counts(links_recalled=1, exact=20)


def test_auto_learns_inside() -> None:
    inner = Auto(Counting(), num_trials=2)
    solver = Cached(inner)
    for seed in range(8):
        for _ in range(2):
            answered(solver, given(matrices(seed)))
    (trials,) = inner._trials.values()
    # Timed once for each channel: what is served again tells nothing of a way's speed.
    assert [len(times) for times in trials.seconds.values()] == [3, 3]


# What is derived from them


def test_what_a_block_derives_is_kept_with_them() -> None:
    solver, a = Cached(EXACT), matrices()
    made: list[Tensor] = []

    def make(matrices: Tensor) -> Tensor:
        made.append(matrices)
        return matrices.abs().sum()

    for _ in range(2):
        answers = solver.start(PseudoInverse(), given(a))
        for tile in (*TILES, TILES[0]):
            derived = answers.keep("of a test", tile, make, a)
            torch.testing.assert_close(derived, a[:, tile].abs().sum())
    assert len(made) == 2
    solver.start(PseudoInverse(), given(matrices(1))).keep("of a test", TILES[0], make, a)
    assert len(made) == 3


@pytest.mark.parametrize("seed", [0, 1])
def test_a_combiner_gets_the_same_again(seed: int) -> None:
    grid = ResourceGrid(2, 60, 30e3, num_tx=2, num_streams_per_tx=2)
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(1, 2, 3, 2, 4, 2, 60, dtype=torch.complex64, generator=generator)
    y = torch.randn(1, 2, 3, 2, 60, dtype=torch.complex64, generator=generator)
    streams = StreamManagement(np.eye(2), 2)
    expected = SVDCombiner(grid, streams, EXACT)(y, h, 0.1)
    block = SVDCombiner(grid, streams, Cached(EXACT, num_calls=8))
    for _ in range(2):
        for one, other in zip(block(y, h, 0.1), expected, strict=True):
            assert torch.equal(one, other)


# What of a call may stay


SOLVERS: dict[str, Solver] = {"exact": EXACT, "spline": Spline(30), "adapted": Adapted(spacing=3)}


@pytest.mark.parametrize("inner", SOLVERS)
def test_nothing_of_the_caller_is_kept(inner: str) -> None:
    solver = Cached(SOLVERS[inner])
    a, no, links = matrices(), NO.clone(), LINKS.clone()
    own = [weakref.ref(t) for t in (a, no, links)]
    places = {t.untyped_storage().data_ptr() for t in (a, no, links)}
    answered(solver, given(a, no=no, links=links))
    kept = list(tensors_of([solver._kept[0].asked, solver._kept[0].tiles]))
    assert len(kept) >= 5
    assert not places & {t.untyped_storage().data_ptr() for t in kept}
    del a, no, links
    gc.collect()
    assert [ref() for ref in own] == [None] * 3


@pytest.mark.parametrize("inner", SOLVERS)
def test_a_channel_that_requires_a_gradient_leaves_none_behind(inner: str) -> None:
    solver, a = Cached(SOLVERS[inner]), matrices()
    asked = a.clone().requires_grad_()
    (expected,) = torch.autograd.grad(answered(SOLVERS[inner], given(asked))[0].abs().sum(), asked)
    # Before and after the same channel is kept, and each of them more than once.
    for _ in range(2):
        for _ in range(2):
            loss = answered(solver, given(asked))[0].abs().sum()
            (found,) = torch.autograd.grad(loss, asked)
            torch.testing.assert_close(found, expected)
        (plain, *_) = answered(solver, given(a))
        assert not plain.requires_grad
        with torch.no_grad():
            (plain, *_) = answered(solver, given(asked))
        assert not plain.requires_grad
    assert not any(t.requires_grad for t in tensors_of(list(solver._kept)))


def test_noise_that_requires_a_gradient_gets_it() -> None:
    solver, a = Cached(EXACT), matrices()
    no = NO.clone().requires_grad_()
    gradients = []
    for way in (EXACT, solver, solver):
        (w, *_) = answered(way, given(a, no=no))
        gradients.append(torch.autograd.grad(w.abs().sum(), no)[0])
        answered(solver, given(a, no=no.detach()))
    assert torch.equal(gradients[0], gradients[1]) and torch.equal(gradients[0], gradients[2])


# PyTorch derives its forward derivatives by scripts.
def test_tangents_pass() -> None:
    solver, a = Cached(EXACT), matrices()
    answered(solver, given(a))

    def slope(solver: Solver) -> Tensor:
        found: Tensor = torch.func.jvp(lambda a: answered(solver, given(a))[0], (a,), (a,))[1]
        return found

    assert slope(EXACT).abs().max() > 0
    assert torch.equal(slope(solver), slope(EXACT))


def test_kept_answers_serve_a_gradient_of_what_they_are_applied_to() -> None:
    grid, streams, x, h = slot(60, 3)
    block = ZFPrecoder(grid, streams, Cached(EXACT))
    with torch.inference_mode():
        block(x, h)
    gradients = []
    for precoder in (ZFPrecoder(grid, streams, EXACT), block, block):
        sent = x.clone().requires_grad_()
        precoder(sent, h).abs().square().sum().backward()
        gradients.append(sent.grad)
    for found in gradients[1:]:
        # Exact ones are of symbols that a kernel has sent, kept ones of PyTorch's.
        torch.testing.assert_close(found, gradients[0], rtol=1e-5, atol=5e-5)


@pytest.mark.parametrize("inner", SOLVERS)
def test_inference_mode_keeps_plain_tensors(inner: str) -> None:
    solver, a = Cached(SOLVERS[inner]), matrices()
    expected = answered(SOLVERS[inner], given(a))
    with torch.inference_mode():
        for _ in range(2):
            # Made there, and so without a version that could be asked for.
            found = answered(solver, given(matrices(), no=None))
    again = answered(solver, given(a))
    for one, two, three in zip(found, again, expected, strict=True):
        assert torch.equal(one, two)
        torch.testing.assert_close(two, three)
    assert not any(t.is_inference() for t in tensors_of(list(solver._kept)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("inner", SOLVERS)
def test_autocast_leaves_no_half_precision_behind(inner: str, dtype: torch.dtype) -> None:
    solver, a = Cached(SOLVERS[inner]), matrices().to(torch.complex64)
    expected = answered(SOLVERS[inner], given(a))
    with torch.autocast("cpu", dtype=dtype):
        found = answered(solver, given(a))
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    half = (torch.bfloat16, torch.float16)
    assert not any(t.dtype in half for t in tensors_of(list(solver._kept)))


def test_a_compiler_finds_the_solver_itself() -> None:
    grid = ResourceGrid(2, 60, 30e3, num_tx=3, num_streams_per_tx=1)
    inner = Counting()
    solver = Cached(inner)
    block = MMSEEqualizer(
        grid, StreamManagement(np.ones([1, 3]), 1), solver, certify=None, time_varying=False
    )
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(1, 1, 4, 3, 1, 2, 60, dtype=torch.complex64, generator=generator)
    h = h[..., :1, :].expand(-1, -1, -1, -1, -1, 2, -1)
    y = torch.randn(1, 1, 4, 2, 60, dtype=torch.complex64, generator=generator)
    compiled = torch.compile(block, backend="eager", fullgraph=True)
    expected = block(y, h, 0.0, 0.1)
    kept = list(solver._kept)
    for one, other in zip(compiled(y, h, 0.0, 0.1), expected, strict=True):
        torch.testing.assert_close(one, other)
    assert list(solver._kept) == kept


# Who shares it


def test_threads_share_it() -> None:
    inner = Counting(Spline(30))
    solver = Cached(inner, num_calls=3)
    expected = [answered(Spline(30), given(matrices(seed)))[0] for seed in range(4)]
    begin, wrong = threading.Barrier(6), []

    def work(number: int) -> None:
        begin.wait()
        for i in range(40):
            seed = (i * (number + 1) + number) % 4
            answers = solver.start(PseudoInverse(), given(matrices(seed)))
            tiles = TILES if i % 2 else TILES[::-1]
            found = {tile.start: answers.tile(tile).dense for tile in tiles}
            answers.finish()
            if not torch.allclose(torch.cat([found[0], found[40]], 1), expected[seed]):
                wrong.append((number, i))
            if i % 7 == number:
                solver.clear()
            assert solver.num_bytes >= 0

    failed: list[BaseException] = []

    def tried(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=tried, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and not wrong
    assert len(solver._kept) <= 3


def test_threads_that_share_a_channel_compute_a_tile_once() -> None:
    solver, channels = Cached(EXACT), given(matrices())
    solver.start(PseudoInverse(), channels)
    counts: list[Counts] = []
    threads = [
        threading.Thread(target=lambda: counts.append(counted(solver, channels))) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one.exact for one in counts) == 60


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copy_has_kept_nothing(copied: Callable[[Any], Any]) -> None:
    solver = Cached(Spline(30), num_calls=2)
    answered(solver, given(matrices()))
    other = copied(solver)
    assert (other.num_bytes, other.num_calls, other.solver) == (0, 2, solver.solver)
    assert solver.num_bytes > 0
    for _ in range(2):
        torch.testing.assert_close(
            answered(other, given(matrices())), answered(solver, given(matrices()))
        )
    assert other.num_bytes == solver.num_bytes


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="num_calls is 0, at least one is needed."):
        Cached(EXACT, num_calls=0)
