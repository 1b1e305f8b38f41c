"""What a training proved of a model at every subcarrier."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neumatc_mimo.foundation.tolerance import Tolerance


@dataclass(frozen=True, eq=False)
class Marks:
    """How good the answers of links are at each subcarrier of their grid, [num_links, fft_size].

    :param marked: subcarriers that the training found in need of correction, or patched; here they
        are computed exactly
    :param quality_db: quality that is proven of the others, rounded down
    :param range_db: likewise the range error, as -20 log10
    """

    marked: NDArray[np.bool_]
    quality_db: NDArray[np.int8]
    range_db: NDArray[np.int8]

    @classmethod
    def of(cls, tensors: dict[str, NDArray[Any]]) -> Marks:
        """The marks of all noise powers from those of stretches of them, [num_links, num_stretches,
        fft_size], as a model's file has them.
        """
        marked = (tensors["corrected"] > 0) | tensors["patched"] | tensors["fragile"]
        least = (tensors[name].min(axis=1) for name in ("quality_db", "range_db"))
        return cls(marked.any(axis=1), *least)

    def short_of(self, tolerance: Tolerance) -> NDArray[np.bool_]:
        """Where what is served is not proven to a tolerance."""
        wanted = math.inf
        if tolerance.range_error > 0:
            wanted = -20 * math.log10(tolerance.range_error)
        short: NDArray[np.bool_] = (self.quality_db < tolerance.quality_db) | (
            self.range_db < wanted
        )
        return short
