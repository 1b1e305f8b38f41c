"""Measures of quality, one definition each."""

from neumatc_mimo.metrics.measures import (
    achievable_rate,
    db,
    eckart_young,
    eckart_young_bounds,
    effective_channel,
    inverse_residual,
    relative_error,
    singular_decay,
    sinr_db,
    sir_db,
    sum_rate,
    svd_residual,
)

__all__ = [
    "achievable_rate",
    "db",
    "eckart_young",
    "eckart_young_bounds",
    "effective_channel",
    "inverse_residual",
    "relative_error",
    "singular_decay",
    "sinr_db",
    "sir_db",
    "sum_rate",
    "svd_residual",
]
