"""Adaptive sampling: evaluate and extend what is improved, which the loop knows no more of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

OnRound = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class Evaluation:
    """How good a surrogate is where it was looked at.

    :param figures: what the history keeps of it, plain values; "failed" is the share of the points
        that have failed
    """

    figures: dict[str, float]


E = TypeVar("E", bound=Evaluation)


class Surrogate(Protocol[E]):
    """A cheap model that tells its own error, and learns from the points where it is large.

    The two methods of pyMOR's weak greedy algorithm.
    """

    def evaluate(self) -> E:
        """Look at the model's error."""

    def extend(self, found: E) -> str:
        """Learn from what was found.

        :return: why nothing is left to learn from; empty where something was learned
        """


@dataclass(frozen=True)
class Sampling(Generic[E]):
    """How adaptive sampling went.

    :param stopped: why it stopped: "tolerance" (no point failed), "rounds" (all spent), or what the
        surrogate said when it could not be extended
    :param history: the number of each round, and its figures
    :param last: the last evaluation, which the surrogate was not extended by
    """

    stopped: str
    history: list[dict[str, float]]
    last: E


def sample_adaptively(
    surrogate: Surrogate[E],
    *,
    rounds: int | None = None,
    least: int = 1,
    on_round: OnRound | None = None,
) -> Sampling[E]:
    """Evaluate a surrogate, and extend it until no point fails, or it cannot go on.

    :param surrogate: what is improved, in place
    :param rounds: evaluations at most; None for no limit but the surrogate's own
    :param least: evaluations before it may stop because no point failed
    :param on_round: told of every entry of the history
    """
    history: list[dict[str, float]] = []
    while True:
        found = surrogate.evaluate()
        history.append({"round": float(len(history)), **found.figures})
        if on_round is not None:
            on_round(history[-1])
        if len(history) >= least and not found.figures["failed"]:
            stopped = "tolerance"
        elif len(history) == rounds:
            stopped = "rounds"
        else:
            stopped = surrogate.extend(found)
        if stopped:
            return Sampling(stopped, history, found)
        del found  # its tensors would be held while the next ones are made
