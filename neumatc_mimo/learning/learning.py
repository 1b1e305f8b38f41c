"""What a way to learn mappings offers to whoever trains with it."""

from __future__ import annotations

from typing import Any, Protocol, Self

from torch import Tensor

from neumatc_mimo.learning.adaptive import OnRound
from neumatc_mimo.learning.fit import FitReport, Problem
from neumatc_mimo.mapping.compact import CompactMapping


class Learning(Protocol):
    """How mappings are learned: settings, and what they make of a problem."""

    @property
    def rank(self) -> int:
        """r of the trunk."""

    @property
    def samples(self) -> int:
        """Exact samples per link and node at most."""

    def settings(self) -> dict[str, Any]:
        """Plain values that tell how it is learned."""

    def points(self, num_frequencies: int) -> tuple[Tensor, Tensor]:
        """Grid indices that learning looks at, and where exact samples are."""

    def prepared(self, problem: Problem, on_round: OnRound | None = None) -> Self:
        """The same with what all links have in common learned."""

    def learn(
        self, problem: Problem, links: Tensor, on_round: OnRound | None = None
    ) -> tuple[CompactMapping, FitReport]:
        """The mappings of some links, and a report."""
