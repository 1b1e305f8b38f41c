"""Answers of one call that come from several solvers, each for some of the items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from neumatc_mimo.operations.base import Operation
from neumatc_mimo.solvers.base import Answers, Counts


class GroupedAnswers(Answers):
    """Answers of groups of items as one.

    :param operation: merges the groups' answers
    :param groups: each group's answers, and the indices of its items in the call
    """

    def __init__(self, operation: Operation, groups: Sequence[tuple[Answers, Tensor]]) -> None:
        self._operation, self._groups = operation, groups

    @property
    def counts(self) -> Counts:  # type: ignore[override]
        total = Counts()
        for answers, _ in self._groups:
            total.add(answers.counts)
        return total

    def tile(self, subcarriers: slice) -> Any:
        parts = [answers.tile(subcarriers) for answers, _ in self._groups]
        return self._operation.merge(parts, [items for _, items in self._groups])

    def finish(self) -> None:
        for answers, _ in self._groups:
            answers.finish()
