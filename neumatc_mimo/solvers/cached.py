"""A solver that keeps its answers for channels that come again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor

from neumatc_mimo.foundation.display import brief
from neumatc_mimo.operations.base import Operation, Tolerance
from neumatc_mimo.solvers.base import Answers, Channels, Counts, Solver
from neumatc_mimo.solvers.delegating import Delegating, DelegatingSolver
from neumatc_mimo.tensors.memo import Memo

T = TypeVar("T")


class Cached(DelegatingSolver):
    """Another solver's answers, computed once and given again for the same channels.

    Simulations that draw new noise and new symbols over one channel ask for the same matrices
    again and again. The answers of the last calls are kept; they serve another one if operation,
    frequencies and noise power are the same and the channels agree bit by bit at probe
    subcarriers. Two channels that agree at 16 spread subcarriers and differ elsewhere do not occur
    by chance; where they are made on purpose compare all subcarriers.

    :param solver: The solver whose answers are kept
    :param num_probes: Number of subcarriers at which channels are compared; None compares all
    :param num_calls: Number of calls whose answers are kept; a block makes one for each transmitter
        or receiver, and for each OFDM symbol of a channel that varies
    """

    def __init__(self, solver: Solver, num_probes: int | None = 16, num_calls: int = 1) -> None:
        for name, value in (("num_probes", num_probes), ("num_calls", num_calls)):
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}, at least one is needed.")
        super().__init__(solver)
        self.num_probes = num_probes
        self._kept = Memo(num_calls)

    @property
    def solver(self) -> Solver:
        """The solver whose answers are kept."""
        return self._inner

    def around(self, inner: Solver) -> Cached:
        return Cached(inner, self.num_probes)

    def start(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
    ) -> Answers:
        num = channels.a.shape[1]
        step = 1 if self.num_probes is None else max(num // self.num_probes, 1)
        # A copy: the caller may fill the same memory anew. The answers of named links hold for any.
        probes = None if channels.trusted else channels.a[:, ::step].clone()
        plain = (operation.settings(), certify, tolerance, channels.a.shape, channels.a.dtype)
        no = None if channels.no is None else channels.no.clone()
        answers = self._kept(
            (*plain, channels.frequencies, no, channels.links, probes, channels.trusted),
            lambda: _Kept(self.solver.start(operation, channels, certify, tolerance)),
        )
        if answers.used:
            num_items = channels.a.shape[0]
            answers.served = (
                Counts(links_trusted=num_items)
                if channels.trusted
                else Counts(links_recalled=num_items)
            )
        answers.used = True
        return answers

    @property
    def num_bytes(self) -> int:
        """Bytes of the answers that are kept."""
        return sum(kept.num_bytes for kept in self._kept)

    def clear(self) -> None:
        """Forget the answers."""
        self._kept.clear()

    def __repr__(self) -> str:
        return f"Cached({brief(self.solver)}, num_probes={self.num_probes})"


class _Kept(Delegating):
    """Tiles of answers, remembered."""

    def __init__(self, answers: Answers) -> None:
        super().__init__(answers)
        self.used = False
        self._tiles: dict[tuple[int, int], Any] = {}
        self._derived: dict[tuple[str, int, int], Any] = {}
        self.served: Counts | None = None

    @property
    def counts(self) -> Counts:
        return super().counts if self.served is None else self.served

    def tile(self, subcarriers: slice) -> Any:
        key = (subcarriers.start, subcarriers.stop)
        if key not in self._tiles:
            self._tiles[key] = super().tile(subcarriers)
        return self._tiles[key]

    def keep(self, name: str, subcarriers: slice, make: Callable[[Tensor], T], given: Tensor) -> T:
        key = (name, subcarriers.start, subcarriers.stop)
        if key not in self._derived:
            self._derived[key] = super().keep(name, subcarriers, make, given)
        derived: T = self._derived[key]
        return derived

    @property
    def num_bytes(self) -> int:
        storages = {
            field.untyped_storage().data_ptr(): field.untyped_storage().nbytes()
            for tile in self._tiles.values()
            for field in tile
            if isinstance(field, Tensor)
        }
        return sum(storages.values())
