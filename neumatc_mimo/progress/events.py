"""How far a long step is: events, and the functions that are told of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Event:
    """Progress of a long step.

    :param step: Name of the step, such as "pseudo_inverse" while this is trained
    :param done: How much is done
    :param total: How much there is in total. None if unknown
    :param unit: What is counted, such as "links"
    :param metrics: Figures so far, such as the loss, by name
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
    """A callback for the parts of a step. Their names are appended to the step's name."""
    return lambda event: callback(replace(event, step=f"{step}: {event.step}"))


__all__ = ["Callback", "Callbacks", "Event", "within"]
