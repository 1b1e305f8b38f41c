"""Parametric matrices A(p)."""

from neumatc_mimo.families.base import (
    CosineFamily,
    Family,
    FourierFamily,
    Gram,
    Product,
    RadialFamily,
)
from neumatc_mimo.families.sparse import (
    AdvectionDiffusionReaction,
    AffineSystem,
    Array,
    solved,
)
from neumatc_mimo.families.waves import (
    Augmented,
    PlaneWaves,
)

__all__ = [
    "AdvectionDiffusionReaction",
    "AffineSystem",
    "Array",
    "Augmented",
    "CosineFamily",
    "Family",
    "FourierFamily",
    "Gram",
    "PlaneWaves",
    "Product",
    "RadialFamily",
    "solved",
]
