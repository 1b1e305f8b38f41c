"""Solvers and answers around others forward every hook of the interface, also one to come."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from neumatc_mimo.operations import PseudoInverse, Tolerance
from neumatc_mimo.operations.base import Operation
from neumatc_mimo.operations.pseudo_inverse import Filter
from neumatc_mimo.solvers import Answers, Auto, Cached, Channels, Counts, Exact, Solver
from neumatc_mimo.solvers.delegating import Delegating, DelegatingSolver
from neumatc_mimo.solvers.grouped import GroupedAnswers

A = torch.ones(2, 60, 3, 5, dtype=torch.complex128)
CHANNELS = Channels(A, torch.arange(60, dtype=torch.float64))
OTHER = Exact()

# What an inner object says, nothing of it the interface's default.
VALUES: dict[str, Any] = {
    "counts": Counts(links_unknown=2, queried=3, exact=4),
    "reads_channel": False,
    "entries": 7,
    "tile": Filter(A[..., :3].clone(), None, None, 0.0, A[..., :3].clone()),
    "applied": "applied",
    "channel": A[:, 5:9] + 1,
    "emitted": "emitted",
    "keep": "kept",
    "finish": None,
    "prepares": True,
    "knows_links": True,
    "num_made": 7,
    "knows": False,
    "choosing": OTHER,
}
# Arguments of the hooks, by their names.
ARGUMENTS: dict[str, Any] = {
    "a": A,
    "subcarriers": slice(5, 9),
    "given": A,
    "emitter": None,
    "name": "of a test",
    "make": lambda a: a,
    "operation": PseudoInverse(),
    "num_rows": 3,
    "num_cols": 5,
    "channels": CHANNELS,
    "certify": "call",
    "tolerance": Tolerance(30.0),
    "choose": lambda way: way,
}


def hooks(kind: type) -> list[str]:
    return [name for name in dir(kind) if not name.startswith("_")]


def recording(kind: type, values: dict[str, Any]) -> Any:
    """An object with every hook of a class, which says what it is told to, and records."""

    def answer(name: str) -> Callable[..., Any]:
        def say(self: Any, *arguments: Any) -> Any:
            self.asked.append((name, arguments))
            return values.get(name)

        return say

    says: dict[str, Any] = {name: answer(name) for name in hooks(kind)}
    for name, say in says.items():
        if isinstance(getattr(kind, name), property):
            says[name] = property(say)
    inner = type("Recording", (kind,), says)()
    inner.asked = []
    return inner


def ask(wrapper: Any, kind: type, hook: str) -> Any:
    if isinstance(getattr(kind, hook), property):
        return getattr(wrapper, hook)
    names = list(inspect.signature(getattr(kind, hook)).parameters)[1:]
    return getattr(wrapper, hook)(*(ARGUMENTS[name] for name in names))


class Giving(Solver):
    """A solver with answers given beforehand."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers

    def start(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
    ) -> Answers:
        return self.answers


def timed(inner: Answers) -> Answers:
    solver = Auto(Giving(inner))
    for _ in range(2):  # exact results are the first to be timed
        answers = solver.start(PseudoInverse(), CHANNELS)
        if isinstance(answers, Delegating) and answers._inner is inner:
            break
        answers.finish()
    return answers


ANSWERS: dict[str, Callable[[Answers], Answers]] = {
    "delegating": Delegating,
    "cached": lambda inner: Cached(Giving(inner)).start(PseudoInverse(), CHANNELS),
    "auto": timed,
    "grouped": lambda inner: GroupedAnswers(PseudoInverse(), [(inner, torch.arange(2))]),
}
NOT_FORWARDED = {
    # One product for items of several groups there is not, and what is derived is made of all.
    "grouped": {"applied", "keep", "emitted"},
    # A kernel computes anew what is kept.
    "cached": {"emitted"},
}


@pytest.mark.parametrize("hook", hooks(Answers))
@pytest.mark.parametrize("wrapper", ANSWERS)
def test_answers_forward_every_hook(wrapper: str, hook: str) -> None:
    inner = recording(Answers, VALUES)
    said = ask(ANSWERS[wrapper](inner), Answers, hook)
    if hook in NOT_FORWARDED.get(wrapper, ()):
        return
    assert hook in [name for name, _ in inner.asked]
    expected = VALUES[hook]
    if isinstance(expected, Tensor):
        assert torch.equal(said, expected)
    elif isinstance(expected, Filter):
        assert torch.equal(said.w, expected.w) and torch.equal(said.x, expected.x)
    else:
        assert said == expected


class Plain(DelegatingSolver):
    def around(self, inner: Solver) -> Solver:
        return Plain(inner)


SOLVERS: dict[str, Callable[[Solver], Any]] = {"delegating": Plain, "cached": Cached, "auto": Auto}


@pytest.mark.parametrize("hook", hooks(Solver))
@pytest.mark.parametrize("wrapper", SOLVERS)
def test_solvers_forward_every_hook(wrapper: str, hook: str) -> None:
    values = VALUES | {"start": recording(Answers, VALUES)}
    inner = recording(Solver, values)
    if hook == "start":
        values["choosing"] = inner  # the solver that Auto asks
        values["knows"] = True  # else it would not
    outer = SOLVERS[wrapper](inner)
    said = ask(outer, Solver, hook)
    if hook == "start" and wrapper == "auto":
        said.finish()  # exact results are the first to be timed
        said = ask(outer, Solver, hook)
    assert hook in [name for name, _ in inner.asked]
    if hook == "choosing":
        assert type(said) is type(outer) and said._inner is OTHER
    elif hook == "start":
        assert said.entries(A) == VALUES["entries"]
        ((_, (operation, channels, *rest)),) = [call for call in inner.asked if call[0] == hook]
        assert operation is ARGUMENTS["operation"] and torch.equal(channels.a, A)
        assert rest == [ARGUMENTS["certify"], ARGUMENTS["tolerance"]]
    else:
        assert said == VALUES[hook]


def test_a_solver_without_a_choice_stays_what_it_is() -> None:
    for outer in (Cached(Exact()), Auto(Exact())):
        assert outer.choosing(lambda way: OTHER) is outer


@pytest.mark.parametrize("subcarriers", [slice(0, 60), slice(10, 30)])
def test_groups_answer_for_their_items(subcarriers: slice) -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(4, 60, 3, 5, dtype=torch.complex128, generator=generator)
    operation, items = PseudoInverse(), [torch.tensor([0, 2]), torch.tensor([1, 3])]
    groups = [
        (Exact().start(operation, Channels(a[some], CHANNELS.frequencies)), some) for some in items
    ]
    grouped = GroupedAnswers(operation, groups)
    whole = Exact().start(operation, Channels(a, CHANNELS.frequencies))
    torch.testing.assert_close(
        grouped.tile(subcarriers).dense, whole.tile(subcarriers).dense, rtol=1e-9, atol=1e-9
    )
    assert grouped.counts == whole.counts
    assert grouped.entries(a) == whole.entries(a)
    assert grouped.reads_channel and grouped.applied(subcarriers) is None
    assert torch.equal(grouped.channel(subcarriers, a), a[:, subcarriers])
    kept = grouped.keep("of a test", subcarriers, lambda matrices: matrices.sum(), a)
    torch.testing.assert_close(kept, a[:, subcarriers].sum())
