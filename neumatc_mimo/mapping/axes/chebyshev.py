"""Interpolation between Chebyshev's extrema."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def abscissae(num_nodes: int, device: torch.device | None = None) -> Tensor:
    """Chebyshev's extrema on [-1, 1], ascending."""
    order = torch.arange(num_nodes, dtype=torch.float64, device=device)
    return -torch.cos(math.pi * order / (num_nodes - 1))


def lagrange(t: Tensor, num_nodes: int) -> Tensor:
    """Lagrange's basis on the extrema at t [...] in [-1, 1]: [..., num_nodes]."""
    order = torch.arange(num_nodes, device=t.device)
    difference = t[..., None] - abscissae(num_nodes, t.device)
    hit = difference.abs() < 1e-12
    sign = 1.0 - 2 * (order % 2)
    sign = torch.where((order == 0) | (order == num_nodes - 1), sign / 2, sign)
    terms = sign / torch.where(hit, 1.0, difference)
    weights = terms / terms.sum(-1, keepdim=True)
    return torch.where(hit.any(-1, keepdim=True), hit.to(torch.float64), weights)
