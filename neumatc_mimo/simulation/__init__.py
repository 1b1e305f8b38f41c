"""Link-level simulations built from Sionna's parts, with the matrices from any solver."""

from neumatc_mimo.simulation.curves import (
    ErrorCurve,
    error_curves,
    snr_offset_db,
    snr_offset_error_db,
)
from neumatc_mimo.simulation.draws import Draws
from neumatc_mimo.simulation.multi_user import MultiUserDownlink, MultiUserUplink
from neumatc_mimo.simulation.pipeline import Pipeline, Simulated, propagate
from neumatc_mimo.simulation.pipelines import PIPELINES
from neumatc_mimo.simulation.single_user import SingleUserSVD
from neumatc_mimo.simulation.waterfall import fall, waterfall

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
    "snr_offset_error_db",
    "waterfall",
]
