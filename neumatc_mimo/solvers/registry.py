"""The solvers by their names."""

from __future__ import annotations

from neumatc_mimo.foundation.registry import Registry
from neumatc_mimo.solvers.base import Solver

# Trained models are solvers, too, and so are what adapts them to new channels, a cache around
# another solver and the choice between two: these have no name, as they are made of others.
SOLVERS: Registry[type[Solver]] = Registry("solver", "neumatc_mimo.solvers", Solver)

register = SOLVERS.register


__all__ = ["SOLVERS", "register"]
