"""The coordinate x in [-1, 1] of values in a band."""

from __future__ import annotations

from typing import Any


def coordinate(values: Any, band: tuple[Any, Any]) -> Any:
    """x in [-1, 1] of values in a band, in plain arithmetic: for PyTorch, NumPy and TensorFlow.

    Values are best in double precision: the centre of a band may be large beside its width.

    :param values: array or tensor, in the band's units
    :param band: lowest and highest value, x = -1 and 1; numbers, or arrays that broadcast

    :return: as ``values``; outside [-1, 1] for values outside the band
    """
    low, high = band
    return (values - (low + high) / 2) / ((high - low) / 2)


def in_band(x: Any, band: tuple[Any, Any]) -> Any:
    """The inverse of :func:`coordinate`: values in the band's units of x."""
    low, high = band
    return (low + high) / 2 + x * (high - low) / 2
