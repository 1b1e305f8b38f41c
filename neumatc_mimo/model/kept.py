"""What a model keeps between calls: of itself, grids, links and noise powers alone.

Nothing here derives from a tensor that a caller gave. Each table is bounded in bytes and may be
used by several threads; copies and pickles of a model begin with empty ones.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from neumatc_mimo.foundation.tolerance import Tolerance
from neumatc_mimo.mapping.layout import Latents
from neumatc_mimo.model.likeness import Reference
from neumatc_mimo.model.plan import GridPlan
from neumatc_mimo.model.repairs import LinkRepairs
from neumatc_mimo.tensors.cache import BoundedCache
from neumatc_mimo.tensors.tracing import is_traced

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# The latent tensors of some fifty links of 8 x 64; the other tables are small beside them.
_LATENT_BYTES = 2**28
_OTHER_BYTES = 2**26
# Components that a model repairs from its links' own paths: more of them are not kept at all.
REPAIR_BYTES = 2**26
_small = partial(BoundedCache[Any, Any], _OTHER_BYTES)


class Moment(NamedTuple):
    """A grid at a time, in the precision of a call.

    :param grid: key of the grid, see :class:`GridPlan`
    :param dtype: of the channels
    :param time: seconds since the burst began
    """

    grid: bytes
    dtype: torch.dtype
    time: float


class LinkAt(NamedTuple):
    """A link at a moment and a noise power (not a number where that does not matter)."""

    moment: Moment
    link: int
    power: float


class RepairsAt(NamedTuple):
    """A link at a moment and a noise power, and what a call asks for; None is what the training
    proved.
    """

    link: LinkAt
    tolerance: Tolerance | None


class LinksAt(NamedTuple):
    """Links of a call with the values of the axis, and which components are asked for."""

    links: tuple[int, ...]
    values: tuple[float, ...]
    needed: Hashable


class FunctionsAt(NamedTuple):
    """The functions of a link's own trunk on a grid."""

    grid: bytes
    link: int


class RowsAt(NamedTuple):
    """Rows of links, in an order, at a moment."""

    moment: Moment
    links: tuple[int, ...]
    order: tuple[int, ...]


class DerivedAt(NamedTuple):
    """What a block derives from rows of links at a stretch of subcarriers, under its own name."""

    rows: RowsAt
    name: str
    start: int
    stop: int


class Latest:
    """The plan that was asked for last; empty in a copy or a pickle."""

    def __init__(self) -> None:
        self._plan: GridPlan | None = None

    def get(self, frequencies: Tensor, make: Callable[[], GridPlan]) -> GridPlan:
        """It, where it is of these frequencies; else what ``make`` makes."""
        plan = self._plan
        if plan is None or not _same(plan.frequencies, frequencies):
            plan = self._plan = make()
        return plan

    def __len__(self) -> int:
        return int(self._plan is not None)

    def __reduce__(self) -> tuple[type[Latest], tuple[()]]:
        return Latest, ()


@dataclass(frozen=True)
class Kept:
    """The tables of a model.

    :param latest: the last plan: comparing a grid with it costs less than the grid's key
    :param plans: by the key of their grid
    :param references: rows of all links at the probes
    :param spots: rows of a link as recognition looks at them
    :param waves: e^{-j2πfτ} of links' own rows
    :param latents: latent tensors of a call's links
    :param functions: values of links' own trunks
    :param weights: of an axis' nodes at values of it
    :param repairs: where a link's mapping is not served alone, and components from its own paths
    :param held: whether components hold a link's answers, from its own paths
    :param derived: what blocks derive from links, from their own paths
    """

    latest: Latest = field(default_factory=Latest)
    plans: BoundedCache[bytes, GridPlan] = field(
        default_factory=partial(BoundedCache, _OTHER_BYTES)
    )
    references: BoundedCache[Moment, Reference] = field(
        default_factory=partial(BoundedCache, _OTHER_BYTES)
    )
    spots: BoundedCache[LinkAt, Tensor] = field(default_factory=_small)
    waves: BoundedCache[RowsAt, Tensor] = field(default_factory=_small)
    latents: BoundedCache[LinksAt, Latents] = field(
        default_factory=partial(BoundedCache, _LATENT_BYTES)
    )
    functions: BoundedCache[FunctionsAt, Tensor] = field(
        default_factory=partial(BoundedCache, _LATENT_BYTES)
    )
    weights: BoundedCache[tuple[float, ...], Tensor] = field(default_factory=_small)
    repairs: BoundedCache[RepairsAt, LinkRepairs] = field(
        default_factory=partial(BoundedCache, REPAIR_BYTES)
    )
    held: BoundedCache[LinkAt, bool] = field(default_factory=_small)
    derived: BoundedCache[DerivedAt, Any] = field(
        default_factory=partial(BoundedCache, _OTHER_BYTES)
    )

    @property
    def num_made(self) -> int:
        """How many values were made so far, of all tables."""
        tables = (getattr(self, one.name) for one in fields(self))
        return sum(table.num_made for table in tables if isinstance(table, BoundedCache))


def kept(table: BoundedCache[K, V], key: Callable[[], K], make: Callable[[], V]) -> V:
    """The value of a key, made where it is not known; a trace makes it anew."""
    return make() if is_traced() else table.get(key(), make, num_bytes)


def _same(ours: Tensor, given: Tensor) -> bool:
    """Whether two vectors on the host are the same; a GPU would be waited for."""
    return (
        ours.device.type == "cpu" == given.device.type
        and ours.dtype == given.dtype
        and torch.equal(ours, given)
    )


def num_bytes(value: Any) -> int:
    """Bytes of the tensors that a value holds."""
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, dict):
        return sum(map(num_bytes, value.values()))
    if isinstance(value, tuple | list):
        return sum(map(num_bytes, value))
    if is_dataclass(value):
        return sum(num_bytes(getattr(value, one.name)) for one in fields(value))
    return 0
