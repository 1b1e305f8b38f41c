"""The time in a burst as a mapping's second coordinate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from neumatc_mimo.mapping.axes.base import AXES, Axis
from neumatc_mimo.mapping.axes.chebyshev import abscissae, lagrange
from neumatc_mimo.mapping.axes.noise import NoiseAxis

# Interpolation solves for as many unknowns at once.
_MOST_NODES = 2**13


@AXES.register
@dataclass(frozen=True)
class TimeAxis(Axis):
    """The time since a burst began; all results are for one noise power.

    :param duration: of the burst, seconds
    :param num_nodes: nodes, at least two
    :param power: noise power, linear
    """

    kind: ClassVar[str] = "time"
    # Deep fades pass quickly.
    margin_db: ClassVar[float] = 6.0
    duration: float
    num_nodes: int
    power: float = 0.0

    def __post_init__(self) -> None:
        if not 2 <= self.num_nodes <= _MOST_NODES:
            raise ValueError(
                f"{self.num_nodes} nodes along {self.duration:g} s are needed, 2 to {_MOST_NODES} "
                "are possible; lower num_slots or the speed, or give num_nodes."
            )

    @classmethod
    def for_doppler(cls, duration: float, highest: float, power: float) -> TimeAxis:
        r"""As many nodes as a Doppler spread needs.

        A wave :math:`e^{j 2 \pi \nu t}` of ν T cycles over the burst is interpolated with somewhat
        more than π ν T Chebyshev nodes; filters turn with products of such waves, a few times as
        many nodes bring most of them to 40 dB (Munich, eight users at 30 km/h).

        :param duration: T in seconds
        :param highest: largest Doppler shift ν of a path relative to its row's mean, Hz
        :param power: noise power, linear
        """
        return cls(duration, 10 + math.ceil(3.5 * math.pi * highest * duration), power)

    @property
    def nodes(self) -> Tensor:
        nodes = self.duration * (abscissae(self.num_nodes) + 1) / 2
        nodes[0], nodes[-1] = 0.0, self.duration
        return nodes

    @property
    def powers(self) -> Tensor:
        return torch.tensor([self.power], dtype=torch.float64)

    def weights(self, values: Tensor) -> Tensor:
        values = values.detach().to(torch.float64)
        return lagrange(2 * values / self.duration - 1, self.num_nodes)

    @property
    def num_stretches(self) -> int:
        return len(self.checks) - 1

    def stretch(self, time: float) -> int:
        inner = self.checks[1:-1]
        return int(torch.searchsorted(inner, torch.tensor(time, dtype=inner.dtype)))

    def by_stretch(self, marks: Tensor) -> Tensor:
        """From one check to the next, whichever of the two is worse."""
        return torch.maximum(marks[..., 1:], marks[..., :-1])

    def value(self, no: Tensor, time: float) -> Tensor:
        return torch.full_like(no, time)

    def covers(self, no: Tensor, time: float) -> Tensor:
        """1e-6 relative slack at both ends."""
        slack = 1e-6 * self.duration
        return NoiseAxis.at(self.power).covers(no, 0.0) & (-slack <= time <= self.duration + slack)

    def __str__(self) -> str:
        return f"the noise power {self.power:g} and times from 0 to {self.duration:g} s"

    def nodes_of(self, noise_free: bool) -> int:
        del noise_free
        return self.num_nodes

    def _between(self, nodes: Tensor) -> Tensor:
        # At four places of every interval.
        shares = torch.arange(1, 8, 2, dtype=torch.float64) / 8
        return (nodes[:-1, None] + shares * nodes.diff()[:, None]).flatten()
