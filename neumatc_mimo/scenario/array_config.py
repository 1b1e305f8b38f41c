"""The section [array] of a scenario file: arrays of base stations and users."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import BeforeValidator, Field, model_validator

from neumatc_mimo.scenario import limits
from neumatc_mimo.scenario.section import Section, from_list

Pattern = Literal["isotropic", "halfwave-dipole"]

_Opening = Annotated[float, Field(gt=0.0, le=360.0)]
_View = Annotated[tuple[_Opening, _Opening], BeforeValidator(from_list)]
_Range = Annotated[tuple[limits.Degrees, limits.Degrees], BeforeValidator(from_list)]


class StationArray(NamedTuple):
    """The array of one base station, and what the arrays of its users have in common.

    :param bs: Elements, horizontal and vertical
    :param rotation: Degrees about x, y and z
    """

    bs: tuple[int, int]
    rotation: tuple[float, float, float]
    common: ArrayConfig


class ArrayConfig(Section):
    """The planar arrays of base stations and users."""

    newer: ClassVar[frozenset[str]] = frozenset(
        {
            "bs_each",
            "rotation_each",
            "pattern",
            "ue_pattern",
            "field_of_view",
            "ue_field_of_view",
            "ue_rotation",
            "ue_rotation_range",
        }
    )

    bs: limits.Shape = (8, 8)
    """Elements, horizontal and vertical."""
    spacing: limits.Spacing = 0.5
    """Distance of elements in wavelengths at the carrier, for base stations and users."""
    rotation: limits.Angles = (0.0, 0.0, 0.0)
    """Rotation of the array in degrees about x, y and z, as in DeepMIMO."""
    beam_squint: bool = False
    """Whether the wavelength changes along the band."""
    bs_each: Annotated[tuple[limits.Shape, ...], BeforeValidator(from_list)] | None = None
    """Instead of `bs`: a shape for each base station, with as many elements as `bs`."""
    rotation_each: Annotated[tuple[limits.Angles, ...], BeforeValidator(from_list)] | None = None
    """Instead of `rotation`: one for each base station, for example for the sectors of a site."""
    pattern: Pattern = "isotropic"
    """Pattern of a base station's elements: `"isotropic"` or `"halfwave-dipole"`."""
    ue_pattern: Pattern = "isotropic"
    """Pattern of users' elements."""
    field_of_view: _View | None = None
    """Horizontal and vertical opening of a base station's array in degrees, about its broadside.
    Paths outside are left out.
    """
    ue_field_of_view: _View | None = None
    """The same for users' arrays."""
    ue_rotation: limits.Angles = (0.0, 0.0, 0.0)
    """Rotation of users' arrays in degrees about x, y and z."""
    ue_rotation_range: (
        Annotated[tuple[_Range, _Range, _Range], BeforeValidator(from_list)] | None
    ) = None
    """Instead of `ue_rotation`: lowest and highest degrees about x, y and z, between which the seed
    draws a rotation for each user."""

    def of(self, station: int) -> StationArray:
        """The array of the base station in some place of the scenario's list."""
        bs = self.bs if self.bs_each is None else self.bs_each[station]
        rotation = self.rotation if self.rotation_each is None else self.rotation_each[station]
        return StationArray(bs, rotation, self)

    @model_validator(mode="after")
    def _possible(self) -> ArrayConfig:
        limits.check_antennas("bs", self.bs)
        for shape in self.bs_each or ():
            if math.prod(shape) != math.prod(self.bs):
                raise ValueError(
                    f"has {list(shape)} in bs_each, bs = {list(self.bs)} has {math.prod(self.bs)} "
                    "elements: all base stations need as many"
                )
        for low, high in self.ue_rotation_range or ():
            if low > high:
                raise ValueError(
                    f"has [{low:g}, {high:g}] in ue_rotation_range, the first must be the lower one"
                )
        return self
