"""The operations by their names, and what makes one from its settings."""

from __future__ import annotations

from typing import Any

from neumatc_mimo.foundation.registry import Registry
from neumatc_mimo.operations.base import Operation

OPERATIONS: Registry[type[Operation]] = Registry("operation", "neumatc_mimo.operations", Operation)

register = OPERATIONS.register


def make_operation(settings: dict[str, Any]) -> Operation:
    """The operation that ``Operation.settings`` described, of this package or another.

    :raises ValueError: if there is no operation of that name
    """
    operation: Operation = OPERATIONS.make(settings)
    return operation


__all__ = ["OPERATIONS", "make_operation", "register"]
