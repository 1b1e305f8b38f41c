"""The loop of adaptive sampling: it evaluates, extends, and says why it stopped."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from neumatc_mimo.learning.adaptive import Evaluation, sample_adaptively


@dataclass
class Scripted:
    """A surrogate whose shares of failed points are known beforehand.

    :param shares: of each evaluation; the last one stays
    :param most: extensions that it takes
    """

    shares: list[float]
    most: int = 100
    calls: list[str] = field(default_factory=list)

    def evaluate(self) -> Evaluation:
        number = self.calls.count("evaluate")
        self.calls.append("evaluate")
        return Evaluation({"failed": self.shares[min(number, len(self.shares) - 1)]})

    def extend(self, found: Evaluation) -> str:
        assert found.figures["failed"] == self.shares[self.calls.count("evaluate") - 1]
        if self.calls.count("extend") == self.most:
            return "spent"
        self.calls.append("extend")
        return ""


@pytest.mark.parametrize(
    ("surrogate", "rounds", "least", "stopped", "failed"),
    [
        (Scripted([0.5, 0.25, 0.0]), None, 1, "tolerance", [0.5, 0.25, 0.0]),
        (Scripted([0.0, 0.0]), None, 2, "tolerance", [0.0, 0.0]),
        (Scripted([0.5, 0.25, 0.0]), 2, 1, "rounds", [0.5, 0.25]),
        (Scripted([0.5, 0.0]), 2, 2, "tolerance", [0.5, 0.0]),  # the better reason of two
        (Scripted([0.5, 0.4, 0.3], most=1), None, 1, "spent", [0.5, 0.4]),
    ],
)
def test_stops_for_a_reason_and_returns_its_history(
    surrogate: Scripted, rounds: int | None, least: int, stopped: str, failed: list[float]
) -> None:
    told: list[dict[str, float]] = []
    sampling = sample_adaptively(surrogate, rounds=rounds, least=least, on_round=told.append)
    assert sampling.stopped == stopped
    assert sampling.history == [{"round": i, "failed": f} for i, f in enumerate(failed)] == told
    assert sampling.last.figures == {"failed": failed[-1]}
    # Nothing is learned from the last look, by whatever it is stopped.
    assert surrogate.calls == ["evaluate", "extend"] * (len(failed) - 1) + ["evaluate"]
