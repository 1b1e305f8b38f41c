"""Solvers: ways to get an operation's result, behind one interface."""

from neumatc_mimo.solvers.base import Answers, Channels, Counts, Solver
from neumatc_mimo.solvers.exact import Exact

__all__ = ["Answers", "Channels", "Counts", "Exact", "Solver"]
