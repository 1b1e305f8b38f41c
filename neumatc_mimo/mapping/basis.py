"""The basis of a trunk: the functions of the parameter that its readout mixes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from neumatc_mimo.foundation.cardinal_splines import cardinal_pieces
from neumatc_mimo.foundation.registry import Registry
from neumatc_mimo.tensors.cache import outside_call
from neumatc_mimo.tensors.tracing import is_traced

# Points that share a window of a table of local functions: of a dense table of more points most
# would be zero, and products with fewer have too little to do.
_WINDOW = range(48, 11, -1)


class Windows(NamedTuple):
    """Points in groups of one size, each with the consecutive functions that do not vanish there.

    :param values: of the functions of a group, [num_groups, points, functions]
    :param first: first unit of each group, [num_groups]
    :param start: the first of these
    :param stride: distance of the groups' first functions, or None where it varies
    """

    values: Tensor
    first: Tensor
    start: int
    stride: int | None

    def of(self, rows: Tensor) -> Tensor:
        """The groups' rows of a matrix [width, n], [num_groups, functions, n]: a view if it can."""
        num_groups, _, num_functions = self.values.shape
        if self.stride is None:
            index = self.first[:, None] + torch.arange(num_functions, device=rows.device)
            return rows[index]
        step = rows.stride(0)
        offset = rows.storage_offset() + self.start * step
        return rows.as_strided(
            (num_groups, num_functions, rows.shape[1]), (self.stride * step, step, 1), offset
        )


class Table(ABC):
    """Values of functions at points x [B], ready to be read a stretch of points at a time."""

    @abstractmethod
    def read(self, points: slice) -> tuple[slice, Tensor]:
        """The consecutive functions that do not vanish at these points, and their values [b, w]."""

    def windows(self, points: slice) -> Windows | None:
        """These points in groups; None where all functions are needed for any."""
        del points
        return None

    def terms(self) -> tuple[Tensor, Tensor] | None:
        """Functions that do not vanish at each point, and their values, [B, w]; None for all."""
        return None


class Basis(ABC):
    """Fixed functions u_i(x), x in [-1, 1], whose combinations a trunk learns."""

    kind: ClassVar[str]

    @property
    @abstractmethod
    def width(self) -> int:
        """Number of functions."""

    @abstractmethod
    def table(self, x: Tensor, dtype: torch.dtype = torch.float64) -> Table:
        """The functions at x [B]."""

    @abstractmethod
    def penalty(self) -> Tensor:
        """Prior precision of the coefficients, [width, width] float64, in units of the data's."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Kind and constructor arguments, plain values."""

    def band(self, frequencies: Tensor) -> tuple[float, float]:
        """Frequencies of x = -1 and 1 for a grid [num_frequencies], even and ascending."""
        return frequencies[0].item(), frequencies[-1].item()

    def values(self, x: Tensor) -> Tensor:
        """All functions at x [B]: [B, width], float64."""
        functions, values = self.table(x).read(slice(0, len(x)))
        full = values.new_zeros(len(x), self.width)
        full[:, functions] = values
        return full


BASES: Registry[type[Basis]] = Registry("basis", base=Basis, key="kind")


def make_basis(settings: dict[str, Any]) -> Basis:
    """The basis that ``Basis.settings`` described.

    :raises ValueError: if there is no basis of that kind
    """
    basis: Basis = BASES.make(settings)
    return basis


@dataclass(frozen=True)
class DenseTable(Table):
    """All functions everywhere."""

    values: Tensor

    def read(self, points: slice) -> tuple[slice, Tensor]:
        return slice(0, self.values.shape[1]), self.values[points]


@BASES.register
@dataclass(frozen=True)
class SineBasis(Basis):
    r"""sin(ω_i x + b_i), NeuMatC's activations, at evenly spread delays.

    ω = π B τ for the delay τ and the band B, as x covers the band from -1 to 1; every delay has a
    sine and a cosine. A prior lets the coefficients decay with the delay: few samples leave the far
    delays open, the prior closes them.

    :param num_functions: number of functions, two for every delay
    :param spacing: spacing of the delays in 1/B
    :param decay: delay in 1/B over which the prior amplitude falls by e
    """

    kind: ClassVar[str] = "sine"
    num_functions: int
    spacing: float = 0.9
    decay: float = 45.0

    @property
    def width(self) -> int:
        return self.num_functions

    def table(self, x: Tensor, dtype: torch.dtype = torch.float64) -> Table:
        count = (self.num_functions + 1) // 2
        delays = (torch.arange(count, dtype=torch.float64, device=x.device) + 0.5) * self.spacing
        delays = torch.cat([delays, delays])[: self.num_functions]
        phase = torch.zeros_like(delays)
        phase[count:] = math.pi / 2
        # The prior is a scale of the functions, so that the ridge stays a multiple of the identity.
        amplitude = torch.exp(-delays / self.decay).clamp_min(1e-5)
        angle = x.to(torch.float64)[:, None] * (math.pi * delays) + phase
        return DenseTable(amplitude.to(dtype) * torch.sin(angle.to(dtype)))

    def penalty(self) -> Tensor:
        return 1e-10 * torch.eye(self.num_functions, dtype=torch.float64)

    def settings(self) -> dict[str, Any]:
        return {"kind": self.kind} | vars(self)


@BASES.register
@dataclass(frozen=True)
class FourierBasis(Basis):
    r"""1, cos(π k x) and sin(π k x), for results that are periodic over the domain.

    :param num_functions: number of functions, odd: a constant and a pair for every k
    """

    kind: ClassVar[str] = "fourier"
    num_functions: int

    def __post_init__(self) -> None:
        if self.num_functions < 1 or self.num_functions % 2 == 0:
            raise ValueError(f"{self.num_functions} Fourier functions are no odd number of them.")

    @property
    def width(self) -> int:
        return self.num_functions

    def table(self, x: Tensor, dtype: torch.dtype = torch.float64) -> Table:
        orders = torch.arange(1, self.num_functions // 2 + 1, dtype=torch.float64, device=x.device)
        angle = x.to(torch.float64)[:, None] * (math.pi * orders)
        one = angle.new_ones(len(x), 1)
        return DenseTable(torch.cat([one, angle.cos(), angle.sin()], dim=-1).to(dtype))

    def penalty(self) -> Tensor:
        return 1e-10 * torch.eye(self.num_functions, dtype=torch.float64)

    def settings(self) -> dict[str, Any]:
        return {"kind": self.kind} | vars(self)


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
        return _SplineTable(self.num_functions, columns, values.to(dtype))

    def penalty(self) -> Tensor:
        """Squared fourth differences: roughness, which decides where there are no samples."""
        differences = np.diff(np.eye(self.num_functions), n=4, axis=0)
        return 1e-8 * torch.from_numpy(differences.T @ differences)

    def settings(self) -> dict[str, Any]:
        return {"kind": self.kind} | vars(self)


@dataclass(frozen=True)
class _SplineTable(Table):
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

    def terms(self) -> tuple[Tensor, Tensor] | None:
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


# By degree and device. A graph can neither make them nor copy them from the host: a basis makes
# them when it is made, and a call before a capture brings them to the device.
_pieces: dict[tuple[int, torch.device], Tensor] = {}


def _pieces_on(degree: int, device: torch.device) -> Tensor:
    """:func:`cardinal_pieces` on a device."""
    if (degree, device) not in _pieces:
        _pieces[degree, device] = torch.from_numpy(cardinal_pieces(degree)).to(device)
    return _pieces[degree, device]
