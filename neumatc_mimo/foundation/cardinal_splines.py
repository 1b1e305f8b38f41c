"""Cardinal B-splines over one knot interval."""

from __future__ import annotations

import functools

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray


@functools.cache
def cardinal_pieces(degree: int) -> NDArray[np.float64]:
    """Coefficients of the splines over one knot interval, in powers of u - 1/2, u in [0, 1].

    Row j belongs to the j-th spline that differs from zero there, in ascending order: the Cox-de
    Boor recursion on polynomials. Centred powers keep single precision accurate.
    """
    pieces = [Polynomial([1.0])]
    for d in range(1, degree + 1):
        raised = [Polynomial([0.0]) for _ in range(d + 1)]
        for j, piece in enumerate(pieces):
            raised[j + 1] += piece * Polynomial([d - j - 0.5, 1.0]) / d
            raised[j] += piece * Polynomial([j + 0.5, -1.0]) / d
        pieces = raised
    return np.stack([piece.coef for piece in pieces])
