"""The one interface of all solvers, as blocks, certificates and benchmarks use it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from neumatc_mimo.foundation.counts import Counts
from neumatc_mimo.foundation.warnings import Warned
from neumatc_mimo.kernels import race
from neumatc_mimo.kernels.applied import Applied
from neumatc_mimo.kernels.lanes import Done, Emitter, emit
from neumatc_mimo.operations.base import Components, Operation, Surely, Tolerance
from neumatc_mimo.tensors.tracing import is_traced

T = TypeVar("T")


@dataclass(frozen=True)
class Channels:
    """Matrices on a frequency grid, as views of the caller's tensor: nothing is copied.

    :param a: [num_items, num_frequencies, m, n] complex view
    :param frequencies: [num_frequencies] Hz relative to the carrier, float64
    :param no: noise power, [num_items] or [num_items, num_frequencies] float, or None for zero.
        Blocks pass one that varies over frequency to the exact solver only
    :param links: [num_items] link index or -1, or None if links have to be recognised
    :param products: whether the caller can use :meth:`Answers.applied` instead of the component
        that the operation calls ``applied``
    :param trusted: whether the named links are trusted. Then answers are those of the links' own
        channels, and ``a``, an estimate of them, is not compared with them
    :param time: seconds since the burst began, if users move
    """

    a: Tensor
    frequencies: Tensor
    no: Tensor | None = None
    links: Tensor | None = None
    products: bool = False
    trusted: bool = False
    time: float = 0.0

    def select(self, items: Tensor) -> Channels:
        """The channels of some items, in ascending order; a copy unless they are all of them."""
        if len(items) == len(self.a):
            return self
        no = None if self.no is None else self.no[items]
        links = None if self.links is None else self.links[items]
        return replace(self, a=self.a[items], no=no, links=links)

    def noise(
        self, items: Any = slice(None), subcarriers: slice | Tensor = slice(None)
    ) -> Tensor | float:
        """The noise power shaped to broadcast over [num_items, num_frequencies]."""
        if self.no is None:
            return 0.0
        no = self.no[items]
        return no[:, None] if no.dim() == 1 else no[:, subcarriers]


class Emitted(NamedTuple):
    """What a kernel did of all that a block asked for.

    :param witness: entries of the channel show in it that are not finite
    :param left: [num_items, num_frequencies] bool, the matrices that it left; None where none is
    :param answer: computes the operation's answer for these, [1, num_left, ...]
    """

    witness: Tensor
    left: Tensor | None
    answer: Callable[[], Any]

    @classmethod
    def of(cls, done: Done, singly: Callable[[Tensor], Any]) -> Emitted:
        """What kernels did, and what gives the answer for the matrices that they left."""
        left = done.left
        return cls(done.amplification, left, lambda: None if left is None else singly(left))


class Answers(ABC):
    """Results of one call, produced a tile of subcarriers at a time so that they stay in cache."""

    @property
    @abstractmethod
    def counts(self) -> Counts:
        """Counts of how the answers so far were obtained."""

    @property
    def reads_channel(self) -> bool:
        """Whether a tile is computed from the channel, so that a channel that is not finite shows
        in it.
        """
        return True

    def entries(self, a: Tensor) -> int:
        """Complex numbers per subcarrier that pass through the cache."""
        return a[:, :1].numel()

    @abstractmethod
    def tile(self, subcarriers: slice) -> Any:
        """The operation's answer for these subcarriers of all items, [num_items, tile, ...]."""

    def applied(self, subcarriers: slice) -> Applied | None:
        """Products with a component that the tile's answer leaves out, as None, if it does."""
        del subcarriers
        return None

    def emitted(self, emitter: Emitter) -> Emitted | None:
        """Let a kernel do everything that a block does with the answers.

        :return: None if there is no kernel; nothing was done then
        """
        del emitter
        return None

    def channel(self, subcarriers: slice, given: Tensor) -> Tensor:
        """The matrices that a tile's answer is for: the given ones, unless links are trusted."""
        return given[:, subcarriers]

    def keep(self, name: str, subcarriers: slice, make: Callable[[Tensor], T], given: Tensor) -> T:
        """What a block derives from a tile's matrices, stored under a name.

        It is computed from the matrices that the answer belongs to, :meth:`channel`. A solver may
        keep it for a link if it was computed from the link's own channel. Nothing of the caller's
        tensors is ever kept.

        :param make: computes it from matrices [num_items, tile, m, n]
        :param given: the caller's matrices, [num_items, num_frequencies, m, n]
        """
        del name
        return make(self.channel(subcarriers, given))

    def finish(self) -> None:  # noqa: B027 (most answers have nothing to do)
        """Called by a block when it has used all tiles."""


class Solver(ABC):
    """A method to obtain an operation's result at any parameter."""

    @property
    def prepares(self) -> bool:
        """Whether ``start`` makes exact samples or a training that later tiles only query."""
        return False

    @property
    def knows_links(self) -> bool:
        """Whether it has results of links that are only named, see ``Channels.trusted``."""
        return False

    @property
    def num_made(self) -> int:
        """A number that grows when a call computes something that is kept for later calls. Such a
        call takes longer than later ones.
        """
        return 0

    def knows(self, operation: Operation, num_rows: int, num_cols: int) -> bool:
        """Whether it has results of an operation on matrices of this shape.

        A block that can use one of several matrices uses one that the solver knows.
        """
        del operation, num_rows, num_cols
        return True

    @abstractmethod
    def start(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
    ) -> Answers:
        """Prepare the answers of one call. Work that is common to all tiles is done here.

        :param certify: "link" (use the proof of the training), "call" (prove the results of each
            call) or None
        :param tolerance: What a proof requires. None: the solver's default
        """

    def choosing(self, choose: Callable[[Solver], Solver]) -> Solver:
        """The solver with ``choose(way)`` wherever it would take a way by a rule instead of exact
        results.
        """
        del choose
        return self


class ExactAnswers(Answers):
    """Answers computed from the channel itself, once per subcarrier.

    Where single precision leaves too little of a result it is computed again in double precision.

    :param certify: "call" proves them, too; None looks at none of them
    :param tolerance: what a proof has to reach
    :param warned: where a warning was given of what no precision of the caller's can hold
    """

    def __init__(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = None,
        tolerance: Tolerance | None = None,
        warned: Warned | None = None,
    ) -> None:
        self.operation = operation
        self.channels = channels
        self._certify, self._tolerance = certify, tolerance or Tolerance()
        self._warned = warned or Warned()
        self._counts = Counts()
        self._lap: race.Lap | None = None

    @property
    def counts(self) -> Counts:
        return self._counts

    def finish(self) -> None:
        if self._lap is not None:
            self._lap.end()

    def tile(self, subcarriers: slice) -> Any:
        a = self._matrices(subcarriers)
        no = self.channels.noise(subcarriers=subcarriers)
        if self._certify is None or is_traced():
            return self.operation.solve(a, no)
        unproven = self._unproven(a, no) if self._certify == "call" else None
        return self._noted(self.operation.solve_surely(a, no, unproven), a)

    def emitted(self, emitter: Emitter) -> Emitted | None:
        channels = self.channels
        # A proof of each result needs the result.
        if self._certify == "call" or not emitter.covers(self.operation, channels.a, channels.no):
            return None
        self._lap = race.lap(
            channels.a.device, type(self.operation), channels.no is None, *emitter.sizes(channels.a)
        )
        if not self._lap.kernel:
            return None
        looking = self._certify is not None
        done = emit(emitter, self.operation, channels.a, channels.no, looking=looking)
        self._counts.exact += emitter.num_used(channels.a)
        self._counts.refined += done.refined
        return Emitted.of(done, self.singly)

    def singly(self, where: Tensor) -> Any:
        """The answer for single matrices in double precision, [1, num_places, ...].

        :param where: [num_items, num_frequencies] bool
        """
        a, no = self.channels.a[where][None], self.channels.noise()
        if isinstance(no, Tensor):
            no = no.expand(where.shape)[where][None]
        found = self.operation.solve_surely(a, no, torch.ones_like(a[..., 0, 0], dtype=torch.bool))
        return self._noted(found, self.channels.a)

    def _noted(self, found: Surely, a: Tensor) -> Any:
        """The answer, with what was computed again counted, and a warning of what is lost.

        :param a: all matrices that were looked at
        """
        self._counts.refined += found.refined
        warn_of_lost(self._warned, found.lost, a.shape[:2].numel(), a.dtype)
        return found.answer

    def _unproven(self, a: Tensor, no: Tensor | float) -> Tensor:
        components = self.operation.exact(a, no)
        return ~self.operation.certificate(a, components, no, self._tolerance).ok

    def _matrices(self, subcarriers: slice) -> Tensor:
        # .contiguous(): one copy of the tile into cache, from whatever strides the caller has.
        a = self.channels.a[:, subcarriers].contiguous()
        self._counts.exact += a.shape[0] * a.shape[1]
        return a


def warn_of_lost(warned: Warned, lost: int, num: int, dtype: torch.dtype) -> None:
    """Warn of results that the caller's precision cannot hold, if there are any.

    :param lost: so many, of ``num`` matrices
    """
    if lost:
        warned.once(
            "lost",
            f"{lost} of {num} matrices are so ill-conditioned that no result in "
            f"{dtype} reaches 40 dB. Use "
            'precision="double", a regularisation, or fewer streams there.',
        )


# Entries of a tile's matrices: large enough that the many small steps on a tile cost little, small
# enough that its products stay in a CPU's last cache, or fill a GPU.
_TILE_ENTRIES = {"cpu": 2**19, "cuda": 2**22}


def tiles(a: Tensor, entries: int | None = None) -> list[slice]:
    """Slices that cover the subcarriers of a [num_items, num_frequencies, ...].

    A tile has a multiple of 84 subcarriers, or of 42 where matrices are large: it falls into equal
    groups of many sizes, as tables of local functions need, and is no power of two, whose rows
    would all meet in the same sets of the cache.

    :param entries: complex numbers of a subcarrier; None counts those of a
    """
    num_subcarriers = a.shape[1]
    most = _TILE_ENTRIES.get(a.device.type, 2**22)
    step = most // max(a[:, :1].numel() if entries is None else entries, 1)
    step = max(step // 84 * 84, 42)
    return [slice(i, min(i + step, num_subcarriers)) for i in range(0, num_subcarriers, step)]


__all__ = [
    "Answers",
    "Channels",
    "Components",
    "Counts",
    "Emitted",
    "ExactAnswers",
    "Solver",
    "tiles",
    "warn_of_lost",
]
