"""Objects from their settings, plain values as files hold them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def made(
    kinds: Mapping[str, Callable[..., T]], settings: Mapping[str, Any], key: str, none: str
) -> T:
    """The object that settings describe: one entry names its kind, the others are arguments.

    :param kinds: makers of the known kinds
    :param key: of the entry that names the kind
    :param none: what an error says, "There is no axis"

    :raises ValueError: if the kind is not known
    """
    arguments = dict(settings)
    kind = arguments.pop(key, None)
    if kind not in kinds:
        raise ValueError(f'{none} "{kind}", known are {", ".join(kinds)}.')
    return kinds[kind](**arguments)
