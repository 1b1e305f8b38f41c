"""Passing the events of a long step on to all who listen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from neumatc_mimo.progress.events import Callback, Callbacks, Event


@contextmanager
def reported(callback: Callbacks = None, progress: bool = False) -> Iterator[Callback]:
    """One callback that passes events on, to a progress bar as well while the block lasts.

    A step within another one that has a bar shows up in that bar.

    :param callback: A callback, several, or None
    :param progress: Whether to show a bar, if there is a terminal or a notebook
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
            from neumatc_mimo.progress.bar import shared_bar

            listeners.append(stack.enter_context(shared_bar()))

        def tell(event: Event) -> None:
            for listener in listeners:
                listener(event)

        yield tell
