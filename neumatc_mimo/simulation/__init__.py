"""Link-level simulations built from Sionna's parts, with the matrices from any solver."""

from neumatc_mimo.simulation.pipelines import (
    PIPELINES,
    Draws,
    ErrorCurve,
    MultiUserDownlink,
    MultiUserUplink,
    Pipeline,
    Simulated,
    SingleUserSVD,
    error_curves,
    fall,
    propagate,
    snr_offset_db,
    waterfall,
)

__all__ = [
    "PIPELINES",
    "Draws",
    "ErrorCurve",
    "MultiUserDownlink",
    "MultiUserUplink",
    "Pipeline",
    "Simulated",
    "SingleUserSVD",
    "error_curves",
    "fall",
    "propagate",
    "snr_offset_db",
    "waterfall",
]
