"""The noise power as a mapping's second coordinate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from neumatc_mimo.mapping.axes.base import AXES, Axis
from neumatc_mimo.mapping.axes.chebyshev import abscissae, lagrange


@AXES.register
@dataclass(frozen=True)
class NoiseAxis(Axis):
    r"""The noise power on the coordinate ν = log(no + no_min).

    The lower end of the axis is no = 0, zero forcing; a power at or above ``highest`` leaves it.
    MMSE filters are smooth in ν: every singular value s enters as s / (s² + no).

    :param lowest: no_min, linear
    :param highest: upper end, linear
    :param num_nodes: nodes; a single one is the power ``highest``, and nothing along it
    """

    kind: ClassVar[str] = "noise"
    lowest: float
    highest: float
    num_nodes: int

    @classmethod
    def at(cls, power: float) -> NoiseAxis:
        """One noise power; zero for an operation without noise."""
        return cls(power, power, 1)

    @property
    def nodes(self) -> Tensor:
        if self.num_nodes == 1:
            return torch.tensor([self.highest], dtype=torch.float64)
        low, high = self._ends
        powers = torch.exp(low + (abscissae(self.num_nodes) + 1) / 2 * (high - low)) - self.lowest
        powers[0], powers[-1] = 0.0, self.highest
        return powers

    @property
    def powers(self) -> Tensor:
        return self.nodes

    @property
    def takes_noise(self) -> bool:
        return self.num_nodes > 1

    def weights(self, values: Tensor) -> Tensor:
        values = values.detach().to(torch.float64)
        if self.num_nodes == 1:
            return torch.ones_like(values)[..., None]
        low, high = self._ends
        t = 2 * (torch.log(values + self.lowest) - low) / (high - low) - 1
        return lagrange(t, self.num_nodes)

    def value(self, no: Tensor, time: float) -> Tensor:
        del time
        return no

    def covers(self, no: Tensor, time: float) -> Tensor:
        """1e-6 relative slack at the upper end; on an axis of one power it is that power, to 1e-3,
        or none given.
        """
        if self.num_nodes == 1:
            inside = (no == 0) | ((no - self.highest).abs() <= 1e-3 * self.highest)
        else:
            inside = (no >= 0) & (no <= self.highest * (1 + 1e-6))
        return inside & (time == 0)

    def __str__(self) -> str:
        if self.num_nodes == 1:
            return f"the noise power {self.highest:g}"
        return f"noise powers from 0 to {self.highest:g}"

    def nodes_of(self, noise_free: bool) -> int:
        return 1 if noise_free else self.num_nodes

    def _between(self, nodes: Tensor) -> Tensor:
        # The first node is zero, which has no logarithm.
        return torch.cat([nodes[1:2] / 2, (nodes[1:-1] * nodes[2:]).sqrt()])

    @property
    def _ends(self) -> tuple[float, float]:
        return math.log(self.lowest), math.log(self.highest + self.lowest)
