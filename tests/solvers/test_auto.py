"""The choice between exact results and queries."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from neumatc_mimo.operations import SVD, Operation, PseudoInverse, Tolerance
from neumatc_mimo.solvers import Answers, Auto, Channels, Exact, Solver, Spline

FREQUENCIES = torch.arange(60, dtype=torch.float64)
TILES = (slice(0, 40), slice(40, 60))


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


class Preparing(Counting):
    """One whose first calls take long, as they make what later ones find."""

    num_first = 5

    @property
    def num_made(self) -> int:
        return min(self.calls, self.num_first)

    def start(self, *given: Any) -> Answers:
        self._work = 40 if self.calls < self.num_first else 0
        return super().start(*given)


def test_what_a_model_makes_once_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    solver, a = Auto(Preparing(), num_trials=1), matrices()
    monkeypatch.setitem(solver._ways, "exact", Counting(work=20))
    for _ in range(12):
        answered(solver, a, PseudoInverse())
    assert set(solver.choices().values()) == {"queried"}


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
    with pytest.raises(ValueError, match="num_trials is 0, at least one is needed."):
        Auto(Exact(), num_trials=0)
    with pytest.raises(TypeError, match="model is a str, it must be a Solver."):
        Auto("munich")  # type: ignore[arg-type]
