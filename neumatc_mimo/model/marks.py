"""What a training proved of a model at every subcarrier, and what it has to do there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from neumatc_mimo.foundation.tolerance import Tolerance


@dataclass(frozen=True)
class Marks:
    """How the answers of links are made at each subcarrier of their grid, and how good they are.

    All [num_links, num_stretches, fft_size]; stretches are those of the mapping's axis.

    :param corrected: correction steps in double precision that a mapped result takes, int8
    :param patched: exact results of the links' own channels take the place of mapped ones, bool
    :param fragile: nothing that is made from the links' own channels holds for the channel of a
        call, whose rounding decides: it is computed exactly from that, bool
    :param quality_db: quality that is proven of what is served, int8, rounded down
    :param range_db: likewise the range error, as -20 log10, int8
    """

    corrected: Tensor
    patched: Tensor
    fragile: Tensor
    quality_db: Tensor
    range_db: Tensor

    @property
    def any(self) -> Tensor:
        """Where a mapping alone is not served, bool."""
        return (self.corrected > 0) | self.patched | self.fragile

    @property
    def exact(self) -> Tensor:
        """Where results are exact ones, bool."""
        return self.patched | self.fragile

    def short_of(self, tolerance: Tolerance) -> Tensor:
        """Where what is served is not proven to a tolerance, bool."""
        wanted = math.inf
        if tolerance.range_error > 0:
            wanted = -20 * math.log10(tolerance.range_error)
        short = (self.quality_db < tolerance.quality_db) | (self.range_db < wanted)
        return short | self.fragile

    def __getitem__(self, index: Tensor | slice) -> Marks:
        """Those of some links."""
        return Marks(*(getattr(self, one.name)[index] for one in fields(self)))

    def at(self, stretch: int, subcarriers: Tensor) -> Marks:
        """Those of a stretch at some subcarriers, [num_links, num_subcarriers] each."""
        parts = (getattr(self, one.name)[:, stretch][:, subcarriers] for one in fields(self))
        return Marks(*parts)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def to(self, device: torch.device | str) -> Marks:
        """The marks on another device."""
        return Marks(*(tensor.to(device) for tensor in self.tensors().values()))

    @staticmethod
    def concatenate(parts: Sequence[Marks]) -> Marks:
        """Those of all the links of several."""
        columns = zip(*(part.tensors().values() for part in parts), strict=True)
        return Marks(*(torch.cat(column) for column in columns))

    @classmethod
    def none(cls, like: Tensor) -> Marks:
        """Of a model whose mapping is served everywhere, unproven; like [links, stretches, F]."""
        zeros = torch.zeros_like(like, dtype=torch.int8)
        false = zeros.bool()
        return cls(zeros, false, false, zeros, zeros)


def decibels(value: Tensor) -> Tensor:
    """Decibels as they are stored: int8, rounded down; what is not a number is the lowest."""
    lowest, highest = torch.iinfo(torch.int8).min, torch.iinfo(torch.int8).max
    return value.nan_to_num(lowest, highest, lowest).floor().clamp(lowest, highest).to(torch.int8)
