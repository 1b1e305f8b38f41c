"""The basis of a trunk: the functions of the parameter that its readout mixes, one kind a file."""

from neumatc_mimo.mapping.basis.base import BASES, Basis, make_basis
from neumatc_mimo.mapping.basis.fourier import FourierBasis
from neumatc_mimo.mapping.basis.knots import KnotSplines, LinkTable
from neumatc_mimo.mapping.basis.sines import SineBasis
from neumatc_mimo.mapping.basis.splines import SplineBasis
from neumatc_mimo.mapping.basis.tables import DenseTable, Table, Windows

__all__ = [
    "BASES",
    "Basis",
    "DenseTable",
    "FourierBasis",
    "KnotSplines",
    "LinkTable",
    "SineBasis",
    "SplineBasis",
    "Table",
    "Windows",
    "make_basis",
]
