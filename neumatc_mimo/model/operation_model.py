"""One operation's trained mappings over the links of a scenario, with what certifies them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from neumatc_mimo.foundation.counts import Counts
from neumatc_mimo.foundation.display import Displayed, Facts
from neumatc_mimo.foundation.warnings import Warned
from neumatc_mimo.mapping.compact import CompactMapping
from neumatc_mimo.model.kept import REPAIR_BYTES, Kept, LinkAt, Moment, kept
from neumatc_mimo.model.marks import Marks
from neumatc_mimo.model.plan import GridPlan, nearest_subcarriers
from neumatc_mimo.operations import certified
from neumatc_mimo.operations.base import Components, Operation, Tolerance
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.tensors.cache import digest
from neumatc_mimo.tensors.tracing import is_traced


@dataclass(frozen=True, repr=False)
class OperationModel(Displayed):
    """One operation's mappings over a link set, with what certifies them.

    :param operation: the operation
    :param mapping: the compact mappings of the aligned links
    :param links: the links
    :param marks: what is proven at each subcarrier of the grid, and what it takes
    :param unseen: [fft_size] grid subcarriers that were no samples nor collocation points
    :param tolerance: what the certificate required
    :param training: report of the training, plain values
    :param warned: the warnings that were given
    :param kept: what calls keep of the model, grids, links and noise powers
    """

    operation: Operation
    mapping: CompactMapping
    links: LinkSet
    marks: Marks
    unseen: Tensor
    tolerance: Tolerance
    training: dict[str, Any]
    # Not an argument: a model that another one is replaced by must not know its results.
    kept: Kept = field(default_factory=Kept, init=False, compare=False)
    warned: Warned = field(default_factory=Warned, init=False, compare=False)

    def components(
        self, frequencies: Tensor, links: Tensor, no: Tensor, time: float = 0.0
    ) -> Components:
        """Certified components of the aligned links [l] at frequencies [F] in Hz, noise powers [l]
        and a time in seconds.

        Corrections and patches need the channel, which comes from the links' paths.
        """
        stored = self.mapping.select(links)(frequencies, self.mapping.axis.value(no, time))
        components = self.operation.from_stored(stored, no[:, None])
        index, _ = nearest_subcarriers(self.links, frequencies)
        marks = self.marked(links, index, time)
        needed = marks.any.any(0)
        if not bool(needed.any()):
            return components
        a = self.links.channel(
            frequencies[needed], links, aligned=True, dtype=torch.complex128, time=time
        )
        few = tuple(c[:, needed] for c in components)
        exactly = marks.exact[:, needed]
        few, _ = self.repaired(a, few, no[:, None], marks.corrected[:, needed], exactly)
        for c, value in zip(components, few, strict=True):
            c[:, needed] = value.to(c.dtype)
        return components

    def repaired(
        self,
        a: Tensor,
        components: Components,
        no: Tensor | float,
        corrected: Tensor,
        exactly: Tensor,
    ) -> tuple[Components, Counts | None]:
        """Components [l, F, ...] repaired as marks tell, or, where marks only tell where to look,
        proven, and then how they came about.

        :param a: aligned channels [l, F, m, n], in double precision: in single a correction step
            may make an ill-conditioned result worse
        :param no: noise power, broadcastable to [l, F]
        :param corrected: correction steps, [l, F]
        :param exactly: which are computed exactly, [l, F]
        """
        operation = self.operation
        wide = (c.to(a.dtype if c.is_complex() else a.real.dtype) for c in components)
        components = tuple(wide)
        if not self.mapping.axis.margin_db:
            return certified.repair(operation, a, components, no, corrected, exactly), None
        where = ((corrected > 0) & ~exactly).nonzero(as_tuple=True)
        noise = certified.chosen_noise(no, exactly, where)
        poor, counts = tuple(c[where] for c in components), Counts()
        proven = certified.certify(operation, a[where], poor, noise, self.tolerance, counts)
        components = tuple(c.index_put(where, p) for c, p in zip(components, proven, strict=True))
        none = torch.zeros_like(exactly)
        return certified.repair(operation, a, components, no, none, exactly), counts

    def marked(self, links: Tensor, index: Tensor, time: float) -> Marks:
        """Marks of links [l] at grid subcarriers [F] and a time, [l, F] each."""
        marks = self.marks[links].at(self.mapping.axis.stretch(time), index)
        if not self.mapping.axis.margin_db:
            return marks
        # All are proven anew, and few of those that failed somewhere in the stretch fail again.
        none = torch.zeros_like(marks.patched)
        return replace(marks, corrected=marks.corrected.masked_fill(marks.patched, 1), patched=none)

    def keeps_repairs(self, num: int) -> bool:
        """Whether components at so many marked subcarriers of each link are few enough to be kept;
        else each call computes those of its links, which takes less than to make them anew.
        """
        # In time few of the marked ones fail again at a moment.
        few = num * self.links.num_links * self._repair_bytes <= REPAIR_BYTES
        return few or self.mapping.axis.margin_db > 0

    @property
    def _repair_bytes(self) -> int:
        """Of the components of a subcarrier, as they are and as real rows."""
        return 8 * sum(layout.size for layout in self.mapping.layouts)

    def held(self, links: Sequence[int], dtype: torch.dtype, time: float) -> list[bool]:
        """Whether components of the precision ``dtype`` hold the answers of links at a time; those
        of -1 are.

        Only subcarriers where nothing was proven are in doubt.
        """
        if is_traced():
            return [True] * len(links)
        moment = Moment(b"", dtype, time)
        return [
            link < 0
            or kept(
                self.kept.held,
                partial(LinkAt, moment, link, math.nan),
                partial(self._holds, link, moment),
            )
            for link in links
        ]

    def _holds(self, link: int, moment: Moment) -> bool:
        dtype, time = moment.dtype, moment.time
        at = self.links.grid_frequencies()[
            self.marks.fragile[link, self.mapping.axis.stretch(time)]
        ]
        if not len(at):
            return True
        chosen = torch.tensor([link], device=at.device)
        a = self.links.channel(at, chosen, aligned=True, dtype=torch.complex128, time=time)
        return bool(self.operation.holds(a[0], dtype).all())

    def plan(self, frequencies: Tensor) -> GridPlan:
        """What depends on the model and frequencies [F] in Hz alone, kept for later calls."""
        if is_traced():
            return GridPlan.of(self.mapping, self.links, frequencies)
        return self.kept.latest.get(frequencies, partial(self._plan, frequencies))

    def _plan(self, frequencies: Tensor) -> GridPlan:
        key = digest(frequencies)
        make = partial(GridPlan.of, self.mapping, self.links, frequencies, key)
        return kept(self.kept.plans, lambda: key, make)

    @property
    def num_bytes(self) -> int:
        """Bytes of the mappings."""
        return self.mapping.num_bytes

    def facts(self) -> Facts:
        return Facts(self.operation.name, figures(self))

    def to(self, device: torch.device | str) -> OperationModel:
        """The model on another device."""
        return OperationModel(
            self.operation,
            self.mapping.to(device),
            self.links.to(device),
            self.marks.to(device),
            self.unseen.to(device),
            self.tolerance,
            self.training,
        )


def figures(model: OperationModel) -> dict[str, str]:
    """Sizes, what is proven, and what training found, in words."""
    links, report = model.links, model.training
    values = {
        "links": f"{links.num_links} of {links.num_rows} x {links.num_cols}",
        "rank": str(model.mapping.trunk.rank),
        "asked for": f"{model.tolerance.quality_db:g} dB",
    }
    # Of the mapping alone, where it was not trained; not a number if that is nowhere.
    if report.get("error_median", 0.0) > 0:
        quality = report["quality_5_percent_db"]
        values["certificate (5 %)"] = f"{quality:.1f} dB" if math.isfinite(quality) else "none"
        values["error (median)"] = f"{20 * math.log10(report['error_median']):.1f} dB"
    for name, marks in (("corrected", model.marks.corrected), ("patched", model.marks.exact)):
        values[name] = f"{100 * (marks > 0).double().mean().item():.2f} %"
    values["size"] = f"{model.num_bytes / 1e6:.3g} MB on {links.device}"
    return values
