"""What a scenario file trains on its links: operations, each with the keys that it brings."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections import Counter
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, SerializeAsAny, model_validator

from neumatc_mimo.operations import OPERATIONS, Dimensions, Operation, OperationConfig
from neumatc_mimo.scenario.section import Section, from_list
from neumatc_mimo.storage.names import check_operation


def _checked(value: Any) -> Any:
    """A table of a file as the keys of the operation that it names."""
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return value
    try:
        kind = OPERATIONS.find(check_operation(value["name"]))
    except (ValueError, TypeError) as error:
        raise ValueError(f"is refused: {_reason(error)}") from error
    if unknown := set(value) - set(kind.config.model_fields):
        raise ValueError(
            f'has the unknown key {json.dumps(min(unknown))}, known for "{kind.name}" are '
            f"{', '.join(kind.config.model_fields)}"
        )
    config = kind.config.model_validate(value)
    if config.noise_db is not None and not kind.depends_on_noise():
        raise ValueError(
            f'has noise_db, but "{kind.name}" does not depend on the noise: leave it out'
        )
    return config


Operations = Annotated[
    tuple[Annotated[SerializeAsAny[OperationConfig], BeforeValidator(_checked)], ...],
    BeforeValidator(from_list),
]


class TrainedConfig(Section):
    """Base of the sections of links."""

    # The operation that is trained in any case, and older keys that ask for others.
    always: ClassVar[str]
    older: ClassVar[dict[str, str]] = {}
    # Whether links have a range of noise powers, which an operation is trained for by default.
    has_noise_range: ClassVar[bool] = False

    newer: ClassVar[frozenset[str]] = frozenset({"groups"})

    operation: Operations = ()
    """Operations to train in addition to the one that is always trained, each a table with a
    `name`.
    """

    @property
    def operations(self) -> tuple[OperationConfig, ...]:
        """The keys of all operations that are trained."""
        return _keys(self.always), *self._asked_before().values(), *self.operation

    @abstractmethod
    def dimensions(self, num_cols: int) -> Dimensions:
        """Sizes of the links' matrices, with so many antennas of the base station."""

    def trained(self, num_cols: int) -> list[tuple[OperationConfig, Operation]]:
        """The keys of the operations that are trained, and the operations.

        :raises ValueError: if links cannot have one of them
        """
        sizes = self.dimensions(num_cols)
        return [(config, self._made(config, sizes)) for config in self.operations]

    def drawn(self) -> str:
        """What links are drawn from, as JSON, and what is trained on them as far as older keys can
        tell it: the fingerprint of links is that of files with these keys.
        """
        names = {name: key for key, name in self.older.items()}
        told = {
            names[config.name]: True if config.noise_db is None else config.noise_db
            for config in self.operation
            if config.name in names
        }
        return self.model_copy(update=told).told({"operation"})

    def _asked_before(self) -> dict[str, OperationConfig]:
        """What the older keys ask for, by key; zero decibels ask for an operation, too."""
        values = {key: getattr(self, key) for key in self.older}
        return {
            key: _keys(self.older[key], None if value is True else value)
            for key, value in values.items()
            if value is not None and value is not False
        }

    @model_validator(mode="after")
    def _named_once(self) -> TrainedConfig:
        names = Counter(config.name for config in self.operation)
        for key, config in self._asked_before().items():
            if config.name in names:
                raise ValueError(
                    f'has {key} and an operation "{config.name}", which mean the same: leave '
                    "one of them out"
                )
        if self.always in names:
            raise ValueError(f'has an operation "{self.always}", which is always trained')
        if twice := [name for name, number in names.items() if number > 1]:
            raise ValueError(f'has the operation "{twice[0]}" twice')
        return self

    def _made(self, config: OperationConfig, sizes: Dimensions) -> Operation:
        kind = OPERATIONS.find(config.name)
        try:
            if kind.depends_on_noise() and config.noise_db is None and not self.has_noise_range:
                raise ValueError("the key noise_db is missing")
            operation = kind.configured(config, sizes)
            operation.component_shapes(sizes.num_rows, sizes.num_cols)
        except (ValueError, TypeError, RuntimeError) as error:
            raise ValueError(
                f'has the operation "{config.name}", which is not possible for links of '
                f"{sizes.num_rows} x {sizes.num_cols}: {_reason(error)}"
            ) from error
        return operation


def _keys(name: str, noise_db: float | None = None) -> OperationConfig:
    """The keys of an operation that no table asks for."""
    given = {"name": name} if noise_db is None else {"name": name, "noise_db": noise_db}
    return OPERATIONS.find(name).config.model_validate(given)


def _reason(error: Exception) -> str:
    """What an error says, without its full stop."""
    return str(error).splitlines()[0].rstrip(".")


__all__ = ["TrainedConfig"]
