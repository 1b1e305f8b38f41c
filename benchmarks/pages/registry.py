"""The functions behind the names of figures."""

from __future__ import annotations

from collections.abc import Callable

# From a marker's arguments to Markdown.
Figure = Callable[..., str]
FIGURES: dict[str, Figure] = {}


def figure(function: Figure) -> Figure:
    """Register a function under its name."""
    FIGURES[function.__name__] = function
    return function
