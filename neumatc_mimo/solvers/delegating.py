"""Solvers and answers around others, which forward everything that they do not change."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor

from neumatc_mimo.kernels.applied import Applied
from neumatc_mimo.kernels.lanes import Emitter
from neumatc_mimo.operations.base import Operation, Tolerance
from neumatc_mimo.solvers.base import Answers, Channels, Counts, Emitted, Solver

T = TypeVar("T")


class Delegating(Answers):
    """Another solver's answers: base of those that change some of what these do.

    :param inner: the answers that everything is forwarded to
    """

    def __init__(self, inner: Answers) -> None:
        self._inner = inner

    @property
    def counts(self) -> Counts:
        return self._inner.counts

    @property
    def reads_channel(self) -> bool:
        return self._inner.reads_channel

    def entries(self, a: Tensor) -> int:
        return self._inner.entries(a)

    def tile(self, subcarriers: slice) -> Any:
        return self._inner.tile(subcarriers)

    def applied(self, subcarriers: slice) -> Applied | None:
        return self._inner.applied(subcarriers)

    def emitted(self, emitter: Emitter) -> Emitted | None:
        return self._inner.emitted(emitter)

    def channel(self, subcarriers: slice, given: Tensor) -> Tensor:
        return self._inner.channel(subcarriers, given)

    def keep(self, name: str, subcarriers: slice, make: Callable[[Tensor], T], given: Tensor) -> T:
        return self._inner.keep(name, subcarriers, make, given)

    def finish(self) -> None:
        self._inner.finish()


class DelegatingSolver(Solver):
    """Another solver: base of those that change some of what it does.

    :param inner: the solver that everything is forwarded to
    """

    def __init__(self, inner: Solver) -> None:
        self._inner = inner

    @property
    def prepares(self) -> bool:
        return self._inner.prepares

    @property
    def knows_links(self) -> bool:
        return self._inner.knows_links

    @property
    def num_made(self) -> int:
        return self._inner.num_made

    def knows(self, operation: Operation, num_rows: int, num_cols: int) -> bool:
        return self._inner.knows(operation, num_rows, num_cols)

    def start(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
    ) -> Answers:
        return self._inner.start(operation, channels, certify, tolerance)

    def choosing(self, choose: Callable[[Solver], Solver]) -> Solver:
        inner = self._inner.choosing(choose)
        return self if inner is self._inner else self.around(inner)

    @abstractmethod
    def around(self, inner: Solver) -> Solver:
        """A solver of the same settings around another one."""
