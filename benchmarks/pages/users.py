"""New and moving users, from ``benchmarks.unseen`` and ``benchmarks.walking``."""

from __future__ import annotations

from benchmarks.pages.registry import figure
from benchmarks.pages.results import row, rows
from neumatc_mimo.bench.sheet import Row, number, table

_NAMES = {"pseudo_inverse": "zero forcing, 8 × 64", "svd": "SVD, 4 × 64, two streams"}
_UNSEEN = "unseen/unseen"
_CITIES = {"munich": "Munich", "newyork": "New York", "losangeles": "Los Angeles"}


@figure
def adapted() -> str:
    """What all answers of a link cost, adapted and exact."""
    return "\n".join(
        table([{k: v for k, v in row.items() if "over" not in k} for row in rows("unseen/times")])
    )


@figure
def unseen(scenario: str, station: str) -> str:
    """All methods and operations at one base station."""
    wanted = {"scenario": f"{scenario}, {station}"}
    return "\n".join(table([_unseen(row, row["operation"]) for row in rows(_UNSEEN, **wanted)]))


@figure
def unseen_everywhere() -> str:
    """Ours and splines where results are hardest, at all base stations."""
    chosen = [
        row
        for row in rows(_UNSEEN)
        if "8 × 64" in row["operation"] and row["method"] in ("NeuMatC, adapted", "cubic spline")
    ]
    return "\n".join(table([_unseen(r, f"{r['scenario']}: {r['operation']}") for r in chosen]))


def _unseen(row: Row, title: str) -> Row:
    return {
        "": title,
        "method": row["method"],
        "exact, mean and most of a link": (
            f"{row['exact, %']:.1f}, {row['most of a link, %']:.1f} %"
        ),
        "corrected": f"{row['corrected, %']:.0f} %",
        "steps": f"{row['steps, %']:.0f} %",
        "error alone": f"{row['error alone, dB']:.1f} dB",
        "5th-percentile SIR, or least rate": row["figure"],
        "state, kB": f"{row['state, kB']:.0f}",
    }


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
