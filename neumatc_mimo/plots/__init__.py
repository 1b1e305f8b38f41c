"""Pictures of scenarios, models, curves and times; all take ``ax=``."""

from neumatc_mimo.plots.pictures import (
    COLOURS,
    Values,
    achievable_rates,
    branches,
    entry,
    entry_error,
    error_curves,
    phase,
    refinement,
    residual,
    scenario_map,
    singular_values,
    times,
    times_along,
)

__all__ = [
    "COLOURS",
    "Values",
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
