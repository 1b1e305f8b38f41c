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
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import neumatc_mimo as nm
from benchmarks.paper.sheet import ROOT
from neumatc_mimo.bench.sheet import origin, origin_line, table
from neumatc_mimo.operations import Filter
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.solvers import Channels, Counts
from neumatc_mimo.solvers.base import tiles

SCENARIOS = ("munich", "newyork", "losangeles")
NOISE_DB = (-40.0, -30.0, -20.0, -10.0, 0.0)
FOLDER = ROOT / "benchmarks/results/promise"


@dataclass
class Found:
    """The filters of all links at one noise power.

    :param least: lowest SIR in dB
    :param below: number of subcarriers below what was promised
    :param counts: how the filters came about
    """

    least: float
    below: int
    counts: Counts


def augmented_sir_db(a: Tensor, answer: Filter, no: float) -> Tensor:
    r"""SIR in dB of the weakest stream of filters, in double precision, [num_items, F].

    With :math:`G = A W + \sigma^2 X`, the identity for the exact filter, and columns
    :math:`\tilde w_j = (w_j, \sigma x_j)` it is
    :math:`|G_{kk}|^2 \|\tilde w_k\|^{-2} / \sum_{j \ne k} |G_{kj}|^2 \|\tilde w_j\|^{-2}`; without
    noise that of a zero-forcing precoder.

    :param a: [num_items, F, K, M] channels that the filters are for
    """
    w, x = answer.dense.to(torch.complex128), answer.x.to(torch.complex128)
    if answer.column is not None:
        # X of the rows as given: their common gain c turns it into X / |c|².
        x = x * answer.column.abs().square()[..., None].to(x.dtype)
        turn = answer.column / answer.column.abs()
        x = x * turn.conj()[..., :, None] * turn[..., None, :]
    gain = a.to(torch.complex128) @ w + no * x if no else a.to(torch.complex128) @ w
    power = w.abs().square().sum(-2) + no * x.abs().square().sum(-2)
    leak = gain.abs().square() / power[..., None, :]
    signal = leak.diagonal(dim1=-2, dim2=-1)
    return 10 * torch.log10(signal / (leak.sum(-1) - signal)).amin(-1)


def measured(
    solver: nm.Solver, links: LinkSet, no: float, certify: str, tolerance: nm.Tolerance | None
) -> Found:
    """The filters of all links and subcarriers, link by link."""
    frequencies, found = links.grid_frequencies(), Found(torch.inf, 0, Counts())
    promised = 40.0 if tolerance is None else tolerance.quality_db
    power = torch.tensor([no]) if no else None
    for link in range(links.num_links):
        a = links.channel(frequencies, [link])
        answers = solver.start(
            nm.PseudoInverse(), Channels(a, frequencies, power), certify, tolerance
        )
        for tile in tiles(a, answers.entries(a)):
            sir = augmented_sir_db(a[:, tile], answers.tile(tile), no)
            found.least = min(found.least, sir.min().item())
            found.below += int((sir < promised).sum())
        answers.finish()
        found.counts.add(answers.counts)
    return found


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
            found = measured(solver, links, no, certify, tolerance)
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
