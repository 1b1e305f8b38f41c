"""Comparisons of OFDM symbols, bit by bit, on one core and without waiting for any other."""

from __future__ import annotations

import itertools

from torch import Tensor

from neumatc_mimo.kernels.lanes.coverage import covers
from neumatc_mimo.kernels.lanes.library import loaded

# Rows whose places are worked out one by one.
_MOST_ROWS = 2**12


def compares(value: Tensor) -> bool:
    """Whether there is a kernel for a value, see :func:`is_constant`."""
    return (
        covers(value)
        and value.stride(-1) == 1
        and value.shape[:-2].numel() <= _MOST_ROWS
        and not value.is_conj()
    )


def is_constant(value: Tensor) -> bool:
    """Whether all symbols of a value [..., num_ofdm_symbols, n] are the same, bit by bit."""
    library = loaded()
    assert library is not None
    size = value.element_size()
    ways = (
        range(0, num * step * size, step * size) if step else [0] * num
        for num, step in zip(value.shape[:-2], value.stride()[:-2], strict=True)
    )
    rows = [sum(place) for place in itertools.product(*ways)]
    symbols, num = value.shape[-2:]
    step = value.stride(-2) * size
    return library.is_constant(value.data_ptr(), rows, symbols, step, num * size)
