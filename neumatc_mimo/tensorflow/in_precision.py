"""Sionna's own blocks in a precision of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sionna.phy import Block, config


class InPrecision:
    """A block of Sionna 1.2 in a precision, which it does not tell all of its parts.

    :param make: makes the block
    :param precision: "single" or "double"
    """

    def __init__(self, make: Callable[[], Block], precision: str) -> None:
        self._precision = precision
        with self._configured():
            self.block = make()

    def __call__(self, *inputs: Any) -> Any:
        with self._configured():
            return self.block(*inputs)

    @contextmanager
    def _configured(self) -> Iterator[None]:
        before, config.precision = config.precision, self._precision
        try:
            yield
        finally:
            config.precision = before
