"""Local functions on knots that each link has of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from neumatc_mimo.mapping.basis.base import BASES, Basis
from neumatc_mimo.mapping.basis.splines import SplinePart
from neumatc_mimo.mapping.basis.tables import Table
from neumatc_mimo.storage.names import RAGGED
from neumatc_mimo.tensors.cache import outside_call
from neumatc_mimo.tensors.tracing import is_traced


@BASES.register
@dataclass(frozen=True, eq=False)
class KnotSplines(Basis):
    r"""B-splines on uneven knots (de Boor, A Practical Guide to Splines, 1978, Chapter X), other
    ones for each link: a fade has many, the rest of the band few.

    Knots lie at some of evenly spaced places, and beyond the band as far apart as at its ends. Each
    link has degree more functions than it has intervals, and degree + 1 of them differ from zero at
    any x.

    :param num_intervals: between all places, from x = -1 to 1
    :param degree: of the polynomials
    :param knots: places of the links' knots, one link after the other, rising from 0 to
        num_intervals, int32; None in what :meth:`holding` fills
    :param functions: number of functions of each link, [num_links] int32
    """

    kind: ClassVar[str] = "knots"
    num_intervals: int
    degree: int = 7
    knots: Tensor | None = None
    functions: Tensor | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.degree <= 31:
            raise ValueError(f"degree is {self.degree}, it must be from 1 to 31.")

    @classmethod
    def of(cls, places: Sequence[Tensor], degree: int = 7) -> KnotSplines:
        """On the knots of some links, places [n] int each."""
        numbers = torch.tensor([len(p) - 1 + degree for p in places], dtype=torch.int32)
        knots = torch.cat(list(places)).to(torch.int32)
        return cls(int(places[0][-1]), degree, knots, numbers.to(knots.device))

    def holding(self, tensors: dict[str, Tensor]) -> KnotSplines:
        """With knots and functions from tensors by name.

        :raises ValueError: if they are no links' knots
        """
        whole = KnotSplines(
            self.num_intervals, self.degree, tensors[f"{RAGGED}knots"], tensors["functions"]
        )
        ends, knots = whole._ends, whole._knots.long()
        rising = knots.diff() > 0
        rising[ends[:-1] - 1] = True
        starts = torch.cat([ends.new_zeros(1), ends[:-1]])
        whole_band = (knots[starts] == 0) & (knots[ends - 1] == self.num_intervals)
        if not bool(rising.all() & whole_band.all()):
            raise ValueError(f"its knots do not rise from 0 to {self.num_intervals} in each link.")
        return whole

    @property
    def num_links(self) -> int:
        """Number of links."""
        return len(self._functions)

    @cached_property
    def width(self) -> int:
        """Most functions of a link."""
        return int(self._functions.max())

    @cached_property
    def starts(self) -> Tensor:
        """The first of each link's functions among those of all, [num_links] int64."""
        numbers = self._functions.long()
        return numbers.cumsum(0) - numbers

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        return {"functions": self._functions, f"{RAGGED}knots": self._knots}

    def places(self, link: int) -> Tensor:
        """The knots of a link."""
        stop = int(self._ends[link])
        return self._knots[stop - int(self._functions[link]) + self.degree - 1 : stop]

    def select(self, links: Sequence[int]) -> KnotSplines:
        """Those of some links."""
        return KnotSplines.of([self.places(link) for link in links], self.degree)

    def to(self, device: torch.device | str) -> KnotSplines:
        """On another device."""
        return KnotSplines(
            self.num_intervals, self.degree, self._knots.to(device), self._functions.to(device)
        )

    def table(self, x: Tensor, dtype: torch.dtype = torch.float64) -> LinkTable:
        place = (x.to(torch.float64) + 1) / 2 * self.num_intervals
        knots, functions = self._extended.to(x.device), self._functions.long().to(x.device)
        lead, values = _values(knots, functions, place, self.degree)
        return LinkTable(tuple(self._numbers), lead, values.to(dtype))

    def penalty(self) -> Tensor:
        raise NotImplementedError("Links on knots of their own have a penalty each.")

    def settings(self) -> dict[str, Any]:
        return {"kind": self.kind, "num_intervals": self.num_intervals, "degree": self.degree}

    @property
    def _knots(self) -> Tensor:
        assert self.knots is not None
        return self.knots

    @property
    def _functions(self) -> Tensor:
        assert self.functions is not None
        return self.functions

    @cached_property
    def _numbers(self) -> list[int]:
        return [int(number) for number in self._functions.tolist()]

    @cached_property
    def _ends(self) -> Tensor:
        """Where the knots of each link end among those of all."""
        return (self._functions.long() - self.degree + 1).cumsum(0)

    @cached_property
    def _extended(self) -> Tensor:
        """Knots of all functions, [num_links, most functions + degree + 1] float64; beyond a link's
        last one far to the right.
        """
        with outside_call():
            degree, most = self.degree, self.width + self.degree + 1
            whole = torch.full((self.num_links, most), 1e9, dtype=torch.float64)
            beside = torch.arange(1, degree + 1, dtype=torch.float64)
            for link in range(self.num_links):
                own = self.places(link).cpu().double()
                before = own[0] - (own[1] - own[0]) * beside.flip(0)
                after = own[-1] + (own[-1] - own[-2]) * beside
                whole[link, : len(own) + 2 * degree] = torch.cat([before, own, after])
            return whole.to(self._knots.device)


@dataclass(frozen=True)
class LinkTable(Table):
    """The functions of each link that differ from zero at points.

    :param numbers: of functions of the links
    :param lead: the first one at each point, [num_links, B]
    :param values: of the functions from it on, [num_links, B, degree + 1]
    :param whole: the table that these links are chosen from, and which ones, so that the parts and
        their windows are found once; None where it is none of another one
    """

    numbers: tuple[int, ...]
    lead: Tensor
    values: Tensor
    whole: tuple[LinkTable, tuple[int, ...]] | None = None

    def read(self, points: slice) -> tuple[slice, Tensor]:
        raise NotImplementedError("Each link has a table of its own.")

    def of(self, links: Tensor, listed: Sequence[int]) -> LinkTable:
        if is_traced():
            return LinkTable((), self.lead[links], self.values[links])
        if list(listed) == list(range(len(self.numbers))):
            return self
        numbers = tuple(self.numbers[link] for link in listed)
        whole = (self, tuple(listed))
        return LinkTable(numbers, self.lead[links], self.values[links], whole)

    @property
    def is_local(self) -> bool:
        return True

    def leading(self) -> tuple[Tensor, Tensor]:
        return self.lead, self.values

    def terms(self) -> tuple[Tensor, Tensor]:
        steps = torch.arange(self.values.shape[-1], device=self.lead.device)
        return self.lead[..., None] + steps, self.values

    @cached_property
    def parts(self) -> tuple[SplinePart, ...]:
        """The table of each link."""
        if self.whole is not None:
            table, chosen = self.whole
            return tuple(table.parts[link] for link in chosen)
        columns, _ = self.terms()
        return tuple(map(SplinePart, self.numbers, columns, self.values))


def _values(t: Tensor, functions: Tensor, x: Tensor, degree: int) -> tuple[Tensor, Tensor]:
    """The functions that differ from zero at points x [B], on knots t [num_links, n], by the
    recursion of Cox and de Boor: the first one [num_links, B], and their values.
    """
    num_links = len(t)
    # Points on a knot belong to the interval that follows, whatever rounding makes of them.
    place = (x + 1e-9).expand(num_links, -1).contiguous()
    if is_traced():
        after = (place[..., None] >= t[:, None]).sum(-1)
    else:
        after = torch.searchsorted(t, place, right=True)
    lead = (after - 1 - degree).clamp_min(0)
    lead = torch.minimum(lead, functions[:, None] - degree - 1)

    def knot(offset: int) -> Tensor:
        return t.gather(1, lead + degree + offset)

    left = [x - knot(1 - j) for j in range(1, degree + 1)]
    right = [knot(j) - x for j in range(1, degree + 1)]
    values = [torch.ones_like(place)]
    for j in range(degree):
        # Of degree j + 1 from those of degree j (Piegl and Tiller, The NURBS Book, A2.2).
        saved, found = torch.zeros_like(place), []
        for r, value in enumerate(values):
            part = value / (right[r] + left[j - r])
            found.append(saved + right[r] * part)
            saved = left[j - r] * part
        values = [*found, saved]
    return lead, torch.stack(values, dim=-1)


__all__ = ["KnotSplines", "LinkTable"]
