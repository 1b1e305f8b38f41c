"""Exact against queried results on every scenario: coded block error rates, paired, and figures.

What ``neumatc-mimo evaluate --blocks 10000`` prints, with each comparison kept as it is finished: a
run that was interrupted resumes. The results are a model card and a JSON file for each scenario in
``benchmarks/results/evaluate``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import neumatc_mimo as nm
from neumatc_mimo.bench.evaluation import MODULATIONS, error_rates
from neumatc_mimo.bench.fidelity import fidelity
from neumatc_mimo.bench.model_card import model_card
from neumatc_mimo.bench.sheet import origin, origin_line
from neumatc_mimo.reporting.report import finite
from neumatc_mimo.simulation import PIPELINES
from neumatc_mimo.storage.files import write_text

FOLDER = Path(__file__).parent / "results/evaluate"


def main() -> None:
    """Evaluate one scenario."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.error_rates", description=__doc__)
    parser.add_argument("scenario", help="bundled name, or path of a scenario TOML")
    parser.add_argument("--model", type=Path, help="model folder; models/SCENARIO by default")
    parser.add_argument("--blocks", type=int, default=10**4, help="of each modulation")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of the results")
    arguments = parser.parse_args()
    scenario = nm.load_scenario(arguments.scenario)
    model = nm.ScenarioModel.load(arguments.model or Path("models") / scenario.name)
    model.check(scenario.fingerprint)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    run(scenario, model, arguments.folder, arguments.blocks)


def run(scenario: nm.Scenario, model: nm.ScenarioModel, folder: Path, num_blocks: int) -> None:
    """Compute what the folder does not hold yet, and write it after each comparison."""
    file = folder / f"{scenario.name}.json"
    results = _kept(file, scenario, num_blocks)
    done = {(row["task"], row["bits_per_symbol"]) for row in results["error_rates"]}
    for bits in MODULATIONS:
        for task in PIPELINES:
            if (task, bits) in done:
                continue
            rows = error_rates(model, scenario, num_blocks=num_blocks, bits=(bits,), tasks=(task,))
            results["error_rates"] += rows
            _write(file, scenario, model, results)
            for row in rows:
                print(
                    f"{scenario.name}, {row['transmission']}, {row['modulation']}: exact "
                    f"{row['exact_bler']:.4f}, queried {row['queried_bler']:.4f}, lost by one "
                    f"alone {row['only_exact_lost']} and {row['only_queried_lost']}, "
                    f"p {row['p_value']:.3f}",
                    file=sys.stderr,
                    flush=True,
                )
    if "figures" not in results:
        results["figures"] = fidelity(model, scenario, num_frequencies=512, num_receivers=8)
        _write(file, scenario, model, results)


def _kept(file: Path, scenario: nm.Scenario, num_blocks: int) -> dict[str, Any]:
    """Results of an earlier run on the same data, or none."""
    start = {"fingerprint": scenario.fingerprint, "num_blocks": num_blocks, "error_rates": []}
    if not file.exists():
        return start
    kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    same = all(kept.get(key) == start[key] for key in ("fingerprint", "num_blocks"))
    return kept if same else start


def _write(
    file: Path, scenario: nm.Scenario, model: nm.ScenarioModel, results: dict[str, Any]
) -> None:
    order = list(PIPELINES)
    results["error_rates"].sort(key=lambda row: (order.index(row["task"]), row["bits_per_symbol"]))
    results["origin"] = origin("benchmarks/error_rates.py")
    whole = results.get("figures", {}) | {"error_rates": results["error_rates"]}
    text = model_card(scenario, model, whole) + f"\n{origin_line(results['origin'])}\n"
    write_text(file, json.dumps(finite(results), indent=1, allow_nan=False) + "\n")
    write_text(file.with_suffix(".md"), text)


if __name__ == "__main__":
    main()
