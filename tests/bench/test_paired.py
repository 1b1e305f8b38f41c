"""The paired comparison of block errors, against enumerations and simulations."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy import stats

from neumatc_mimo.bench.paired import PairedErrors, paired_errors
from neumatc_mimo.progress import Event


@pytest.mark.parametrize("only_first", range(7))
@pytest.mark.parametrize("only_second", range(7))
def test_p_value_is_the_share_of_outcomes_at_least_as_lopsided(
    only_first: int, only_second: int
) -> None:
    """All 2^d ways in which d discordant blocks may fall, counted."""
    discordant = only_first + only_second
    sizes = [abs(2 * bin(outcome).count("1") - discordant) for outcome in range(2**discordant)]
    expected = sum(size >= abs(only_first - only_second) for size in sizes) / len(sizes)
    found = PairedErrors(100, 5, only_first, only_second).p_value
    assert math.isclose(found, expected, rel_tol=1e-12)


def test_order_of_the_two_only_turns_the_difference() -> None:
    one, other = PairedErrors(1000, 50, 4, 19), PairedErrors(1000, 50, 19, 4)
    assert math.isclose(one.p_value, other.p_value)
    assert one.difference == -other.difference == 0.015
    low, high = one.difference_interval()
    assert (low, high) == pytest.approx([-value for value in other.difference_interval()[::-1]])
    assert (one.first, one.second) == (0.054, 0.069)


def test_rate_interval_is_that_of_clopper_and_pearson() -> None:
    """At the ends of the interval the count seen is just improbable."""
    pairs = PairedErrors(2000, 37, 0, 0)
    low, high = pairs.interval(37, 0.99)
    assert math.isclose(stats.binom.sf(36, 2000, low), 0.005, rel_tol=1e-6)
    assert math.isclose(stats.binom.cdf(37, 2000, high), 0.005, rel_tol=1e-6)
    assert pairs.interval(0)[0] == 0 and pairs.interval(2000)[1] == 1


@pytest.mark.parametrize("only", [(0.01, 0.01), (0.002, 0.006), (0.0, 0.0), (0.05, 0.02)])
def test_difference_interval_covers_the_truth(only: tuple[float, float]) -> None:
    generator = torch.Generator().manual_seed(0)
    num_blocks, trials, level = 2000, 400, 0.9
    probabilities = torch.tensor([*only, 0.1, 0.9 - sum(only)])
    covered = 0
    for _ in range(trials):
        drawn = torch.multinomial(probabilities, num_blocks, True, generator=generator)
        first, second, both = (int((drawn == cell).sum()) for cell in range(3))
        low, high = PairedErrors(num_blocks, both, first, second).difference_interval(level)
        covered += low <= only[1] - only[0] <= high
    assert covered / trials > level - 4 * math.sqrt(level * (1 - level) / trials)


def test_no_discordant_block_is_no_difference_of_a_finite_width() -> None:
    pairs = PairedErrors(10**4, 1000, 0, 0)
    assert pairs.p_value == 1 and pairs.difference == 0
    low, high = pairs.difference_interval(0.99)
    assert low == -high and 1e-4 < high < 5e-4


class Script:
    """A pipeline that loses what a script tells, in calls of ``batch_size`` blocks."""

    def __init__(self, lost: list[bool], seed: int = 0) -> None:
        self.lost, self.done, self.seed = lost, 0, seed

    def __call__(self, batch_size: int, ebno_db: float) -> tuple[torch.Tensor, torch.Tensor]:
        lost = torch.tensor(self.lost[self.done : self.done + batch_size])
        self.done += batch_size
        bits = torch.full((batch_size, 1, 1, 3), float(self.seed))
        hat = bits.clone()
        hat[..., 1] = torch.where(lost[:, None, None], 1 - hat[..., 1], hat[..., 1])
        return bits, hat


def test_blocks_are_counted_pairwise_and_no_more_than_asked_for() -> None:
    first: Any = Script([True, True, False, False, True, False, True, True])
    second: Any = Script([True, False, True, False, False, False, True, True])
    events: list[Event] = []
    pairs = paired_errors(first, second, 0.0, 7, batch_size=2, callback=events.append)
    assert pairs == PairedErrors(7, both=2, only_first=2, only_second=1)
    assert [event.done for event in events] == [2, 4, 6, 7]
    assert events[-1].metrics == {"lost_by_first": 4, "lost_by_second": 3}


def test_what_is_refused() -> None:
    first: Any = Script([True] * 4)
    other: Any = Script([True] * 4, seed=1)
    with pytest.raises(ValueError, match="num_blocks is 0, at least one is needed."):
        paired_errors(first, first, 0.0, 0)
    with pytest.raises(ValueError, match="draw different bits"):
        paired_errors(first, other, 0.0, 4, batch_size=2)
