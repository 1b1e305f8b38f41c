"""How far a long step is: events, and whom they are told to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
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


@contextmanager
def reported(callback: Callbacks = None, progress: bool = False) -> Iterator[Callback]:
    """One callback that passes events on, to a progress bar as well while the block lasts.

    A step within another one that has a bar shows up in that bar.

    :param callback: Whom to tell: a callback, several, or None
    :param progress: Whether to show a bar, where there is a terminal or a notebook to show it
    """
    listeners: list[Callback]
    if callback is None:
        listeners = []
    elif callable(callback) or not isinstance(callback, Iterable):
        listeners = [callback]
    else:
        listeners = list(callback)
    for listener in listeners:
        if not callable(listener):
            raise TypeError(
                f"callback is a {type(listener).__name__}, a function of an Event, or several, are "
                "needed."
            )
    with ExitStack() as stack:
        if progress:
            # Only where it is asked for: rich takes a while to load.
            from neumatc_mimo.progress_bar import shared_bar

            listeners.append(stack.enter_context(shared_bar()))

        def tell(event: Event) -> None:
            for listener in listeners:
                listener(event)

        yield tell


def within(step: str, callback: Callback) -> Callback:
    """A callback for the parts of a step: their names follow the step's own."""
    return lambda event: callback(replace(event, step=f"{step}: {event.step}"))


__all__ = ["Callback", "Callbacks", "Event", "reported", "within"]
