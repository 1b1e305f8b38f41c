"""How far a long step is: events, and the functions that are told of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Event:
    """Where a long step stands.

    :param step: What is done, such as "pseudo_inverse" while that is trained
    :param done: How much of it is done
    :param total: How much there is to do; None if that is not known
    :param unit: What is counted, such as "links"
    :param metrics: Figures of the work so far, such as the loss, by name
    """

    step: str
    done: int = 0
    total: int | None = None
    unit: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)


# Called with every event of a step; what it raises ends the step.
Callback = Callable[[Event], object]
# What long steps accept.
Callbacks = Callback | Iterable[Callback] | None


def within(step: str, callback: Callback) -> Callback:
    """A callback for the parts of a step: their names follow the step's own."""
    return lambda event: callback(replace(event, step=f"{step}: {event.step}"))


__all__ = ["Callback", "Callbacks", "Event", "within"]
