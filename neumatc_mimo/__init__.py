"""Learned, certified matrix inverses and SVDs for MIMO-OFDM link-level simulation."""

__version__ = "0.1.0"

from neumatc_mimo.model import ScenarioModel
from neumatc_mimo.operations import SVD, Inverse, Operation, PseudoInverse, Tolerance
from neumatc_mimo.scenario import LinkSet, Scenario, load_scenario
from neumatc_mimo.solvers import Exact, Solver
from neumatc_mimo.training.scenario import train

__all__ = [
    "SVD",
    "Exact",
    "Inverse",
    "LinkSet",
    "Operation",
    "PseudoInverse",
    "Scenario",
    "ScenarioModel",
    "Solver",
    "Tolerance",
    "load_scenario",
    "train",
]
