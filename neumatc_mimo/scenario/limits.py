"""How large the numbers of a scenario file may be.

Far more than anybody simulates: what lies beyond is a slip of the pen, and would ask for more
memory or time than there is before it is noticed.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from neumatc_mimo.scenario.section import from_list

# Antennas of an array, and those along one of its sides.
MOST_ANTENNAS = 2**16
_Side = Annotated[int, Field(gt=0, le=2**12)]


def one_or_more(value: Any) -> Any:
    """A file may give one number where several are possible."""
    return (value,) if isinstance(value, int | float) else from_list(value)


Seed = Annotated[int, Field(ge=0, lt=2**63)]
Links = Annotated[int, Field(gt=0, le=10**6)]
Subcarriers = Annotated[int, Field(gt=0, le=2**20)]
Functions = Annotated[int, Field(gt=0, le=2**16)]
Neurons = Annotated[int, Field(gt=0, le=2**13)]
Layers = Annotated[int, Field(gt=0, le=64)]
Steps = Annotated[int, Field(gt=0, le=10**7)]
Rounds = Annotated[int, Field(gt=0, le=1000)]
Slots = Annotated[int, Field(gt=0, le=10**6)]
NoiseNodes = Annotated[int, Field(ge=2, le=2**8)]
TimeNodes = Annotated[int, Field(ge=2, le=2**13)]
Paths = Annotated[int, Field(gt=0, le=10**6)]
Scene = Annotated[int, Field(ge=0, le=10**6)]
Indices = Annotated[tuple[Scene, ...], BeforeValidator(one_or_more), Field(min_length=1)]
Users = Annotated[int, Field(gt=0, le=MOST_ANTENNAS)]
Shape = Annotated[tuple[_Side, _Side], BeforeValidator(from_list)]

Spacing = Annotated[float, Field(ge=1e-3, le=1e4)]
Hertz = Annotated[float, Field(ge=1e-3, le=1e12)]
Quality = Annotated[float, Field(ge=-200.0, le=300.0)]
_NoiseDB = Annotated[float, Field(ge=-200.0, le=200.0)]
NoiseRange = Annotated[tuple[_NoiseDB, _NoiseDB], BeforeValidator(from_list)]
Degrees = Annotated[float, Field(ge=-1e6, le=1e6)]
Angles = Annotated[tuple[Degrees, Degrees, Degrees], BeforeValidator(from_list)]

Metres = Annotated[float, Field(ge=-1e9, le=1e9)]

# m/s; satellites have a tenth of it.
_MOST_SPEED = 1e5
Speed = Annotated[float, Field(gt=0.0, le=_MOST_SPEED)]
_Component = Annotated[float, Field(ge=-_MOST_SPEED, le=_MOST_SPEED)]
Velocity = Annotated[tuple[_Component, _Component, _Component], BeforeValidator(from_list)]
_Seconds = Annotated[float, Field(ge=-1e9, le=1e9)]
Times = Annotated[tuple[_Seconds, ...], BeforeValidator(one_or_more), Field(min_length=1)]


def check_antennas(key: str, shape: tuple[int, int]) -> None:
    """Refuse an array of more antennas than anybody has.

    :raises ValueError: if it has
    """
    if math.prod(shape) > MOST_ANTENNAS:
        raise ValueError(
            f"has {key} = {list(shape)}, at most {MOST_ANTENNAS} antennas are possible"
        )
