"""Entries of synthetic families: their checks, and how they are drawn."""

from __future__ import annotations

import torch
from torch import Tensor


def check_shape(shape: tuple[int, int]) -> None:
    """Refuse a matrix without rows or columns."""
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"A matrix has rows and columns, both at least one, not {shape}.")


def check_decay(decay: float) -> None:
    """Refuse a decay from column to column that is none."""
    if not 0 < decay <= 1:
        raise ValueError(f"The decay of the columns is {decay}, it lies in (0, 1].")


def uniform(*size: int, generator: torch.Generator) -> Tensor:
    """Numbers from 0 to 1, float64."""
    return torch.rand(*size, dtype=torch.float64, generator=generator)


def normal(size: tuple[int, ...], complex_valued: bool, generator: torch.Generator) -> Tensor:
    """Unit-variance normal numbers, float64 or complex128."""
    dtype = torch.complex128 if complex_valued else torch.float64
    return torch.randn(size, dtype=dtype, generator=generator)


def diagonal(shape: tuple[int, int], value: float) -> Tensor:
    """A value on the main diagonal, [m, n] float64."""
    return value * torch.eye(*shape, dtype=torch.float64)
