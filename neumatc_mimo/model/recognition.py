"""Recognition: which trained links the items of a call are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from neumatc_mimo.model.kept import LinkAt, Moment, kept
from neumatc_mimo.model.likeness import (
    Recognised,
    Reference,
    compare,
    is_link,
    spots_of_link,
)
from neumatc_mimo.model.operation_model import OperationModel
from neumatc_mimo.model.plan import GridPlan
from neumatc_mimo.solvers.base import Channels


@dataclass(frozen=True)
class Recognition:
    """Which trained links the items of a call are, up to what their operation allows.

    :param model: of the links
    :param plan: of the call's grid
    :param certify: None takes links that are named as they are; "link" looks at every subcarrier;
        "call" leaves that to the proof
    """

    model: OperationModel
    plan: GridPlan
    certify: str | None

    def of(self, channels: Channels) -> Recognised:
        """The links of some channels; those whose noise power was not trained are unknown."""
        if self.certify is None or channels.trusted:
            return self._named(channels)
        check_known(self.model, channels.links)
        found = self._compared(channels)
        # Read once: each small tensor costs as much as a look at a row.
        links = found.links.tolist()
        if not any(link >= 0 for link in links):
            return found
        good = [
            all(conditions)
            for conditions in zip(
                self._same_everywhere(found, links, channels),
                self._followed(found),
                # Nor are users in one place served: their components hold no answers.
                self.model.held(links, channels.a.dtype, channels.time),
                strict=True,
            )
        ]
        within = self._within_noise(found, good, channels)
        if all(within):
            return found
        same = torch.tensor(within, device=found.links.device)
        known = torch.where(same, found.links, -1)
        return replace(found, links=known, num_beyond=sum(good) - sum(within))

    def _named(self, channels: Channels) -> Recognised:
        """The links that the caller names, with their own rows."""
        if channels.links is None:
            raise ValueError("certify=None does not recognise links, give links.")
        links, num_rows = channels.links, channels.a.shape[2]
        order = torch.arange(num_rows, device=links.device).expand(len(links), -1)
        return Recognised(links, order, *self.model.links.row_terms(links, channels.time))

    def _compared(self, channels: Channels) -> Recognised:
        """Compared at the probes, by all antennas."""
        frequencies = self.plan.frequencies
        dtype, time = channels.a.dtype, channels.time
        reference = kept(
            self.model.kept.references,
            lambda: Moment(self.plan.key, dtype, time),
            lambda: Reference.of(self.model.links, frequencies, dtype, time),
        )
        any_gain = self.model.operation.free_gains(channels.no)
        return compare(channels.a, reference, channels.links, any_gain=any_gain)

    def _same_everywhere(
        self, found: Recognised, links: Sequence[int], channels: Channels
    ) -> list[bool]:
        """Which items are the link at every subcarrier; all where a proof will tell."""
        if self.certify != "link":
            return [True] * len(links)
        items = [item for item, link in enumerate(links) if link >= 0]
        some, given = found, channels.a
        if len(items) < len(links):
            at = torch.tensor(items, device=given.device)
            some, given = found.select(at), given[at]
        expected = [self._spots(links[item], channels) for item in items]
        same = dict(
            zip(items, is_link(given, expected, some, self.plan.frequencies).tolist(), strict=True)
        )
        return [same.get(item, False) for item in range(len(links))]

    def _followed(self, found: Recognised) -> list[bool]:
        """Which items are the link as the operation can follow it: rows in an order that it cannot
        make another channel, and so do factors.
        """
        operation = self.model.operation
        followed = operation.follows(found.order)
        if not operation.follows_rows:
            followed = followed & found.unchanged(self.plan.frequencies)
        return list(followed.tolist())

    def _spots(self, link: int, channels: Channels) -> Tensor:
        """What a link looks like at every subcarrier, see :func:`spots_of_link`."""
        model, plan, time = self.model, self.plan, channels.time
        return kept(
            model.kept.spots,
            lambda: LinkAt(Moment(plan.key, torch.complex64, time), link, 0.0),
            lambda: spots_of_link(model.links, link, plan.frequencies, time),
        )

    def _within_noise(
        self, found: Recognised, good: Sequence[bool], channels: Channels
    ) -> list[bool]:
        """Which of the good items have a noise power that was trained."""
        power = noise_powers(found, channels)
        inside = self.model.mapping.axis.covers(power, channels.time).tolist()
        within = [fine and at_power for fine, at_power in zip(good, inside, strict=True)]
        beyond = [fine and not at_power for fine, at_power in zip(good, inside, strict=True)]
        if any(beyond):
            warn_of_noise(self.model, power[torch.tensor(beyond)], channels.time)
        return within


def noise_powers(found: Recognised, channels: Channels) -> Tensor:
    """Noise power that each item's link has, [num_items], float64.

    A common gain c of the rows turns the problem into that of A at the noise power no / |c|².
    """
    if channels.no is None:
        return torch.zeros(len(found.links), dtype=torch.float64, device=found.gain.device)
    return channels.no.to(found.gain.real) / found.gain.abs()[:, 0].square()


def check_known(model: OperationModel, links: Tensor | None) -> None:
    """Refuse named links that a model does not have.

    :raises ValueError: if there are any
    """
    if links is not None and bool((links >= model.links.num_links).any()):
        raise ValueError(
            f"links has the entry {int(links.max())}, the model has links 0 to "
            f"{model.links.num_links - 1}."
        )


def warn_of_noise(model: OperationModel, no: Tensor, time: float) -> None:
    """Say that noise powers or a time lie outside what was trained.

    :param no: the noise powers, those of other links that are inside may be among them
    """
    moving = model.links.duration > 0
    when, what = (f" at {time:.3g} s", "num_slots") if moving else ("", "noise_db")
    low, high = (f"{power:.3g}" for power in (no.min().item(), no.max().item()))
    powers = f"a noise power of {low}" if low == high else f"noise powers of {low} to {high}"
    model.warned.once(
        "noise",
        f"The model of {model.operation.name} was trained for {model.mapping.axis}. At {powers}"
        f"{when}, links are computed exactly. To have them queried, widen {what} in the scenario "
        "and train again.",
    )
