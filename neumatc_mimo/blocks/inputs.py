"""The inputs of a block, and whose links are trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

import torch
from torch import Tensor

from neumatc_mimo.tensors.tracing import is_traced


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What every block is called with; its own tensors, [batch_size or 1, ...], come beside.

    :param links: [batch_size, num_tx or num_rx] link index or -1, or None where they are to be
        recognised
    :param time: Seconds from the burst's begin to the slot; None if users do not move
    :param trusted: Transmitters or receivers whose links are trusted, the same for all items
    """

    # What the matrices are applied to: of a block's results, the first alone depends on it.
    symbols: ClassVar[str]

    links: Tensor | None
    time: float | None
    trusted: frozenset[int] = frozenset()

    def links_of(self, number: int) -> Tensor | None:
        """Links of one transmitter or receiver, [batch_size]."""
        return None if self.links is None else self.links[:, number]

    def tensors(self) -> dict[str, Tensor]:
        """All that is given, by name; :meth:`of_tensors` makes the same inputs of it."""
        given = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        if self.time is not None and "time" not in given:
            given["time"] = torch.as_tensor(self.time, dtype=torch.float64)
        return given

    @classmethod
    def of_tensors(cls, given: dict[str, Tensor]) -> Self:
        """The inputs that have these tensors, of which nobody is trusted."""
        names = [field.name for field in fields(cls) if field.name != "trusted"]
        values: dict[str, Any] = {name: given.get(name) for name in names}
        return cls(**values)

    def select(self, items: Tensor) -> Self:
        """The inputs of some items. A tensor with one item is used for all."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        some: dict[str, Any] = {
            name: value[items]
            for name, value in values.items()
            if isinstance(value, Tensor) and value.shape[0] != 1
        }
        return replace(self, **some)


class ResultKind(NamedTuple):
    """What is known of a block's result before it is computed.

    :param shape: as long as any input's symbols differ, where the result has some
    """

    dtype: torch.dtype
    shape: tuple[int, ...]


Given = TypeVar("Given", bound=Inputs)


def by_trust(call: Callable[[Given], Any], inputs: Given, trust: str) -> Any:
    """What ``call(inputs)`` returns, a tensor or a tuple of them, called with whom to trust.

    A batch whose items have other transmitters or receivers of known links is taken apart.

    :param trust: "estimate" or "model", see
        :class:`~neumatc_mimo.foundation.block_settings.BlockSettings`
    """
    if trust == "estimate":
        return call(inputs)
    links = inputs.links
    assert links is not None
    if is_traced() or bool((links >= 0).all()):
        return call(replace(inputs, trusted=frozenset(range(links.shape[1]))))
    patterns, kind = torch.unique(links >= 0, dim=0, return_inverse=True)
    if len(patterns) == 1:
        return call(replace(inputs, trusted=frozenset(patterns[0].nonzero()[:, 0].tolist())))
    outputs = []
    for number, named in enumerate(patterns):
        items = (kind == number).nonzero()[:, 0]
        trusted = frozenset(named.nonzero()[:, 0].tolist())
        outputs.append((items, call(replace(inputs.select(items), trusted=trusted))))
    if isinstance(outputs[0][1], Tensor):
        return _put_together(len(links), outputs)
    return tuple(
        _put_together(len(links), [(items, output[i]) for items, output in outputs])
        for i in range(len(outputs[0][1]))
    )


def _put_together(num_items: int, outputs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """One tensor [num_items, ...] of those of some items each."""
    whole = outputs[0][1].new_empty(num_items, *outputs[0][1].shape[1:])
    for items, output in outputs:
        whole[items] = output
    return whole
