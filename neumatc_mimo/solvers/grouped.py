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
    def counts(self) -> Counts:
        total = Counts()
        for answers, _ in self._groups:
            total.add(answers.counts)
        return total

    @property
    def reads_channel(self) -> bool:
        return any(answers.reads_channel for answers, _ in self._groups)

    def entries(self, a: Tensor) -> int:
        # As many items as a group has, whichever they are.
        return sum(answers.entries(a[: len(items)]) for answers, items in self._groups)

    def tile(self, subcarriers: slice) -> Any:
        parts = [answers.tile(subcarriers) for answers, _ in self._groups]
        return self._operation.merge(parts, [items for _, items in self._groups])

    def channel(self, subcarriers: slice, given: Tensor) -> Tensor:
        whole = given[:, subcarriers].clone()
        for answers, items in self._groups:
            whole[items] = answers.channel(subcarriers, given[items])
        return whole

    def finish(self) -> None:
        for answers, _ in self._groups:
            answers.finish()
