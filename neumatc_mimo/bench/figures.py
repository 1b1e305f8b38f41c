"""How the figures of a fidelity report are written: their names tell their units."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

# What tables in a terminal show of the figures of a fidelity report.
_HEADLINES = (
    "below_promise",
    "patched_share",
    "error_median_db",
    "filter_error_median_db",
    "certificate_5th_percentile_db",
    "sir_5th_percentile_db",
    "mapping_alone_sir_5th_percentile_db",
    "x_hat_error_median_db",
    "no_eff_deviation_max",
    "rate_ratio",
)


def headlines(values: Mapping[str, float]) -> list[str]:
    """The figures that a table in a terminal shows; what could not be measured is left out."""
    return [name for name in _HEADLINES if name in values and math.isfinite(values[name])]


def subject(name: str) -> str:
    """What figures are of, in words: ``mmse_-40_db`` is "MMSE −40 dB"."""
    words = name.replace("_", " ").replace(" -", " −").replace(" db", " dB")
    return re.sub(r"\b(w?mmse|slnr|svd)\b", lambda found: found[0].upper(), words)


def label(name: str) -> str:
    """The name of a figure in words."""
    return (
        name.removesuffix("_db")
        .replace("_percentile", " percentile")
        .replace("_", " ")
        .replace("sinr", "SINR")
        .replace("sir", "SIR")
    )


def written(name: str, value: float) -> str:
    """A figure in its unit: dB, a number of times, a rank, a count, or a share in percent; a dash
    for what could not be measured.
    """
    if math.isnan(value):
        return "–"
    if name.endswith("_db"):
        return f"{value:.1f} dB"
    if "_over_" in name:
        return f"{value:.3g} ×"
    if name.startswith("below"):
        return f"{value:,.0f}"
    if name.startswith("rank") and "ratio" not in name:
        return f"{value:.0f}"
    return f"{100 * value:.2f} %"
