"""Second coordinates of a mapping beside the frequency: the noise power, or the time in a burst."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from neumatc_mimo.foundation.registry import Registry


@dataclass(frozen=True)
class Axis(ABC):
    r"""Interpolation of a mapping's latent tensors along one coordinate, between Chebyshev nodes.

    The basis ψ_j is Lagrange's on the extrema, written barycentrically (Berrut and Trefethen,
    SIAM Review 46, 2004).
    """

    kind: ClassVar[str]
    # By how much a certificate at the checks exceeds what is asked for, so that it vouches for
    # what lies between. Where there is such a margin, results that need correction are proven again
    # when they are asked for.
    margin_db: ClassVar[float] = 0.0

    @property
    @abstractmethod
    def nodes(self) -> Tensor:
        """Values of the nodes, [num_nodes], float64; of several the first is exactly 0."""

    @property
    def checks(self) -> Tensor:
        """Values at which links are certified, [num_checks]: the ends, and between the nodes, where
        interpolation is at its worst.
        """
        nodes = self.nodes
        if len(nodes) == 1:
            return nodes
        return torch.cat([nodes[:1], self._between(nodes), nodes[-1:]]).unique()

    @property
    def num_stretches(self) -> int:
        """Number of stretches of the axis that have certificates of their own."""
        return 1

    def stretch(self, time: float) -> int:
        """The stretch of a time."""
        del time
        return 0

    def by_stretch(self, marks: Tensor) -> Tensor:
        """The largest marks of each stretch [..., num_stretches] from those at the checks
        [..., num_checks].
        """
        return marks.amax(-1, keepdim=True)

    @property
    @abstractmethod
    def powers(self) -> Tensor:
        """Noise powers that operations are given at the nodes, [num_nodes], or [1] for all."""

    @abstractmethod
    def weights(self, values: Tensor) -> Tensor:
        """ψ at values [...]: [..., num_nodes], float64."""

    @abstractmethod
    def value(self, no: Tensor, time: float) -> Tensor:
        """The coordinate for noise powers [...] at a time in seconds."""

    @abstractmethod
    def covers(self, no: Tensor, time: float) -> Tensor:
        """Which noise powers [...] at a time are within what the axis stands for."""

    @abstractmethod
    def __str__(self) -> str:
        """What it stands for, in words."""

    @abstractmethod
    def nodes_of(self, noise_free: bool) -> int:
        """Nodes of a component that does, or does not, depend on the noise power."""

    def settings(self) -> dict[str, Any]:
        """Kind and constructor arguments, plain values."""
        return {"kind": self.kind} | vars(self)

    @abstractmethod
    def _between(self, nodes: Tensor) -> Tensor:
        """Values between neighbouring nodes."""


AXES: Registry[type[Axis]] = Registry("axis", base=Axis, key="kind")


def make_axis(settings: dict[str, Any]) -> Axis:
    """The axis that ``Axis.settings`` described.

    :raises ValueError: if there is no axis of that kind
    """
    axis: Axis = AXES.make(settings)
    return axis


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
        powers = torch.exp(low + (_abscissae(self.num_nodes) + 1) / 2 * (high - low)) - self.lowest
        powers[0], powers[-1] = 0.0, self.highest
        return powers

    @property
    def powers(self) -> Tensor:
        return self.nodes

    def weights(self, values: Tensor) -> Tensor:
        values = values.detach().to(torch.float64)
        if self.num_nodes == 1:
            return torch.ones_like(values)[..., None]
        low, high = self._ends
        t = 2 * (torch.log(values + self.lowest) - low) / (high - low) - 1
        return _lagrange(t, self.num_nodes)

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
        nodes = self.duration * (_abscissae(self.num_nodes) + 1) / 2
        nodes[0], nodes[-1] = 0.0, self.duration
        return nodes

    @property
    def powers(self) -> Tensor:
        return torch.tensor([self.power], dtype=torch.float64)

    def weights(self, values: Tensor) -> Tensor:
        values = values.detach().to(torch.float64)
        return _lagrange(2 * values / self.duration - 1, self.num_nodes)

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


def _abscissae(num_nodes: int, device: torch.device | None = None) -> Tensor:
    """Chebyshev's extrema on [-1, 1], ascending."""
    order = torch.arange(num_nodes, dtype=torch.float64, device=device)
    return -torch.cos(math.pi * order / (num_nodes - 1))


def _lagrange(t: Tensor, num_nodes: int) -> Tensor:
    """Lagrange's basis on the extrema at t [...] in [-1, 1]: [..., num_nodes]."""
    order = torch.arange(num_nodes, device=t.device)
    difference = t[..., None] - _abscissae(num_nodes, t.device)
    hit = difference.abs() < 1e-12
    sign = 1.0 - 2 * (order % 2)
    sign = torch.where((order == 0) | (order == num_nodes - 1), sign / 2, sign)
    terms = sign / torch.where(hit, 1.0, difference)
    weights = terms / terms.sum(-1, keepdim=True)
    return torch.where(hit.any(-1, keepdim=True), hit.to(torch.float64), weights)
