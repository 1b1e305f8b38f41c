"""Solvers: ways to get an operation's result, behind one interface."""

from neumatc_mimo.solvers.adapted import Adapted
from neumatc_mimo.solvers.auto import Auto
from neumatc_mimo.solvers.base import Answers, Channels, Counts, Solver
from neumatc_mimo.solvers.cached import Cached
from neumatc_mimo.solvers.dft import DFT
from neumatc_mimo.solvers.exact import Exact
from neumatc_mimo.solvers.gcro_dr import GCRODR
from neumatc_mimo.solvers.hold import Hold
from neumatc_mimo.solvers.learned import Learned
from neumatc_mimo.solvers.library_lu import LibraryLU
from neumatc_mimo.solvers.library_svd import LibrarySVD
from neumatc_mimo.solvers.linear import Linear
from neumatc_mimo.solvers.neural_newton import NeuralNewton
from neumatc_mimo.solvers.newton_schulz import NewtonSchulz
from neumatc_mimo.solvers.numpy_lu import NumPyLU
from neumatc_mimo.solvers.numpy_svd import NumPySVD
from neumatc_mimo.solvers.operator_interpolation import OperatorInterpolation
from neumatc_mimo.solvers.randomized_svd import RandomizedSVD
from neumatc_mimo.solvers.registry import SOLVERS, register
from neumatc_mimo.solvers.shared_projection_svd import SharedProjectionSVD
from neumatc_mimo.solvers.spline import Spline
from neumatc_mimo.solvers.trained import Trained
from neumatc_mimo.solvers.zhang_inverse import ZhangInverse
from neumatc_mimo.solvers.zhang_svd import ZhangSVD

__all__ = [
    "DFT",
    "GCRODR",
    "SOLVERS",
    "Adapted",
    "Answers",
    "Auto",
    "Cached",
    "Channels",
    "Counts",
    "Exact",
    "Hold",
    "Learned",
    "LibraryLU",
    "LibrarySVD",
    "Linear",
    "NeuralNewton",
    "NewtonSchulz",
    "NumPyLU",
    "NumPySVD",
    "OperatorInterpolation",
    "RandomizedSVD",
    "SharedProjectionSVD",
    "Solver",
    "Spline",
    "Trained",
    "ZhangInverse",
    "ZhangSVD",
    "register",
]
