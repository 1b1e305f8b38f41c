"""A mapping that was trained before, by whatever method, as a solver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from neumatc_mimo.operations.base import Components, Operation
from neumatc_mimo.solvers.approximating import Approximating
from neumatc_mimo.solvers.approximation import Approximation
from neumatc_mimo.solvers.base import Channels


@dataclass(frozen=True)
class Trained(Approximating):
    """Queries of mappings from the parameter to an operation's components, one an item.

    :param mappings: p [B, 1], in Hz as the channels' frequencies, to components [B, ...];
        a :class:`~neumatc_mimo.learning.network.NeuMatC` of one parameter is such a mapping

    :raises ValueError: in ``start``, if there are not as many mappings as items
    """

    prepares: ClassVar[bool] = True

    mappings: Sequence[Callable[[Tensor], Components]]

    def _approximate(self, operation: Operation, channels: Channels) -> Approximation:
        if len(self.mappings) != len(channels.a):
            raise ValueError(
                f"There are {len(self.mappings)} trained mappings for {len(channels.a)} items, "
                "give one an item."
            )

        def approximation(subcarriers: slice) -> Components:
            p = channels.frequencies[subcarriers, None]
            parts = [mapping(p) for mapping in self.mappings]
            if len(parts) == 1:
                return tuple(c[None] for c in parts[0])
            return tuple(torch.stack(c) for c in zip(*parts, strict=True))

        return approximation
