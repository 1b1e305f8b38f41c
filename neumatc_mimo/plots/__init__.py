"""Pictures of scenarios, results and runs: each function draws one and returns its Matplotlib axes.

All take ``ax``, the axes to draw into; without it a new figure is made, the one place where
Matplotlib's global state is used.
"""

from neumatc_mimo.plots.decay import singular_values
from neumatc_mimo.plots.maps import scenario_map
from neumatc_mimo.plots.rates import achievable_rates, error_curves
from neumatc_mimo.plots.sampling import refinement
from neumatc_mimo.plots.spectra import branches, entry, entry_error, phase, residual
from neumatc_mimo.plots.style import COLOURS
from neumatc_mimo.plots.timings import times, times_along

__all__ = [
    "COLOURS",
    "achievable_rates",
    "branches",
    "entry",
    "entry_error",
    "error_curves",
    "phase",
    "refinement",
    "residual",
    "scenario_map",
    "singular_values",
    "times",
    "times_along",
]
