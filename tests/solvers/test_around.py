"""Solvers around another one: a cache, and the choice between exact results and queries."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from neumatc_mimo.operations import SVD, Operation, PseudoInverse, Tolerance
from neumatc_mimo.solvers import Answers, Auto, Cached, Channels, Exact, Solver, Spline

FREQUENCIES = torch.arange(60, dtype=torch.float64)
TILES = (slice(0, 40), slice(40, 60))

pytestmark = pytest.mark.usefixtures("one_thread")


def matrices(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 60, 3, 5, dtype=torch.complex128, generator=generator)


def answered(
    solver: Solver, a: torch.Tensor, operation: Operation, no: torch.Tensor | None = None
) -> tuple[torch.Tensor, ...]:
    answers = solver.start(operation, Channels(a, FREQUENCIES, no))
    parts = [operation.results(answers.tile(tile)) for tile in TILES]
    answers.finish()
    return tuple(torch.cat(part, 1) for part in zip(*parts, strict=True))


class Counting(Solver):
    """The exact solver, which counts its calls, and takes its time if it is told to."""

    def __init__(self, work: int = 0) -> None:
        self.calls, self._work = 0, work

    def start(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
    ) -> Answers:
        self.calls += 1
        for _ in range(self._work):
            torch.linalg.svd(channels.a)
        return Exact().start(operation, channels, certify, tolerance)


@pytest.mark.parametrize("operation", [PseudoInverse(), SVD(2)], ids=lambda o: o.name)
def test_cache_answers_the_same_channels_again(operation: Operation) -> None:
    inner = Counting()
    solver, a = Cached(inner, num_calls=2), matrices()
    first = answered(solver, a, operation)
    again = answered(solver, a.clone(), operation)
    assert inner.calls == 1
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one, other)
    assert solver.num_bytes > 0
    solver.clear()
    assert solver.num_bytes == 0
    answered(solver, a, operation)
    assert inner.calls == 2


def test_cache_tells_channels_noise_and_operations_apart() -> None:
    inner = Counting()
    solver, a = Cached(inner, num_calls=2), matrices()
    operation, no = PseudoInverse(), torch.tensor([0.1], dtype=torch.float64)
    for arguments in ((a,), (matrices(1),), (matrices(1), SVD(1)), (a, operation, no)):
        found = answered(solver, *arguments[:1], *(arguments[1:] or (operation,)))
        expected = answered(Exact(), *arguments[:1], *(arguments[1:] or (operation,)))
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other)
    assert inner.calls == 4
    # Written to in place: the caller's memory is the same, its channels are not.
    a.mul_(1j)
    found, expected = answered(solver, a, operation, no), answered(Exact(), a, operation, no)
    torch.testing.assert_close(found, expected)
    assert inner.calls == 5


def test_cache_that_compares_all_subcarriers_finds_any_change() -> None:
    inner = Counting()
    solver, a = Cached(inner, num_probes=None), matrices()
    answered(solver, a, PseudoInverse())
    a = a.clone()
    a[0, 17, 1, 2] += 1e-12
    answered(solver, a, PseudoInverse())
    assert inner.calls == 2


def test_cache_forgets_the_oldest() -> None:
    inner = Counting()
    solver = Cached(inner, num_calls=2)
    for seed in (0, 1, 2, 2, 1, 0):
        answered(solver, matrices(seed), PseudoInverse())
    assert inner.calls == 4


@pytest.mark.parametrize("slow", ["queried", "exact"])
def test_auto_takes_the_faster_way(slow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Counting(work=20 if slow == "queried" else 0)
    solver, a = Auto(model, num_trials=2), matrices()
    if slow == "exact":
        monkeypatch.setitem(solver._ways, "exact", Counting(work=20))
    for _ in range(12):
        answered(solver, a, PseudoInverse())
    (choice,) = solver.choices().values()
    assert choice == ("exact" if slow == "queried" else "queried")
    assert model.calls == (3 if slow == "queried" else 9)


def test_auto_gives_certified_answers_both_ways() -> None:
    solver, a = Auto(Spline(30)), matrices()
    exact = answered(Exact(), a, PseudoInverse())
    for _ in range(9):
        for one, other in zip(answered(solver, a, PseudoInverse()), exact, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-2)


def test_auto_computes_exactly_what_the_model_refuses() -> None:
    class Refusing(Solver):
        def start(self, *arguments: Any, **options: Any) -> Answers:
            raise ValueError("unknown")

    solver, a = Auto(Refusing()), matrices()
    for _ in range(3):
        torch.testing.assert_close(answered(solver, a, SVD(1)), answered(Exact(), a, SVD(1)))
    assert set(solver.choices().values()) == {"exact"}


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="num_probes is 0, at least one is needed."):
        Cached(Exact(), num_probes=0)
    with pytest.raises(ValueError, match="num_calls is 0, at least one is needed."):
        Cached(Exact(), num_calls=0)
    with pytest.raises(ValueError, match="num_trials is 0, at least one is needed."):
        Auto(Exact(), num_trials=0)
    with pytest.raises(TypeError, match="model is a str, it must be a Solver."):
        Auto("munich")  # type: ignore[arg-type]
