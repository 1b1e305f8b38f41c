"""Matrix operations, one file each."""

from typing import Any

from neumatc_mimo.foundation.registry import made
from neumatc_mimo.operations.base import Certificate, Components, Operation, Tolerance
from neumatc_mimo.operations.block_diagonalization import BlockDiagonalization
from neumatc_mimo.operations.cholesky import Cholesky, CholeskyFactor
from neumatc_mimo.operations.eigen import Eigen, Eigenpairs
from neumatc_mimo.operations.exponential import Exponential, MatrixExponential
from neumatc_mimo.operations.hermitian_eigen import HermitianEigen, HermitianEigenpairs
from neumatc_mimo.operations.inverse import Inverse, InverseMatrix
from neumatc_mimo.operations.linear_solve import LinearSolve, Solution
from neumatc_mimo.operations.max_min import MaxMin
from neumatc_mimo.operations.precoding import Precoding
from neumatc_mimo.operations.pseudo_inverse import Filter, PseudoInverse
from neumatc_mimo.operations.qr import QR, QRFactors
from neumatc_mimo.operations.slnr import SLNR, UserStreams
from neumatc_mimo.operations.svd import SVD, Triplets
from neumatc_mimo.operations.wmmse import WMMSE

# A new operation is a new file and one entry here.
_REGISTERED: dict[str, type[Operation]] = {
    kind.name: kind
    for kind in (
        PseudoInverse,
        Inverse,
        SVD,
        HermitianEigen,
        Eigen,
        QR,
        Cholesky,
        MatrixExponential,
        LinearSolve,
        WMMSE,
        MaxMin,
        SLNR,
        BlockDiagonalization,
    )
}


def make_operation(settings: dict[str, Any]) -> Operation:
    """The operation that ``Operation.settings`` described.

    :raises ValueError: if there is no operation of that name
    """
    return made(_REGISTERED, settings, "name", "There is no operation")


__all__ = [
    "QR",
    "SLNR",
    "SVD",
    "WMMSE",
    "BlockDiagonalization",
    "Certificate",
    "Cholesky",
    "CholeskyFactor",
    "Components",
    "Eigen",
    "Eigenpairs",
    "Exponential",
    "Filter",
    "HermitianEigen",
    "HermitianEigenpairs",
    "Inverse",
    "InverseMatrix",
    "LinearSolve",
    "MatrixExponential",
    "MaxMin",
    "Operation",
    "Precoding",
    "PseudoInverse",
    "QRFactors",
    "Solution",
    "Tolerance",
    "Triplets",
    "UserStreams",
    "make_operation",
]
