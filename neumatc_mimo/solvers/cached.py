"""A solver that keeps its answers for channels that come again."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

from neumatc_mimo.foundation.display import brief
from neumatc_mimo.operations.base import Operation, Tolerance
from neumatc_mimo.solvers.base import Answers, Channels, Counts, Solver
from neumatc_mimo.solvers.delegating import Delegating, DelegatingSolver
from neumatc_mimo.tensors.cache import outside_call, storage_bytes
from neumatc_mimo.tensors.tracing import is_traced

T = TypeVar("T")


class Cached(DelegatingSolver):
    """Another solver's answers, computed once and given again for the same channels.

    Simulations that draw new noise and new symbols over one channel ask for the same matrices
    again and again. The answers of the last calls are kept, and serve another one if it asks the
    same: each entry of the channel, the noise power and the links is equal, and so are operation,
    frequencies, time and settings. Where links are trusted the channel does not matter.

    What is compared is a copy, and what is kept is computed from it: nothing of the caller's
    tensors outlives the call. What needs a gradient is computed anew by the solver and not kept.
    Threads may share it. Copies of it, by ``pickle`` or ``copy``, have kept nothing yet.

    :param solver: The solver whose answers are kept
    :param num_calls: Number of calls whose answers are kept; a block makes one for each transmitter
        or receiver, and for each OFDM symbol of a channel that varies

    :raises ValueError: if ``num_calls`` is below one
    """

    def __init__(self, solver: Solver, num_calls: int = 1) -> None:
        if num_calls < 1:
            raise ValueError(f"num_calls is {num_calls}, at least one is needed.")
        super().__init__(solver)
        self.num_calls = num_calls
        self._lock = threading.Lock()
        self._kept: deque[_Kept] = deque(maxlen=num_calls)

    @property
    def solver(self) -> Solver:
        """The solver whose answers are kept."""
        return self._inner

    def around(self, inner: Solver) -> Cached:
        return Cached(inner, self.num_calls)

    def start(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
    ) -> Answers:
        if is_traced() or _is_differentiated(channels):
            return super().start(operation, channels, certify, tolerance)
        asked = _Asked.of(operation, channels, certify, tolerance)
        kept = self._find(asked)
        if kept is not None:
            return _CachedAnswers(kept, kept.counts_again())
        with outside_call():
            asked = asked.copied()
            kept = _Kept(asked, super().start(operation, asked.channels, certify, tolerance))
        with self._lock:
            self._kept.append(kept)
        return _FirstAnswers(kept, replace(kept.started))

    def _find(self, asked: _Asked) -> _Kept | None:
        """What is kept of an earlier call that asked the same."""
        with self._lock:
            candidates = list(self._kept)
        # Nobody waits while channels are compared.
        for kept in reversed(candidates):
            if kept.asked.is_same(asked):
                with self._lock:
                    if kept in self._kept:
                        self._kept.remove(kept)
                        self._kept.append(kept)
                return kept
        return None

    @property
    def num_bytes(self) -> int:
        """Bytes of what is kept: answers, and the channels that they belong to."""
        with self._lock:
            candidates = list(self._kept)
        return storage_bytes(tensor for kept in candidates for tensor in kept.tensors())

    def clear(self) -> None:
        """Forget the answers."""
        with self._lock:
            self._kept.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {"solver": self._inner, "num_calls": self.num_calls}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"Cached({brief(self.solver)}, num_calls={self.num_calls})"


@dataclass(frozen=True, eq=False)
class _Asked:
    """What a call asks for.

    :param settings: all of it that are plain values
    """

    settings: tuple[Any, ...]
    channels: Channels

    @classmethod
    def of(
        cls,
        operation: Operation,
        channels: Channels,
        certify: str | None,
        tolerance: Tolerance | None,
    ) -> _Asked:
        a = channels.a
        kind = (type(operation), operation.settings(), operation.unused)
        flags = (channels.products, channels.trusted, channels.time)
        return cls((*kind, certify, tolerance, *flags, a.shape, a.dtype, a.device), channels)

    def copied(self) -> _Asked:
        """The same, with nothing of the caller's tensors.

        The channel's copy is dense and in the order of the caller's dimensions: comparing them
        runs through both at the speed of memory. Of trusted links the channel is not looked at,
        and whoever does so nevertheless finds NaN.
        """
        given = self.channels
        a = given.a.new_full((), torch.nan).expand(given.a.shape) if given.trusted else given.a
        copied = replace(
            given,
            a=a if given.trusted else a.clone(),
            frequencies=given.frequencies.clone(),
            no=None if given.no is None else given.no.clone(),
            links=None if given.links is None else given.links.clone(),
        )
        return _Asked(self.settings, copied)

    def is_same(self, other: _Asked) -> bool:
        """Whether another call asks the same. NaN equals nothing."""
        mine, others = self.channels, other.channels
        return (
            self.settings == other.settings
            and _equal(mine.frequencies, others.frequencies)
            and _equal(mine.no, others.no)
            and _equal(mine.links, others.links)
            and (mine.trusted or _equal(mine.a, others.a))
        )


@dataclass(eq=False)
class _Kept:
    """Answers that calls share.

    :param answers: of the solver, for the copied channels
    :param lock: held while ``answers`` computes a tile
    """

    asked: _Asked
    answers: Answers
    started: Counts = field(init=False)
    tiles: dict[tuple[int, int], Any] = field(default_factory=dict)
    derived: dict[tuple[str, int, int], Any] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.started = replace(self.answers.counts)

    def counts_again(self) -> Counts:
        """Links of another call; no subcarrier is computed for it.

        Links are what they were. Those that the solver has no name for are known from the call
        before.
        """
        named = {k: v for k, v in vars(self.started).items() if k.startswith("links_")}
        counts = Counts(**named)
        counts.links_recalled += len(self.asked.channels.a) - sum(named.values())
        return counts

    def tensors(self) -> Iterator[Tensor]:
        """All that is kept."""
        yield self.asked.channels.a
        for tile in list(self.tiles.values()):
            yield from (value for value in tile if isinstance(value, Tensor))
        yield from (value for value in list(self.derived.values()) if isinstance(value, Tensor))


class _CachedAnswers(Delegating):
    """Kept answers, as one call sees them.

    :param counts: of the call so far
    """

    def __init__(self, kept: _Kept, counts: Counts) -> None:
        super().__init__(kept.answers)
        self._kept, self._counts = kept, counts

    @property
    def counts(self) -> Counts:
        return self._counts

    def tile(self, subcarriers: slice) -> Any:
        key = (subcarriers.start, subcarriers.stop)
        kept = self._kept
        with kept.lock:
            if key not in kept.tiles:
                before = replace(kept.answers.counts)
                with outside_call():
                    kept.tiles[key] = super().tile(subcarriers)
                self._counts.add(_difference(kept.answers.counts, before))
            return kept.tiles[key]

    def keep(self, name: str, subcarriers: slice, make: Callable[[Tensor], T], given: Tensor) -> T:
        del given  # equal to the copy
        key = (name, subcarriers.start, subcarriers.stop)
        derived = self._kept.derived
        if key not in derived:
            with outside_call():
                made = super().keep(name, subcarriers, make, self._kept.asked.channels.a)
            derived.setdefault(key, made)
        found: T = derived[key]
        return found

    def finish(self) -> None:
        # The solver's own answers were finished by the call that started them.
        return


class _FirstAnswers(_CachedAnswers):
    """Kept answers, as the call sees them that started them."""

    def finish(self) -> None:
        self._kept.answers.finish()


def _is_differentiated(channels: Channels) -> bool:
    """Whether a derivative with respect to the channel or the noise power is asked for."""
    inputs = [value for value in (channels.a, channels.no) if value is not None]
    if torch.is_grad_enabled() and any(value.requires_grad for value in inputs):
        return True
    return any(forward_ad.unpack_dual(value).tangent is not None for value in inputs)


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    same = (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)
    return same and torch.equal(one, other)


def _difference(counts: Counts, before: Counts) -> Counts:
    return Counts(**{name: value - vars(before)[name] for name, value in vars(counts).items()})
