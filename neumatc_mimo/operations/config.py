"""What a scenario file says of an operation, and what its links say of themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Decibels = Annotated[float, Field(ge=-100.0, le=100.0)]


@dataclass(frozen=True)
class Dimensions:
    """Sizes of the matrices that an operation is trained on.

    :param num_rows: antennas of all users of a link
    :param num_cols: antennas of the base station
    :param antennas_per_user: neighbouring rows that belong to one user
    :param num_streams: of a single user; None for several
    """

    num_rows: int
    num_cols: int
    antennas_per_user: int = 1
    num_streams: int | None = None


class OperationConfig(BaseModel):
    """The keys of an operation. One with keys of its own has a subclass, whose fields these are;
    what stands below a field describes it in the documentation.
    """

    # strict: a number in quotation marks or a boolean is a mistake, not a number.
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    name: str
    """Name of the operation."""
    noise_db: Decibels | None = None
    """Noise power in dB to train for, if the operation depends on it. Default: the whole range
    `noise_db` in `[multi_user]`.
    """

    @property
    def no(self) -> float | None:
        """The noise power, linear."""
        return None if self.noise_db is None else power(self.noise_db)

    def own(self) -> dict[str, Any]:
        """The operation's own keys."""
        return self.model_dump(exclude=set(OperationConfig.model_fields))


class AtNoiseConfig(OperationConfig):
    """The keys of an operation that is trained for one noise power."""

    noise_db: Decibels
    """Noise power in dB to train for."""


def power(decibels: float) -> float:
    """A power in decibels, linear."""
    return float(10 ** (decibels / 10))


__all__ = ["AtNoiseConfig", "Decibels", "Dimensions", "OperationConfig", "power"]
