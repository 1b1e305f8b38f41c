"""Parametric matrices A(p)."""

from neumatc_mimo.families.base import Family
from neumatc_mimo.families.cosine import CosineFamily
from neumatc_mimo.families.fourier import FourierFamily
from neumatc_mimo.families.products import Gram, Product
from neumatc_mimo.families.radial import RadialFamily
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
