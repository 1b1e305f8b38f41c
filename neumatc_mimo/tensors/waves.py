"""Waves e^{-j2πfτ}, as exact as their dtype allows."""

from __future__ import annotations

import torch
from torch import Tensor


def wave(frequencies: Tensor, delays: Tensor, dtype: torch.dtype = torch.complex128) -> Tensor:
    r""":math:`e^{-j 2\pi f \tau}`, differentiable.

    :param frequencies: f in Hz
    :param delays: :math:`\tau` in seconds; the two broadcast
    :param dtype: torch.complex64 or torch.complex128
    """
    return turned(-(frequencies.to(torch.float64) * delays.to(torch.float64)), dtype)


def turned(turns: Tensor, dtype: torch.dtype = torch.complex128) -> Tensor:
    r""":math:`e^{j 2\pi u}` of u turns, differentiable.

    Whole turns are dropped in float64: a phase of many of them loses digits in the exponential, and
    what is left fits float32 without loss of phase.

    :param turns: u
    :param dtype: torch.complex64 or torch.complex128
    """
    turns = turns.to(torch.float64)
    real = torch.float32 if dtype == torch.complex64 else torch.float64
    angle = (2 * torch.pi * (turns - turns.round())).to(real)
    return torch.polar(torch.ones_like(angle), angle)
