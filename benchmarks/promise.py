"""The promise of recognised links: the least SIR of all filters that blocks serve.

Run as ``python -m benchmarks.promise``: every trained link and subcarrier of Munich, New York and
Los Angeles, zero forcing and MMSE filters at five noise powers, as they were certified in training
(``certify="link"``) and as each call proves them (``certify="call"``), beside exact ones. With
``--tolerance 60`` blocks ask for more than the training did.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import neumatc_mimo as nm
from benchmarks.paper.sheet import ROOT
from neumatc_mimo.bench.promise import served
from neumatc_mimo.bench.sheet import origin, origin_line, table
from neumatc_mimo.scenario.links import LinkSet

SCENARIOS = ("munich", "newyork", "losangeles")
NOISE_DB = (-40.0, -30.0, -20.0, -10.0, 0.0)
FOLDER = ROOT / "benchmarks/results/promise"


def rows(
    name: str, model: nm.ScenarioModel, links: LinkSet, tolerance: nm.Tolerance | None
) -> Iterator[dict[str, str]]:
    """A row of the table for each way and noise power."""
    ways: dict[str, tuple[nm.Solver, str]] = {
        "certified in training": (model, "link"),
        "proven at each call": (model, "call"),
        "exact": (nm.Exact(), "link"),
    }
    for decibels in (None, *NOISE_DB):
        no = 0.0 if decibels is None else 10 ** (decibels / 10)
        for way, (solver, certify) in ways.items():
            found = served(solver, links, no, certify, tolerance)
            counts = found.counts
            yield {
                "scenario": name,
                "filter": "zero forcing" if decibels is None else f"MMSE, {decibels:g} dB",
                "way": way,
                "least SIR, dB": f"{found.least:.1f}",
                "below": str(found.below),
                "queried": f"{counts.queried:,}",
                "corrected": f"{counts.corrected:,}",
                "patched": f"{counts.patched:,}",
                "exact": f"{counts.exact:,}",
            }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.promise", description=__doc__)
    parser.add_argument("--scenarios", nargs="+", default=SCENARIOS, help="bundled names")
    parser.add_argument("--models", type=Path, default=ROOT / "models", help="folder of models")
    parser.add_argument("--tolerance", type=float, help="dB that blocks ask for")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the results")
    arguments = parser.parse_args()
    tolerance = None
    if arguments.tolerance is not None:
        tolerance = nm.Tolerance(arguments.tolerance, 10 ** (-arguments.tolerance / 20))
    source, told = origin("benchmarks/promise.py"), []
    for name in arguments.scenarios:
        if name != "munich" and "NEUMATC_DATA" not in os.environ:
            print(f"{name} is left out: NEUMATC_DATA is not set.", file=sys.stderr)
            continue
        scenario = nm.load_scenario(name)
        model = _model(scenario, arguments.models / name)
        assert scenario.multi_user is not None
        for row in rows(name, model, scenario.multi_user, tolerance):
            print(" | ".join(row.values()), flush=True)
            told.append(row)
    arguments.output.mkdir(parents=True, exist_ok=True)
    suffix = "" if tolerance is None else f"_{tolerance.quality_db:g}_db"
    text = "\n".join([*table(told), "", origin_line(source), ""])
    (arguments.output / f"promise{suffix}.md").write_text(text, encoding="utf-8")
    print(f"\n{text}")


def _model(scenario: nm.Scenario, folder: Path) -> nm.ScenarioModel:
    """The scenario's model of several users, trained where it is missing or of other links."""
    try:
        model = nm.ScenarioModel.load(folder)
        model.check(scenario.fingerprint)
    except (FileNotFoundError, ValueError):
        model = nm.train(scenario)
        model.save(folder)
    return model


if __name__ == "__main__":
    main()
