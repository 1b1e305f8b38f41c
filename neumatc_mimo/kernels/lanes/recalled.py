"""Filters of recalled links: from the latent tensors of a model, as they are stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from neumatc_mimo.kernels.lanes.coverage import covers
from neumatc_mimo.kernels.lanes.library import SourceKind, loaded
from neumatc_mimo.kernels.lanes.operators import combined
from neumatc_mimo.kernels.lanes.sources import MOST_ROWS, conjugate_chirp
from neumatc_mimo.operations.base import Operation
from neumatc_mimo.operations.max_min import MaxMin
from neumatc_mimo.operations.pseudo_inverse import PseudoInverse
from neumatc_mimo.operations.slnr import SLNR
from neumatc_mimo.operations.svd import SVD
from neumatc_mimo.operations.wmmse import WMMSE


@dataclass(frozen=True)
class Stored:
    """A component as a model stores it.

    :param kind: "real", "complex" or "hermitian", as for a ``Layout``
    :param shape: of one matrix
    :param rows: [num_rows, nodes, n], as the kind tells, float32, or int16 that are to be scaled
    :param scales: [num_rows, nodes, columns] float32, of the columns of a matrix; None for ones
    :param weights: of the nodes, [num_items, nodes] float32; None where there is one
    :param given: rows that stand in the place of some, [num_places, n] float32
    """

    kind: str
    shape: tuple[int, ...]
    rows: Tensor
    scales: Tensor | None
    weights: Tensor | None
    given: Tensor | None


@dataclass(frozen=True)
class Recalled:
    """Links that the items of a call are.

    :param operation: of the model
    :param components: its components by their names
    :param lead: first of the consecutive rows of a link that a subcarrier takes, [num_subcarriers]
        int64, or [num_items, num_subcarriers] where links have other ones
    :param values: weights of it and of those that follow, [num_subcarriers, num_terms] float32, or
        [num_items, num_subcarriers, num_terms]
    :param starts: first row of each link in the latent tensors, [num_links] int64
    :param rank: most rows of a link
    :param links: of each item, [num_items] int64
    :param order: row of the link that each row of an item is, [num_items, K]; None where it is the
        same
    :param frequencies: [num_subcarriers] Hz, float64
    :param gain: of the items' rows, [num_items, K] complex128
    :param delay: likewise, seconds, float64
    :param no: noise power of the aligned links, [num_items] float32; None for zero
    :param item: of the places whose components are given, [num_places] int64
    :param at: their subcarriers, which ascend, likewise
    """

    operation: Operation
    components: dict[str, Stored]
    lead: Tensor
    values: Tensor
    starts: Tensor
    rank: int
    links: Tensor
    order: Tensor | None
    frequencies: Tensor
    gain: Tensor
    delay: Tensor
    no: Tensor | None
    item: Tensor
    at: Tensor


class Way(NamedTuple):
    """How a kernel makes filters of an operation's components.

    :param source: that does
    :param components: names and kinds of those that it reads, the filters first
    :param by_rows: whether columns of the filters belong to rows, and follow their order
    :param needs_noise: whether the operation takes a noise power of its own where none is given
    """

    source: SourceKind
    components: tuple[tuple[str, str], ...]
    by_rows: bool = True
    needs_noise: bool = False


def way_of(operation: Operation) -> Way | None:
    """The way of an operation; None where there is none.

    :param operation: Another one that derives from one of ours may mean another result
    """
    find = _WAYS.get(type(operation))
    return None if find is None else find(operation)


def serves(recalled: Recalled, *grids: Tensor) -> bool:
    """Whether a kernel makes filters of recalled links, for resource grids."""
    way = way_of(recalled.operation)
    if way is None or recalled.gain.shape[1] > MOST_ROWS:
        return False
    if way.needs_noise and recalled.no is None:
        return False
    components = [(recalled.components[name], kind) for name, kind in way.components]
    if any(
        c.kind != kind or c.rows.dtype != (torch.float32 if c.scales is None else torch.int16)
        for c, kind in components
    ):
        return False
    latents = (c.rows for c, _ in components)
    single = all(grid.dtype == torch.complex64 for grid in grids)
    return single and covers(grids[0], *grids[1:], recalled.no, *latents)


def run(
    recalled: Recalled,
    emitter: int,
    fields: dict[str, Any],
    behind: Tensor | None = None,
) -> None:
    """Have a kernel apply the filters.

    :param emitter: ``PRECODE`` or ``RECEIVE`` of
        :mod:`~neumatc_mimo.kernels.lanes.operators`
    :param fields: of the call: which streams, what it reads and what it writes, see
        :mod:`~neumatc_mimo.kernels.lanes.operators`
    :param behind: of zero forcing at a receiver, the power of the noise behind the antennas,
        [num_items, num_subcarriers or 1] float32
    """
    way, library = way_of(recalled.operation), loaded()
    assert way is not None and library is not None
    filters = recalled.components[way.components[0][0]]
    antennas, columns = filters.shape
    values: dict[str, Any] = {
        "source": way.source,
        "emitter": emitter,
        "rows": columns,
        "columns": antennas,
        "items": len(recalled.links),
        "chirp": conjugate_chirp(antennas, torch.complex64, recalled.links.device),
        **combined(recalled.lead, recalled.values.to(torch.float32).contiguous(), recalled.rank),
        **_query(recalled, way),
    }
    if recalled.no is not None:
        values |= {"noise": recalled.no, "noise_item": recalled.no.stride(0), "noise_step": 0}
    elif behind is not None:
        step = behind.stride(1) if behind.shape[1] > 1 else 0
        values |= {"noise": behind, "noise_item": behind.stride(0), "noise_step": step}
        values["source"] = SourceKind.RECALLED_FORCING
    library.run(**values, **fields)


def _query(recalled: Recalled, way: Way) -> dict[str, Any]:
    """Fields of a call that tell of the links."""
    gain, delay, order = recalled.gain, recalled.delay, recalled.order
    values: dict[str, Any] = {
        "link": recalled.links.contiguous(),
        "start": recalled.starts.contiguous(),
        "frequency": recalled.frequencies.to(torch.float64).contiguous(),
        "places": len(recalled.at),
        "place_item": recalled.item.contiguous(),
        "place_at": recalled.at.contiguous(),
    }
    if way.by_rows and order is not None:
        # As the links' own rows have them.
        own = order.argsort(-1)
        gain, delay = gain.gather(1, own), delay.gather(1, own)
        values["order"] = order.contiguous()
    for number, (name, _) in enumerate(way.components):
        component = recalled.components[name]
        rows, scales = component.rows, component.scales
        row, node, _ = rows.stride()
        latent = {
            "rows": rows,
            "scale": scales,
            "row_step": row,
            "node_step": node,
            "nodes": rows.shape[1],
            "size": rows.shape[2],
            "columns": 0 if scales is None else scales.shape[2],
            "scale_step": 0 if scales is None else scales.stride(0),
            "weight": component.weights,
            "given": component.given,
        }
        values |= {f"latent_{number}_{field}": value for field, value in latent.items()}
    return values | {"gain": gain.contiguous(), "delay": delay.contiguous()}


def _slnr(operation: SLNR) -> Way | None:
    # Streams of one user have an order, by which eigenvectors are told apart.
    if operation.antennas_per_user > 1:
        return None
    return Way(SourceKind.RECALLED_VECTORS, (_FILTERS,), needs_noise=True)


_FILTERS = ("v", "complex")
_WAYS: dict[type[Operation], Callable[[Any], Way | None]] = {
    PseudoInverse: lambda _: Way(
        SourceKind.RECALLED_FILTER, (("w", "complex"), ("gram", "hermitian"))
    ),
    SVD: lambda _: Way(SourceKind.RECALLED_VECTORS, (_FILTERS, ("s", "real")), by_rows=False),
    SLNR: _slnr,
    WMMSE: lambda _: Way(SourceKind.RECALLED_COLUMNS, (_FILTERS,), needs_noise=True),
    MaxMin: lambda _: Way(SourceKind.RECALLED_COLUMNS, (_FILTERS,), needs_noise=True),
}
