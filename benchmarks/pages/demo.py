"""What ``make demo`` prints, from the summary of a run."""

from __future__ import annotations

from typing import Any

from benchmarks.pages.registry import figure
from benchmarks.pages.results import read
from neumatc_mimo.bench.sheet import table

_NAME = "demo/demo"


@figure
def demo() -> str:
    """Fidelity, offsets of error curves, training and size."""
    summary = read(_NAME)
    found: dict[str, Any] = summary["fidelity"]
    filters, svd = found["zero_forcing"], found["svd"]
    mmse = {key: values for key, values in found.items() if key.startswith("mmse")}
    levels = ", ".join(key.split("_")[1].replace("-", "−") for key in mmse)
    errors = ", ".join(_db(values["x_hat_error_median_db"]) for values in mmse.values())
    deviation = max(values["no_eff_deviation_max"] for values in mmse.values())
    offsets = summary["simulations"]
    coded, uncoded = (
        ", ".join(f"{run['offset_db']:+.3f}" for run in offsets.values() if run["coded"] == kind)
        for kind in (True, False)
    )
    titles = ", ".join(run["title"].split(",")[0] for run in offsets.values() if run["coded"])
    model = summary["model"]
    what = "on subcarriers that were not trained on"
    lines = {
        "zero forcing: error of the filter, median; 5th-percentile SIR": (
            f"{_db(filters['filter_error_median_db'])}; {_db(filters['sir_5th_percentile_db'])}"
        ),
        "the same by the mapping alone: 5th-percentile SIR": _db(
            filters["mapping_alone_sir_5th_percentile_db"]
        ),
        f"MMSE at {levels} dB: error of `x_hat` against Sionna in double precision, median": errors,
        "MMSE: largest deviation of `no_eff`": f"{100 * deviation:.1f} %",
        "SVD: achievable rate": f"{100 * svd['rate_ratio']:.2f} %",
        f"coded error curves ({titles}): offset in dB": coded,
        "uncoded error curves": uncoded,
        "training of both models; their size; subcarriers patched": (
            f"{model['seconds']:.0f} s; {model['mega_bytes']:.0f} MB; "
            f"{100 * found['pseudo_inverse']['patched_share']:.1f} %"
        ),
    }
    return "\n".join(table([{what: key, "queried against exact": v} for key, v in lines.items()]))


@figure
def demo_minutes() -> str:
    """How long all of it took."""
    return f"{read(_NAME)['seconds'] / 60:.0f} minutes"


@figure
def demo_training() -> str:
    """How long the training took."""
    return f"{read(_NAME)['model']['seconds']:.0f} s"


@figure
def demo_size() -> str:
    """Of the model."""
    return f"{read(_NAME)['model']['mega_bytes']:.0f} MB"


def _db(value: float) -> str:
    return f"{value:.1f} dB".replace("-", "−")
