"""New and moving users, from ``benchmarks.unseen`` and ``benchmarks.walking``."""

from __future__ import annotations

from benchmarks.pages.registry import figure
from benchmarks.pages.results import row, rows
from neumatc_mimo.bench.sheet import number, table

_NAMES = {"pseudo_inverse": "zero forcing, 8 × 64", "svd": "SVD, 4 × 64, two streams"}
_CITIES = {"munich": "Munich", "newyork": "New York", "losangeles": "Los Angeles"}


@figure
def adapted() -> str:
    """What all answers of a link cost, adapted and exact."""
    return "\n".join(
        table([{k: v for k, v in row.items() if "over" not in k} for row in rows("unseen/times")])
    )


@figure
def walking(name: str = "walking") -> str:
    """Models of bursts: fidelity, corrections, size and training."""
    return "\n".join(
        table(
            [
                {
                    "": _CITIES[row["scenario"]],
                    "km/h": f"{row['km/h']:.0f}",
                    "operation": _NAMES[row["operation"]],
                    "nodes": row["nodes"],
                    "1st percentile and least SIR; mean and least rate": row["figure"],
                    "corrected": f"{row['corrected, %']:.1f} %",
                    "exact": f"{row['exact, %']:.1f} %",
                    "MB a link": f"{row['MB a link']:.0f}",
                    "training, s a link": number(row["training, s a link"]),
                }
                for row in rows(f"walking/{name}")
            ]
        )
    )


@figure
def walking_corrected(scenario: str, speed: str) -> str:
    """Share of the subcarriers whose zero forcing takes correction steps."""
    wanted = {"scenario": scenario, "km/h": float(speed), "operation": "pseudo_inverse"}
    return f"{row('walking/walking', **wanted)['corrected, %']:.0f} %"
