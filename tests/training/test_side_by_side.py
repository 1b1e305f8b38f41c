"""Batches of links on several cores: in order, each with one thread, and the same results."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import neumatc_mimo as nm
from neumatc_mimo.progress import Event
from neumatc_mimo.training.jobs import _BATCH_BYTES
from neumatc_mimo.training.side_by_side import at_once, side_by_side


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_as_many_at_once_as_there_are_threads(two_threads: None) -> None:
    cpu = torch.device("cpu")
    assert [at_once(cpu, num) for num in (1, 2, 5)] == [1, 2, 2]
    assert at_once(torch.device("meta"), 5) == 1


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_results_and_messages_come_in_order(workers: int, two_threads: None) -> None:
    later = threading.Event()
    heard: list[tuple[int, int]] = []

    def work(item: int, tell: Callable[[tuple[int, int]], None]) -> tuple[int, int]:
        tell((item, 0))
        if workers > 1 and item == 0:
            later.wait(10)  # the second one overtakes
        if item == 1:
            later.set()
        tell((item, 1))
        return item, torch.get_num_threads()

    found = list(side_by_side(work, range(5), heard.append, workers))
    assert [item for item, _ in found] == list(range(5))
    assert {threads for _, threads in found} == {1 if workers > 1 else 2}
    assert heard == [(item, part) for item in range(5) for part in range(2)]
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("place", ["work", "tell"])
def test_what_is_raised_ends_all(place: str, two_threads: None) -> None:
    begun: list[int] = []

    def work(item: int, tell: Callable[[int], None]) -> None:
        begun.append(item)
        if place == "work" and item == 1:
            raise KeyError(item)
        tell(item)

    def tell(item: int) -> None:
        if place == "tell" and item == 1:
            raise KeyError(item)

    with pytest.raises(KeyError):
        list(side_by_side(work, range(1000), tell, 2))
    assert len(begun) < 1000 and torch.get_num_threads() == 2


def test_the_same_is_trained_whatever_the_number_of_threads(
    write_scenario: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_BATCH_BYTES, "cpu", 1)  # link by link
    scenario = nm.load_scenario(write_scenario())
    before, models, told = torch.get_num_threads(), [], []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        events: list[Event] = []
        models.append(nm.train(scenario, progress=False, callback=events.append))
        told.append([(event.step, event.done, event.metrics.get("round")) for event in events])
    torch.set_num_threads(before)
    assert told[0] == told[1]
    one, two = models
    for name, model in one.models.items():
        other = two.models[name]
        for mine, theirs in zip(model.mapping.latents, other.mapping.latents, strict=True):
            assert torch.equal(mine.values, theirs.values)
        for part, tensor in model.marks.tensors().items():
            assert torch.equal(tensor, other.marks.tensors()[part])
