"""How the figures of a fidelity report are written: their names tell their units."""

from __future__ import annotations


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
    """A figure in its unit: dB, a number of times, a rank, a count, or a share in percent."""
    if name.endswith("_db"):
        return f"{value:.1f} dB"
    if "_over_" in name:
        return f"{value:.3g} ×"
    if name.startswith("below"):
        return f"{value:,.0f}"
    if name.startswith("rank") and "ratio" not in name:
        return f"{value:.0f}"
    return f"{100 * value:.2f} %"
