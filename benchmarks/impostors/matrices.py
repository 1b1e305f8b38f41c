"""Random matrices that impostors are made for, kind and bad."""

from __future__ import annotations

import torch
from torch import Tensor


def channels(num: int, rows: int, cols: int, generator: torch.Generator) -> Tensor:
    """Channels [num, rows, cols] in single precision: independent entries, few paths, rows of
    unequal gains, rows that are nearly alike, by turns.
    """
    a = _normal((num, rows, cols), generator)
    kinds = torch.arange(num) % 4
    a[kinds == 1] = _paths(int((kinds == 1).sum()), rows, cols, generator)
    gains = 10 ** (1.5 * torch.rand(num, rows, 1, generator=generator) - 1.5)
    a[kinds == 2] *= gains[kinds == 2]
    alike = a[:, :1] + 0.3 * a
    a[kinds == 3] = alike[kinds == 3]
    return a / a.abs().square().mean((-2, -1), keepdim=True).sqrt()


def squares(num: int, rows: int, generator: torch.Generator) -> Tensor:
    """Square matrices [num, rows, rows], condition numbers of thousands included."""
    return channels(num, rows, rows, generator)


def hermitian(num: int, rows: int, generator: torch.Generator) -> Tensor:
    """Hermitian matrices [num, rows, rows] with eigenvalues of both signs."""
    a = squares(num, rows, generator)
    return (a + a.mH) / 2


def definite(num: int, rows: int, generator: torch.Generator) -> Tensor:
    """Hermitian positive definite matrices [num, rows, rows]."""
    a = squares(num, rows, generator)
    return a @ a.mH + 0.03 * torch.eye(rows)


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, dtype=torch.complex64, generator=generator)


def _paths(num: int, rows: int, cols: int, generator: torch.Generator, paths: int = 3) -> Tensor:
    """Users within a sector who have three paths each to a uniform linear array."""
    centre = 2 * torch.rand(num, 1, paths, generator=generator) - 1
    sine = centre + 0.1 * torch.randn(num, rows, paths, generator=generator)
    phase = torch.pi * sine[..., None] * torch.arange(cols)
    waves = torch.polar(torch.ones_like(phase), phase)
    return (_normal((num, rows, paths, 1), generator) * waves).sum(-2)
