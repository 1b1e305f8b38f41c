"""The noise coordinate: powers on a logarithmic axis that reaches zero, and its basis."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class NoiseAxis:
    r"""Interpolation over the noise power on the coordinate ν = log(no + no_min).

    The lower end of the axis is no = 0, zero forcing; a power at or above ``highest`` leaves it.
    MMSE filters are smooth in ν: every singular value s enters as s / (s² + no). Between the
    Chebyshev nodes (extrema) the basis ψ_j(ν) is Lagrange's, written barycentrically.

    :param lowest: no_min, linear
    :param highest: upper end, linear
    :param num_nodes: nodes; a single one is the power ``highest``, and nothing along it
    """

    lowest: float
    highest: float
    num_nodes: int

    @classmethod
    def at(cls, power: float) -> NoiseAxis:
        """One noise power; zero for an operation without noise."""
        return cls(power, power, 1)

    @property
    def nodes(self) -> Tensor:
        """Noise powers of the nodes, [num_nodes], float64; of several the first is exactly 0."""
        if self.num_nodes == 1:
            return torch.tensor([self.highest], dtype=torch.float64)
        low, high = self._ends
        abscissae = self._abscissae(torch.arange(self.num_nodes, dtype=torch.float64))
        powers = torch.exp(low + (abscissae + 1) / 2 * (high - low)) - self.lowest
        powers[0], powers[-1] = 0.0, self.highest
        return powers

    def weights(self, no: Tensor) -> Tensor:
        """ψ at noise powers [...]: [..., num_nodes], float64."""
        no = no.detach().to(torch.float64)
        if self.num_nodes == 1:
            return torch.ones_like(no)[..., None]
        low, high = self._ends
        t = 2 * (torch.log(no + self.lowest) - low) / (high - low) - 1
        order = torch.arange(self.num_nodes, dtype=torch.float64, device=no.device)
        difference = t[..., None] - self._abscissae(order)
        hit = difference.abs() < 1e-12
        sign = 1 - 2 * (order % 2)
        sign = torch.where((order == 0) | (order == self.num_nodes - 1), sign / 2, sign)
        terms = sign / torch.where(hit, 1.0, difference)
        weights = terms / terms.sum(-1, keepdim=True)
        return torch.where(hit.any(-1, keepdim=True), hit.to(torch.float64), weights)

    def contains(self, no: Tensor) -> Tensor:
        """Where powers lie within the axis (1e-6 relative slack at the upper end).

        On an axis of one power it is that power, to 1e-3, or none given.
        """
        if self.num_nodes == 1:
            return (no == 0) | ((no - self.highest).abs() <= 1e-3 * self.highest)
        return (no >= 0) & (no <= self.highest * (1 + 1e-6))

    @property
    def _ends(self) -> tuple[float, float]:
        return math.log(self.lowest), math.log(self.highest + self.lowest)

    def _abscissae(self, order: Tensor) -> Tensor:
        return -torch.cos(math.pi * order / (self.num_nodes - 1))
