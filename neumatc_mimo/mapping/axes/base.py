"""What a mapping's axis is: a second coordinate beside the frequency."""

from __future__ import annotations

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
    def takes_noise(self) -> bool:
        """Whether there are results for more than one noise power."""
        return False

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
