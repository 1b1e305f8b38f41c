"""Kernels and PyTorch's way are timed while both are used, and the faster one stays."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from neumatc_mimo.kernels import race
from neumatc_mimo.kernels.race import Race


class Clock:
    """Events of a device on which time passes when a test says so."""

    now = 0.0

    def event(self) -> Event:
        return Event(self)


class Event:
    def __init__(self, clock: Clock) -> None:
        self._clock, self._at = clock, 0.0

    def record(self) -> None:
        self._at = self._clock.now

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: Event) -> float:
        return end._at - self._at


def taken(race: Race, clock: Clock, times: dict[bool, Iterator[float]], calls: int) -> list[bool]:
    """The ways that some calls take."""
    ways = []
    for _ in range(calls):
        lap = race.next()
        clock.now += next(times[lap.kernel])
        lap.end()
        ways.append(lap.kernel)
    return ways


@pytest.mark.parametrize("kernel_wins", [True, False])
def test_the_faster_way_stays(kernel_wins: bool) -> None:
    clock = Clock()
    # The first call by the kernel compiles it.
    times = {True: [100.0, 2.0 - kernel_wins, *[9.0] * 9], False: [2.0, 1.5, *[9.0] * 9]}
    given = {way: iter(values) for way, values in times.items()}
    ways = taken(Race(clock.event), clock, given, 10)
    assert set(ways[:4]) == {True, False} and ways[4:] == [kernel_wins] * 6


def test_a_way_that_failed_is_no_rival() -> None:
    found = Race(Clock().event)
    for _ in range(4):
        lap = found.next()
        if lap.kernel:
            lap.end()
    assert found.next().kernel


def test_a_cpu_takes_its_kernels_unless_told_otherwise() -> None:
    device = torch.device("cpu")
    assert race.lap(device).kernel
    with race.always(False):
        assert not race.lap(device).kernel
    with pytest.raises(RuntimeError), race.always(False):
        raise RuntimeError
    assert race.lap(device).kernel
