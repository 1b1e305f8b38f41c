"""Learned, certified matrix inverses and SVDs for MIMO-OFDM link-level simulation."""

__version__ = "0.1.0"

from neumatc_mimo import plots
from neumatc_mimo.model import ScenarioModel
from neumatc_mimo.operations import (
    QR,
    SLNR,
    SVD,
    WMMSE,
    BlockDiagonalization,
    Cholesky,
    Eigen,
    HermitianEigen,
    Inverse,
    LinearSolve,
    MatrixExponential,
    MaxMin,
    Operation,
    PseudoInverse,
    Tolerance,
)
from neumatc_mimo.progress import Event
from neumatc_mimo.progress_bar import ProgressBar
from neumatc_mimo.scenario import LinkSet, Scenario, load_scenario
from neumatc_mimo.solvers import Adapted, Auto, Cached, Exact, Solver, Spline
from neumatc_mimo.tensorboard import TensorBoard
from neumatc_mimo.training.scenario import train
from neumatc_mimo.warned import NeuMatCWarning

__all__ = [
    "QR",
    "SLNR",
    "SVD",
    "WMMSE",
    "Adapted",
    "Auto",
    "BlockDiagonalization",
    "Cached",
    "Cholesky",
    "Eigen",
    "Event",
    "Exact",
    "HermitianEigen",
    "Inverse",
    "LinearSolve",
    "LinkSet",
    "MatrixExponential",
    "MaxMin",
    "NeuMatCWarning",
    "Operation",
    "ProgressBar",
    "PseudoInverse",
    "Scenario",
    "ScenarioModel",
    "Solver",
    "Spline",
    "TensorBoard",
    "Tolerance",
    "load_scenario",
    "plots",
    "train",
]
