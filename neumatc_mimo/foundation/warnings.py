"""Warnings of the package: one category, each given once by an object."""

from __future__ import annotations

import sys
import warnings

# Frames of these packages are not where a user can change something.
_INSIDE = ("neumatc_mimo", "sionna", "torch")


class NeuMatCWarning(UserWarning):
    """Something takes longer than necessary. The message says what to do.

    The results are correct. ``warnings.simplefilter("ignore", nm.NeuMatCWarning)`` silences all.
    """


def warn(message: str) -> None:
    """Warn at the line of the user's code that led here."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _is_inside(frame.f_globals.get("__name__", "")):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, NeuMatCWarning, stacklevel=level)


class Warned:
    """The warnings that an object gave."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def once(self, kind: str, message: str) -> None:
        """Warn, unless the object did so before.

        :param kind: What the warning is about; messages may carry figures that change
        """
        if kind not in self._given:
            self._given.add(kind)
            warn(message)


def _is_inside(module: str) -> bool:
    return module.partition(".")[0] in _INSIDE
