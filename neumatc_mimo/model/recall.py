"""Recall: the components of trained links at noise powers or a time, from their mappings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from neumatc_mimo.kernels.lanes.recalled import Recalled, Stored
from neumatc_mimo.mapping.basis import DenseTable, Table
from neumatc_mimo.mapping.compact import CompactMapping
from neumatc_mimo.mapping.layout import Latents
from neumatc_mimo.mapping.trunk import Trunk
from neumatc_mimo.model.kept import FunctionsAt, LinksAt, Moment, RowsAt, kept
from neumatc_mimo.model.likeness import Recognised
from neumatc_mimo.model.operation_model import OperationModel
from neumatc_mimo.model.plan import GridPlan
from neumatc_mimo.model.recognition import noise_powers
from neumatc_mimo.model.repairs import Repairs
from neumatc_mimo.operations.base import Components, Operation
from neumatc_mimo.solvers.base import Channels
from neumatc_mimo.tensors.tracing import is_traced


@dataclass(frozen=True)
class Needed:
    """Which components of an operation a call evaluates.

    :param operation: the operation
    :param used: whether each of its components is
    :param derived: whether what its answer derives by linear maps is evaluated with them
    """

    operation: Operation
    used: tuple[bool, ...]
    derived: bool = True

    @classmethod
    def of(cls, operation: Operation, unused: Sequence[str] = ()) -> Needed:
        """All but the components that a caller has no use for."""
        return cls(operation, tuple(name not in unused for name in operation.component_names))

    def without(self, index: int) -> Needed:
        """The same without a component."""
        used = tuple(used and i != index for i, used in enumerate(self.used))
        return Needed(self.operation, used, self.derived)

    def chosen(self, components: Components) -> Components:
        """Of all components those that are evaluated."""
        full = self.operation.extended(components) if self.derived else components
        used = self.used + (True,) * (len(full) - len(components))
        return tuple(c for c, wanted in zip(full, used, strict=True) if wanted)

    def restored(self, evaluated: Components, no: Tensor | float) -> Components:
        """At a noise power, broadcastable to [...], from those that a model stores."""
        filled = self.filled(evaluated)
        num = len(self.used)
        restored = self.operation.from_stored(tuple(filled[:num]), no)
        return tuple(c for c in (*restored, *filled[num:]) if c is not None)

    def filled(self, evaluated: Components) -> list[Any]:
        """All components in their places, None for those that are not evaluated."""
        rest = iter(evaluated)
        return [next(rest) if used else None for used in self.used] + list(rest)


@dataclass(frozen=True)
class Recall:
    """Trained links as the items of a call have them.

    :param model: of the links
    :param plan: of the call's grid
    :param moment: grid, precision and time of the call
    :param found: the links, and what the items' rows are of theirs
    :param power: [l] noise power of the aligned links, float64
    :param no: the same as answers take it, [l, 1] real, or zero
    :param order: [l, K] rows of the links in the order of the items'; None where it is the same
    :param rows_at: the links and the order as numbers, by which what derives from them is kept;
        empty in a trace, which keeps nothing
    :param needed: which components are evaluated
    """

    model: OperationModel
    plan: GridPlan
    moment: Moment
    found: Recognised
    power: Tensor
    no: Tensor | float
    order: Tensor | None
    rows_at: RowsAt
    needed: Needed

    @classmethod
    def of(
        cls,
        model: OperationModel,
        plan: GridPlan,
        found: Recognised,
        channels: Channels,
        needed: Needed,
    ) -> Recall:
        """The links of items that are all recognised."""
        real, time = channels.a.dtype.to_real(), channels.time
        # In the precision of the call: the same link has the same power at every call.
        power = noise_powers(found, channels).to(real).double()
        no = 0.0 if channels.no is None else power[:, None].to(real)
        moment = Moment(plan.key, channels.a.dtype, time)
        rows_at = _rows_at(moment, found)
        order = found.order if rows_at.order else None
        return cls(model, plan, moment, found, power, no, order, rows_at, needed)

    @property
    def links(self) -> Tensor:
        """The link of each item, [l]."""
        return self.found.links

    @property
    def value(self) -> Tensor:
        """Values of the mapping's axis, [l]."""
        return self.model.mapping.axis.value(self.power, self.moment.time)

    @cached_property
    def mapping(self) -> CompactMapping:
        """The mapping of these links alone."""
        return self.model.mapping.select(self.links, self.rows_at.links)

    @cached_property
    def rows(self) -> Tensor:
        """Factors of the items' rows, [l, F, K]."""
        return _rows(self.model, self.plan, self.rows_at, self.found)

    @cached_property
    def table(self) -> Table:
        """Values of the trunk's functions of these links on the grid."""
        return functions(self.model, self.plan, self.links, self.rows_at.links)

    @cached_property
    def latents(self) -> Latents:
        """Latent tensors of the needed components, at the noise powers or the time."""
        return folded(self.model, self.links, self.value, self.needed, self.rows_at.links)

    def stored(self, repairs: Repairs) -> Recalled | None:
        """The links as kernels take them, which read their latent tensors as they are stored; None
        where there is no kernel for them.

        :param repairs: all components where the mapping alone is not served
        """
        if is_traced():
            return None
        mapping = self.model.mapping
        values, operation = self.value.tolist(), self.model.operation
        weights = None
        # At zero the first node is the answer.
        if any(values):
            weights = kept(
                self.model.kept.weights,
                lambda: tuple(values),
                lambda: mapping.axis.weights(self.value).to(torch.float32).contiguous(),
            )
        given = repairs.rows or (None,) * len(mapping.latents)
        components = {}
        for name, layout, latent, some in zip(
            operation.stored.component_names, mapping.layouts, mapping.latents, given, strict=True
        ):
            alone = latent.shape[-2] == 1 or weights is None
            rows = mapping.rows_of(latent)
            components[name] = Stored(
                layout.kind,
                layout.shape,
                rows.numbers[:, :1] if alone else rows.numbers,
                rows.scales,
                None if alone else weights,
                some,
            )
        return Recalled(
            operation,
            components,
            *self.table.leading(),
            starts=mapping.starts,
            rank=mapping.trunk.rank,
            links=self.links,
            order=self.order,
            frequencies=self.plan.frequencies,
            gain=self.found.gain,
            delay=self.found.delay,
            no=None if isinstance(self.no, float) else self.no[:, 0],
            item=repairs.item,
            at=repairs.at,
        )

    def evaluated(self, points: slice) -> Components:
        """The needed components at a stretch of subcarriers, in the precision of the call."""
        stored = self.mapping.evaluate(self.table, points, self.latents)
        return self.needed.restored(in_precision(stored, self.moment.dtype), self.no)

    def answer(self, components: Components, subcarriers: slice) -> Any:
        """The operation's answer from needed components, for the items' own rows."""
        operation, full = self.model.operation, self.needed.filled(components)
        if self.order is not None:
            full = list(operation.permute(tuple(full), self.order))
        return operation.answer(tuple(full), self.no, self.rows[:, subcarriers])

    def channel(self, subcarriers: slice) -> Tensor:
        """The links' own channels as the items have them, [l, F, K, M]."""
        a = self.model.links.channel(
            self.plan.frequencies[subcarriers],
            self.links,
            aligned=True,
            dtype=self.moment.dtype,
            time=self.moment.time,
        )
        if self.order is not None:
            a = a.gather(2, self.order[:, None, :, None].expand(-1, a.shape[1], -1, a.shape[3]))
        return a * self.rows[:, subcarriers, :, None].to(a.dtype)


def in_precision(components: Components, dtype: torch.dtype) -> Components:
    """Components in the precision of a complex dtype, those that are real likewise."""
    real = torch.float64 if dtype == torch.complex128 else torch.float32
    return tuple(c.to(dtype if c.is_complex() else real) for c in components)


def functions(
    model: OperationModel, plan: GridPlan, links: Tensor, listed: tuple[int, ...]
) -> Table:
    """Values of the trunk's functions of links [l] on a grid, kept for each link that has its own.

    :param listed: the links as numbers, empty in a trace
    """
    if plan.table is not None:
        return plan.table.of(links, listed)
    trunk = model.mapping.trunk
    if is_traced():
        return trunk.select(links).table(plan.x)
    values = [
        kept(
            model.kept.functions,
            partial(FunctionsAt, plan.key, link),
            partial(_values, trunk.select(slice(link, link + 1)), plan.x),
        )
        for link in listed
    ]
    return DenseTable(values[0] if len(values) == 1 else torch.cat(values))


def _values(trunk: Trunk, x: Tensor) -> Tensor:
    """φ of one link, [1, F, rank]."""
    return trunk.table(x).read(slice(0, len(x)))[1]


def folded(
    model: OperationModel, links: Tensor, value: Tensor, needed: Needed, listed: tuple[int, ...]
) -> Latents:
    """Latent tensors of links [l] at values [l] of the axis.

    :param listed: the links as numbers, empty in a trace
    """
    return kept(
        model.kept.latents,
        lambda: LinksAt(listed, tuple(value.tolist()), (needed.used, needed.derived)),
        lambda: model.mapping.select(links, listed).at(value, needed.chosen),
    )


def _rows_at(moment: Moment, found: Recognised) -> RowsAt:
    """Links and the order of their rows, read at once; no order where it is the links' own."""
    if is_traced():
        return RowsAt(moment, (), ())
    items = torch.cat((found.links[:, None], found.order), 1).tolist()
    order = [row for _, *rows in items for row in rows]
    own = order == list(range(found.order.shape[1])) * len(items)
    return RowsAt(moment, tuple(link for link, *_ in items), () if own else tuple(order))


def _rows(model: OperationModel, plan: GridPlan, rows_at: RowsAt, found: Recognised) -> Tensor:
    """Factors of the rows, [l, F, K] complex64; the waves of links' own delays are kept."""
    if is_traced():
        return found.rows(plan.frequencies)
    own = model.links.row_terms(found.links, rows_at.moment.time)[1].gather(1, found.order)
    if not torch.equal(own, found.delay):
        return found.rows(plan.frequencies)
    waves = kept(
        model.kept.waves,
        lambda: rows_at,
        lambda: replace(found, delay=own).waves(plan.frequencies),
    )
    return waves * found.gain[:, None].to(torch.complex64)
