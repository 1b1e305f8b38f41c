"""What ``make demo`` finds, as a result to commit: ``python -m benchmarks.demo``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.pages.markers import renew
from benchmarks.paper.sheet import ROOT
from neumatc_mimo.bench.sheet import origin
from neumatc_mimo.cli.demo import demo
from neumatc_mimo.reporting.report import read_summary
from neumatc_mimo.storage.files import write_text

RESULT = ROOT / "benchmarks/results/demo/demo.json"


def main() -> None:
    """Train, simulate and time anew, and keep the summary of the report."""
    argparse.ArgumentParser(prog="python -m benchmarks.demo", description=__doc__).parse_args()
    source = origin("benchmarks")
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        demo(model=f"{folder}/model", folder=report)
        # Times of blocks have a benchmark of their own, which has more of them.
        summary = read_summary(report) | {"origin": source}
    del summary["block_times"], summary["model"]["folder"]
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    write_text(RESULT, json.dumps(summary, indent=1) + "\n")
    renew()


if __name__ == "__main__":
    main()
