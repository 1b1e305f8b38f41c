"""Noise powers at which what a mapping stores is the same."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from neumatc_mimo.mapping.axes.base import AXES, Axis

# From one check to the next. The part of a filter that a singular value s makes bends where the
# noise passes s², over more than a decade.
_STEP = 4.0


@AXES.register
@dataclass(frozen=True)
class NoiseRange(Axis):
    """Any noise power, of operations that follow it by what they store without it
    (``Operation.stored``).

    There are no nodes, and nothing is interpolated. Links are certified at checks from no noise to
    the upper end, and are served for whatever lies between. Far above it single precision would
    leave I - σ² X of a stored Gram matrix no digits.

    :param lowest: linear; from it on checks are a few dB apart
    :param highest: upper end, linear
    """

    kind: ClassVar[str] = "noise_range"
    lowest: float
    highest: float

    @property
    def nodes(self) -> Tensor:
        return torch.zeros(1, dtype=torch.float64)

    @property
    def checks(self) -> Tensor:
        low, high = math.log(self.lowest / _STEP), math.log(self.highest)
        num = 1 + math.ceil((high - low) / math.log(_STEP))
        powers = torch.linspace(low, high, num, dtype=torch.float64).exp()
        return torch.cat([torch.zeros_like(powers[:1]), powers])

    @property
    def powers(self) -> Tensor:
        return self.nodes

    @property
    def takes_noise(self) -> bool:
        return True

    def weights(self, values: Tensor) -> Tensor:
        return torch.ones_like(values, dtype=torch.float64)[..., None]

    def value(self, no: Tensor, time: float) -> Tensor:
        del time
        return no

    def covers(self, no: Tensor, time: float) -> Tensor:
        """1e-6 relative slack at the upper end."""
        return (no >= 0) & (no <= self.highest * (1 + 1e-6)) & (time == 0)

    def __str__(self) -> str:
        return f"noise powers from 0 to {self.highest:g}"

    def nodes_of(self, noise_free: bool) -> int:
        del noise_free
        return 1

    def _between(self, nodes: Tensor) -> Tensor:
        return nodes[:0]
