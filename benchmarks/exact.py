"""What exact blocks do beside the base point: users of several antennas, noise that differs between
antennas, more streams than antennas.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor

from neumatc_mimo import Scenario
from neumatc_mimo.bench.tasks import MMSE, NO_DB, Precoding, Task
from neumatc_mimo.operations import SLNR, BlockDiagonalization


class Uneven(MMSE):
    """In noise whose power differs between antennas, 10 dB in all."""

    title = "MMSEEqualizer, noise of each antenna"

    def inputs(self) -> tuple[Tensor, ...]:
        y, h, error, no = super().inputs()
        level = 10 ** self.no.new_tensor(range(y.shape[2])).div(y.shape[2])
        return y, h, error, (no * level)[None, None]


class Crowded(MMSE):
    """For more streams than antennas."""

    title = "MMSEEqualizer, two streams for each antenna"


class Case(NamedTuple):
    """Blocks on links of a scenario.

    :param scenario: of which links are taken
    :param tasks: the blocks
    """

    scenario: Scenario
    tasks: list[type[Task]]


def cases(base: Scenario) -> Iterator[Case]:
    """The blocks, each on as many rows as the scenario's groups of users have."""
    config = base.config
    many = config.multi_user
    assert many is not None
    rows = many.users_per_link * math.prod(many.ue)

    def of(**changes: Any) -> Scenario:
        array = config.array.model_copy(update=changes.pop("array", {}))
        links = many.model_copy(update={"num_links": 8, "max_condition": math.inf} | changes)
        return base.with_config(config.model_copy(update={"array": array, "multi_user": links}))

    yield Case(of(users_per_link=rows // 2, ue=(2, 1)), [_precoding(kind) for kind in _BY_USER])
    yield Case(of(), [Uneven])
    yield Case(of(array={"bs": (rows // 2, 1)}), [Crowded])


_BY_USER: tuple[type[SLNR], ...] = (BlockDiagonalization, SLNR)


def _precoding(kind: type[SLNR]) -> type[Task]:
    """The task of an operation for users of two antennas."""
    noise = {"noise_db": NO_DB} if kind.depends_on_noise() else {}
    keys = {"name": kind.name} | noise
    task = Precoding.of(kind.config.model_validate(keys))
    return type("Precoding", (task,), {"title": f"{task.title}, users of two antennas"})
