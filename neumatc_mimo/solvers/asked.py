"""What a call asks of a solver, and whether another one asks the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from neumatc_mimo.operations.base import Operation, Tolerance
from neumatc_mimo.solvers.base import Channels


@dataclass(frozen=True, eq=False)
class Asked:
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
    ) -> Asked:
        a = channels.a
        kind = (type(operation), operation.settings(), operation.unused)
        flags = (channels.products, channels.trusted, channels.time)
        return cls((*kind, certify, tolerance, *flags, a.shape, a.dtype, a.device), channels)

    def copied(self) -> Asked:
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
        return Asked(self.settings, copied)

    def is_same(self, other: Asked) -> bool:
        """Whether another call asks the same. NaN equals nothing."""
        mine, others = self.channels, other.channels
        return (
            self.settings == other.settings
            and _equal(mine.frequencies, others.frequencies)
            and _equal(mine.no, others.no)
            and _equal(mine.links, others.links)
            and (mine.trusted or _equal(mine.a, others.a))
        )


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    same = (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)
    return same and torch.equal(one, other)
