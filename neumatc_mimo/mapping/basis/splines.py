"""Local functions: cardinal B-splines, few of which differ from zero anywhere."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from neumatc_mimo.foundation.cardinal_splines import cardinal_pieces
from neumatc_mimo.mapping.basis.base import BASES, Basis
from neumatc_mimo.mapping.basis.tables import Table, Windows
from neumatc_mimo.tensors.cache import outside_call
from neumatc_mimo.tensors.tracing import is_traced

# Points that share a window of a table of local functions: of a dense table of more points most
# would be zero, and products with fewer have too little to do.
_WINDOW = range(48, 11, -1)


@BASES.register
@dataclass(frozen=True)
class SplineBasis(Basis):
    r"""Cardinal B-splines on even knots (de Boor; Eilers and Marx, 1996, for the penalty).

    degree + 1 of them differ from zero at any x, so that a query costs as many multiplications an
    entry whatever their number. They reach delays of up to some 0.4 num_functions / B.

    :param num_functions: number of splines
    :param degree: degree of their polynomials
    :param points_per_interval: subcarriers between two knots, see :meth:`on_grid`; 0 lets the knots
        end where the band does
    """

    kind: ClassVar[str] = "spline"
    num_functions: int
    degree: int = 7
    points_per_interval: int = 0

    def __post_init__(self) -> None:
        # Beyond, powers of the coordinate leave no digits.
        if not 1 <= self.degree <= 31:
            raise ValueError(f"degree is {self.degree}, it must be from 1 to 31.")
        if self.num_functions <= self.degree:
            raise ValueError(f"{self.num_functions} splines of degree {self.degree} are too few.")
        _pieces_on(self.degree, torch.device("cpu"))

    @classmethod
    def on_grid(cls, num_points: int, width: int, degree: int = 7) -> SplineBasis:
        """At least ``width`` splines, as far as there are points, whose knots lie on the grid.

        Subcarriers then see the splines in a pattern that repeats, and a query is a product of
        strided matrices, without a copy (twice as fast as with windows that are gathered).
        """
        step = max(num_points // max(width - degree, 1), 1)
        return cls(-(-num_points // step) + degree, degree, step)

    @property
    def width(self) -> int:
        return self.num_functions

    def band(self, frequencies: Tensor) -> tuple[float, float]:
        if not self.points_per_interval:
            return super().band(frequencies)
        first, last = frequencies[0].item(), frequencies[-1].item()
        step = (last - first) / (len(frequencies) - 1)
        return first, first + step * self.points_per_interval * (self.num_functions - self.degree)

    def table(self, x: Tensor, dtype: torch.dtype = torch.float64) -> Table:
        intervals = self.num_functions - self.degree
        place = (x.to(torch.float64) + 1) / 2 * intervals
        # Points on a knot belong to the interval that follows, whatever rounding makes of them.
        first = (place + 1e-9).floor().clamp(0, intervals - 1)
        pieces = _pieces_on(self.degree, x.device)
        values = torch.linalg.vander(place - first - 0.5, N=self.degree + 1) @ pieces.T
        columns = first.long()[:, None] + torch.arange(self.degree + 1, device=x.device)
        return SplinePart(self.num_functions, columns, values.to(dtype))

    def penalty(self) -> Tensor:
        """Squared fourth differences: roughness, which decides where there are no samples."""
        return _roughness(self.num_functions)

    def settings(self) -> dict[str, Any]:
        return {"kind": self.kind} | vars(self)


@dataclass(frozen=True)
class SplinePart(Table):
    """The splines that differ from zero at each point.

    :param num_functions: number of all splines
    :param columns: [B, degree + 1] indices of the splines
    :param values: [B, degree + 1]
    :param known: windows made before, as blocks read the same tiles at every call
    """

    num_functions: int
    columns: Tensor
    values: Tensor
    known: dict[tuple[int, int], Windows | None] = field(default_factory=dict, compare=False)

    @property
    def is_local(self) -> bool:
        return True

    def terms(self) -> tuple[Tensor, Tensor]:
        return self.columns, self.values

    def windows(self, points: slice) -> Windows | None:
        if is_traced():
            return None
        start, stop, _ = points.indices(len(self.values))
        if (start, stop) not in self.known:
            with outside_call():
                self.known[start, stop] = self._windows(slice(start, stop))
        return self.known[start, stop]

    def _windows(self, points: slice) -> Windows | None:
        columns, values = self.columns[points], self.values[points]
        num_points = len(columns)
        sizes = [size for size in _WINDOW if num_points % size == 0 and num_points > size]
        if not sizes:
            return None
        strides = {size: _stride(columns, size) for size in sizes}
        size = next((size for size in sizes if strides[size] is not None), sizes[0])
        stride, grouped = strides[size], columns.unflatten(0, (-1, size))
        first = grouped.amin((1, 2))
        num_functions = int((grouped.amax((1, 2)) - first).max()) + 1
        if num_functions > self.num_functions // 2:
            return None
        if int(first.max()) + num_functions > self.num_functions:
            # A window at the end starts earlier, rather than reach beyond the last unit.
            first, stride = first.clamp_max(self.num_functions - num_functions), None
        dense = values.new_zeros(len(first), size, num_functions)
        dense.scatter_(2, grouped - first[:, None, None], values.unflatten(0, (-1, size)))
        return Windows(dense, first, int(first[0]), stride)

    def read(self, points: slice) -> tuple[slice, Tensor]:
        columns, values = self.columns[points], self.values[points]
        start, stop = 0, self.num_functions
        if not len(columns):
            return slice(0, 0), values[:, :0]
        if not is_traced():
            # The few that differ from zero; a trace cannot depend on where x lies.
            low, high = columns.aminmax()
            start, stop = int(low), int(high) + 1
        dense = values.new_zeros(len(values), stop - start)
        return slice(start, stop), dense.scatter_(1, columns - start, values)


def _stride(columns: Tensor, size: int) -> int | None:
    """Distance of the first splines of groups of ascending points, if it is one; else None."""
    steps = columns[::size, 0].diff().unique()
    ascending = bool((columns[:, 0].diff() >= 0).all())
    return int(steps[0]) if ascending and len(steps) == 1 and int(steps[0]) > 0 else None


@functools.cache
def _roughness(num_functions: int) -> Tensor:
    """The penalty, D^T D for the fourth differences D."""
    differences = np.diff(np.eye(num_functions), n=4, axis=0)
    # The transposed differences are differences of what zeros surround.
    products = np.diff(np.pad(differences, ((4, 4), (0, 0))), n=4, axis=0)
    with outside_call():
        return torch.from_numpy(1e-8 * products)


# By degree and device. A graph can neither make them nor copy them from the host: a basis makes
# them when it is made, and a call before a capture brings them to the device.
_pieces: dict[tuple[int, torch.device], Tensor] = {}


def _pieces_on(degree: int, device: torch.device) -> Tensor:
    """:func:`cardinal_pieces` on a device."""
    if (degree, device) not in _pieces:
        with outside_call():
            _pieces[degree, device] = torch.from_numpy(cardinal_pieces(degree)).to(device)
    return _pieces[degree, device]
