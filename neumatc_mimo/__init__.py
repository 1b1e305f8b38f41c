"""Learned, certified matrix inverses and SVDs for MIMO-OFDM link-level simulation."""

__version__ = "1.0.0"

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neumatc_mimo import plots
    from neumatc_mimo.foundation.warnings import NeuMatCWarning
    from neumatc_mimo.model.scenario_model import ScenarioModel
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
    from neumatc_mimo.progress.bar import ProgressBar
    from neumatc_mimo.progress.tensorboard import TensorBoard
    from neumatc_mimo.scenario import LinkSet, Scenario, load_scenario
    from neumatc_mimo.solvers import Adapted, Auto, Cached, Exact, Solver, Spline
    from neumatc_mimo.training.scenario import train

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

# Where the names above are found. They are imported when they are first used, so that
# `neumatc_mimo.tensorflow` does without PyTorch.
_HOMES = (
    "foundation.warnings",
    "model",
    "operations",
    "progress",
    "progress.bar",
    "progress.tensorboard",
    "scenario",
    "solvers",
    "training",
)


def __getattr__(name: str) -> Any:
    if name == "plots":
        return importlib.import_module(f"{__name__}.plots")
    if name in __all__:
        for home in _HOMES:
            module = importlib.import_module(f"{__name__}.{home}")
            if hasattr(module, name):
                return globals().setdefault(name, getattr(module, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
