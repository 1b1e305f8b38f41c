"""What tells two configurations of a scenario apart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

# What links are drawn from; how models are trained on them is another matter.
_SECTIONS = (
    "seed",
    "deepmimo",
    "channel",
    "sionna_rt",
    "array",
    "grid",
    "multi_user",
    "single_user",
    "motion",
)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """A few words on each key of which links depend that has another value.

    Keys that one of both does not have are left out: another version may have written it.

    :param before: Sections of a scenario as plain values, of a model
    :param now: Those of the scenario that it is used with
    """
    for name in _SECTIONS:
        if name not in before or name not in now:
            continue
        old, new = before[name], now[name]
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            for key in old:
                if key in new and not _same(old[key], new[key]):
                    yield f"{key} in [{name}] is {_told(new[key])}, it was {_told(old[key])}"
        elif not _same(old, new):
            there = f"has no [{name}]" if new is None else f"has a [{name}]"
            yield f"it {there}" if name != "seed" else f"seed is {_told(new)}, it was {_told(old)}"


def _same(old: Any, new: Any) -> bool:
    # Tuples have become lists in what was stored.
    return json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)


def _told(value: Any) -> str:
    return json.dumps(value)
