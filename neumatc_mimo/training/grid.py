"""A grid of training settings: one scenario in as many variants."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from neumatc_mimo.scenario import Scenario


def grid(scenario: Scenario, settings: Mapping[str, Sequence[Any]]) -> dict[str, Scenario]:
    """The scenario with every combination of values of some keys of its section [model].

    All share the same links, which are drawn once.

    :param settings: key → its values

    :return: name → variant; names tell what varies, such as "munich-rank=8-width=400"

    :raises ValueError: if a key has no value or is unknown, or a value is not accepted
    """
    for key, values in settings.items():
        if not values:
            raise ValueError(f"{key} has no value, give at least one.")
    if settings:
        _ = scenario.multi_user, scenario.single_user  # drawn before variants take them along
    variants = {}
    for chosen in itertools.product(*settings.values()):
        changes = dict(zip(settings, chosen, strict=True))
        told = [f"{k}={v}" for k, v in changes.items() if len(settings[k]) > 1]
        variants["-".join([scenario.name, *told])] = scenario.with_model(**changes)
    return variants
