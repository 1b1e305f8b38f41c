"""A component's latent tensors as a model stores them: in single precision, or in 16 bits."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

# Integers reach from minus this to this.
_LARGEST = 2**15 - 1


@dataclass(frozen=True)
class Latent:
    r"""Rows of real numbers, one for each function and node.

    In 16 bits a number is :math:`q s`, of an integer q and the scale s of its row and column: the
    largest of these decides. Rounding is 90 dB below them, at any size that a row has; the half
    precision of IEEE 754 leaves 72 dB, and its range.

    :param numbers: [num_links, rank, nodes, n], int16, or of a real type
    :param scales: [num_links, rank, nodes, columns] float32, by turns of neighbouring pairs of
        numbers, as complex entries of a row of a matrix have them; None where numbers are what they
        are
    """

    numbers: Tensor
    scales: Tensor | None = None

    @classmethod
    def in_16_bits(cls, numbers: Tensor, columns: int) -> Latent:
        """Real numbers [..., n] of complex matrices with so many columns, rounded."""
        by_column = numbers.unflatten(-1, (-1, columns, 2))
        scales = by_column.abs().amax((-3, -1)) / _LARGEST
        # Rows of zeros have no scale, and need none.
        steps = torch.where(scales > 0, scales, 1)[..., None, :, None]
        rounded = (by_column / steps).round().clamp(-_LARGEST, _LARGEST).to(torch.int16)
        return cls(rounded.flatten(-3), scales.to(torch.float32))

    @property
    def shape(self) -> torch.Size:
        """Of the numbers."""
        return self.numbers.shape

    @property
    def values(self) -> Tensor:
        """The numbers as they are, [num_links, rank, nodes, n] real."""
        if self.scales is None:
            return self.numbers
        columns = self.scales.shape[-1]
        by_column = self.numbers.to(self.scales.dtype).unflatten(-1, (-1, columns, 2))
        return (by_column * self.scales[..., None, :, None]).flatten(-3)

    @property
    def num_bytes(self) -> int:
        """Bytes of all."""
        return self.numbers.nbytes + (0 if self.scales is None else self.scales.nbytes)

    def __getitem__(self, index: Tensor | slice) -> Latent:
        """Those of some links."""
        scales = None if self.scales is None else self.scales[index]
        return Latent(self.numbers[index], scales)

    def to(self, other: torch.device | str | torch.dtype) -> Latent:
        """On another device, or as numbers of another real precision."""
        if isinstance(other, torch.dtype):
            return Latent(self.values.to(other))
        scales = None if self.scales is None else self.scales.to(other)
        return replace(self, numbers=self.numbers.to(other), scales=scales)

    def tensors(self, name: str) -> dict[str, Tensor]:
        """All tensors by names that begin with this one."""
        named = {f"latent.{name}": self.numbers}
        return named if self.scales is None else named | {f"scale.{name}": self.scales}

    @staticmethod
    def concatenate(parts: list[Latent]) -> Latent:
        """One of all the links of several that are stored alike."""
        scales = [part.scales for part in parts if part.scales is not None]
        return Latent(torch.cat([p.numbers for p in parts]), torch.cat(scales) if scales else None)


__all__ = ["Latent"]
