"""Matrix operations, one file each."""

from neumatc_mimo.operations.base import Certificate, Components, Operation, Tolerance
from neumatc_mimo.operations.block_diagonalization import BlockDiagonalization
from neumatc_mimo.operations.cholesky import Cholesky, CholeskyFactor
from neumatc_mimo.operations.config import AtNoiseConfig, Dimensions, OperationConfig
from neumatc_mimo.operations.eigen import Eigen, Eigenpairs
from neumatc_mimo.operations.exponential import Exponential, MatrixExponential
from neumatc_mimo.operations.hermitian_eigen import HermitianEigen, HermitianEigenpairs
from neumatc_mimo.operations.inverse import Inverse, InverseMatrix
from neumatc_mimo.operations.linear_solve import LinearSolve, Solution
from neumatc_mimo.operations.matched_filter import MatchedFilter
from neumatc_mimo.operations.max_min import MaxMin
from neumatc_mimo.operations.precoding import Precoding
from neumatc_mimo.operations.pseudo_inverse import Filter, PseudoInverse
from neumatc_mimo.operations.qr import QR, QRFactors
from neumatc_mimo.operations.registry import OPERATIONS, make_operation, register
from neumatc_mimo.operations.slnr import SLNR, UserStreams
from neumatc_mimo.operations.svd import SVD, Triplets
from neumatc_mimo.operations.user_wmmse import UserWMMSE
from neumatc_mimo.operations.wmmse import WMMSE

__all__ = [
    "OPERATIONS",
    "QR",
    "SLNR",
    "SVD",
    "WMMSE",
    "AtNoiseConfig",
    "BlockDiagonalization",
    "Certificate",
    "Cholesky",
    "CholeskyFactor",
    "Components",
    "Dimensions",
    "Eigen",
    "Eigenpairs",
    "Exponential",
    "Filter",
    "HermitianEigen",
    "HermitianEigenpairs",
    "Inverse",
    "InverseMatrix",
    "LinearSolve",
    "MatchedFilter",
    "MatrixExponential",
    "MaxMin",
    "Operation",
    "OperationConfig",
    "Precoding",
    "PseudoInverse",
    "QRFactors",
    "Solution",
    "Tolerance",
    "Triplets",
    "UserStreams",
    "UserWMMSE",
    "make_operation",
    "register",
]
