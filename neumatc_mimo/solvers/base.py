"""The one interface of all solvers, as blocks, certificates and benchmarks use it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from neumatc_mimo.operations.base import Components, Operation, Tolerance


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
    :param no: noise power, [num_items] or [num_items, num_frequencies] float, or None for zero;
        blocks give one that varies over frequency to the exact solver only
    :param links: [num_items] link index or -1, or None where links are to be recognised
    """

    a: Tensor
    frequencies: Tensor
    no: Tensor | None = None
    links: Tensor | None = None

    def noise(self, items: Any = slice(None), subcarriers: slice = slice(None)) -> Tensor | float:
        """The noise power shaped to broadcast over [num_items, num_frequencies]."""
        if self.no is None:
            return 0.0
        no = self.no[items]
        return no[:, None] if no.dim() == 1 else no[:, subcarriers]


class Answers(ABC):
    """Results of one call, produced a tile of subcarriers at a time so that they stay in cache."""

    counts: Counts

    @abstractmethod
    def tile(self, subcarriers: slice) -> Any:
        """The operation's answer for these subcarriers of all items, [num_items, tile, ...]."""


class Solver(ABC):
    """A way to get an operation's result at any parameter."""

    # Whether ``start`` does what later tiles only query: exact samples, a training.
    prepares: ClassVar[bool] = False

    @abstractmethod
    def start(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
    ) -> Answers:
        """Prepare the answers of one call; work that tiles share is done here.

        :param certify: "link" (trust the proof made in training), "call" (prove each call) or None
        :param tolerance: What a proof has to reach; None is the solver's default
        """


class ExactAnswers(Answers):
    """Answers computed from the channel itself, once per subcarrier."""

    def __init__(self, operation: Operation, channels: Channels) -> None:
        self.operation = operation
        self.channels = channels
        self.counts = Counts()

    def tile(self, subcarriers: slice) -> Any:
        a = self._matrices(subcarriers)
        return self.operation.solve(a, self.channels.noise(subcarriers=subcarriers))

    def _matrices(self, subcarriers: slice) -> Tensor:
        # .contiguous(): one copy of the tile into cache, from whatever strides the caller has.
        a = self.channels.a[:, subcarriers].contiguous()
        self.counts.exact += a.shape[0] * a.shape[1]
        return a


def tiles(a: Tensor, size: int = 252) -> list[slice]:
    """Slices that cover the subcarriers of a [num_items, num_frequencies, ...].

    On a CPU a tile holds about ``size`` matrices, so that it stays in the second-level cache, but
    never so few subcarriers that copies break up into single cache lines. The size is no power of
    two: rows of 256 subcarriers would fall into the same cache sets. Elsewhere a tile holds
    some 2^22 entries: enough to fill a GPU, little beside the channel itself.
    """
    num_items, num_subcarriers = a.shape[:2]
    if a.device.type == "cpu":
        step = max(size // max(num_items, 1), 32)
    else:
        step = max(2**22 // max(a[:, :1].numel(), 1), 32)
    return [slice(i, min(i + step, num_subcarriers)) for i in range(0, num_subcarriers, step)]


__all__ = [
    "Answers",
    "Channels",
    "Components",
    "Counts",
    "ExactAnswers",
    "Solver",
    "tiles",
]
