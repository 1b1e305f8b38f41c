"""The one interface of all solvers, as blocks, certificates and benchmarks use it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from neumatc_mimo.operations.base import Components, Operation


@dataclass
class Counts:
    """How results came about; subcarriers are counted once per link and call."""

    links_recalled: int = 0
    links_unknown: int = 0
    queried: int = 0
    corrected: int = 0
    patched: int = 0
    exact: int = 0

    def add(self, other: Counts) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass(frozen=True)
class Channels:
    """Matrices on a frequency grid, as views of the caller's tensor: nothing is copied.

    :param a: [num_items, num_frequencies, m, n] complex view
    :param frequencies: [num_frequencies] Hz relative to the carrier, float64
    :param no: noise power, [num_items] float, or None for zero
    :param links: [num_items] link index or -1, or None where links are to be recognised
    """

    a: Tensor
    frequencies: Tensor
    no: Tensor | None = None
    links: Tensor | None = None

    def noise(self, items: Any = slice(None)) -> Tensor | float:
        """The noise power shaped to broadcast over [num_items, num_frequencies]."""
        return 0.0 if self.no is None else self.no[items][:, None]


class Answers(ABC):
    """Results of one call, produced a tile of subcarriers at a time so that they stay in cache."""

    counts: Counts

    @abstractmethod
    def tile(self, subcarriers: slice) -> Any:
        """The operation's answer for these subcarriers of all items, [num_items, tile, ...]."""


class Solver(ABC):
    """A way to get an operation's result at any parameter."""

    @abstractmethod
    def start(
        self, operation: Operation, channels: Channels, certify: str | None = "link"
    ) -> Answers:
        """Prepare the answers of one call; work that tiles share is done here."""


@dataclass
class ExactAnswers(Answers):
    """Answers computed from the channel itself, once per subcarrier."""

    operation: Operation
    channels: Channels
    counts: Counts = field(default_factory=Counts)

    def tile(self, subcarriers: slice) -> Any:
        # .contiguous(): one copy of the tile into cache, from whatever strides the caller has.
        a = self.channels.a[:, subcarriers].contiguous()
        self.counts.exact += a.shape[0] * a.shape[1]
        return self.operation.solve(a, self.channels.noise())


def tiles(num_subcarriers: int, size: int = 256) -> list[slice]:
    """Slices that cover ``num_subcarriers`` in steps of ``size``."""
    return [slice(i, min(i + size, num_subcarriers)) for i in range(0, num_subcarriers, size)]


__all__ = ["Answers", "Channels", "Components", "Counts", "ExactAnswers", "Solver", "tiles", "torch"]
