"""Users that move over a burst of 20 slots: one model over frequency and time, and what it keeps.

Run as ``python -m benchmarks.walking``; results go to ``benchmarks/results/walking``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo import metrics
from neumatc_mimo.bench.sheet import Row, Sheet, origin, origin_line
from neumatc_mimo.model import OperationModel
from neumatc_mimo.operations import PseudoInverse
from neumatc_mimo.scenario.scenario import Scenario
from neumatc_mimo.scenario.schema import MotionConfig
from neumatc_mimo.solvers import Channels, Counts

RESULTS = Path(__file__).parent / "results" / "walking"
SCENARIOS = ("munich", "newyork", "losangeles")
SPEEDS_KMH = (3.0, 30.0)
_NO = torch.tensor(1e-2, dtype=torch.float64)


@torch.no_grad()
def run(
    names: Sequence[str], speeds: Sequence[float], num_links: int, num_moments: int, every: int
) -> Sheet:
    """Train and judge every scenario at every speed, on one in so many subcarriers."""
    sheet = Sheet(
        "walking",
        "Walking users: zero forcing (8 × 64) and SVD (4 × 64, two streams) over a burst of 10 ms",
        f"{num_links} links a row, {3276 // every} subcarriers at {num_moments} random moments of "
        "the burst, none of them a node. A user has one heading; waves are plane over the way that "
        "it goes. Nodes: of the time, as many as training found to be enough; its search counts as "
        "training. Corrected: subcarriers and moments that take one to four steps with the "
        "channel; exact: those that no steps prove. Figure: the smallest SIR of a stream, 1st "
        "percentile and least; or the rate over the exact one, of all and of the worst link and "
        "moment. Training on the machine below, other programs beside it.",
    )
    started = time.perf_counter()
    for name in names:
        for speed in speeds:
            config = nm.load_scenario(name).config
            few = {"num_links": num_links}
            changed = config.model_copy(
                update={
                    # Slots are as much shorter as subcarriers are further apart.
                    "motion": MotionConfig(speed=speed / 3.6, num_slots=20 * every),
                    "grid": config.grid.model_copy(
                        update={
                            "fft_size": config.grid.fft_size // every,
                            "subcarrier_spacing": config.grid.subcarrier_spacing * every,
                        }
                    ),
                    "multi_user": config.multi_user and config.multi_user.model_copy(update=few),
                    "single_user": config.single_user and config.single_user.model_copy(update=few),
                }
            )
            changed._file = config.file
            model = nm.train(Scenario(changed), progress=False)
            for operation, part in model.models.items():
                row = {"scenario": name, "km/h": speed, "operation": operation}
                sheet.rows.append(row | _judged(model, part, num_moments))
                print(sheet.rows[-1], flush=True)
    sheet.seconds = time.perf_counter() - started
    return sheet


def _judged(model: nm.ScenarioModel, part: OperationModel, num_moments: int) -> Row:
    links, frequencies = part.links, part.links.grid_frequencies()
    generator = torch.Generator().manual_seed(0)
    moments = links.duration * torch.rand(num_moments, generator=generator, dtype=torch.float64)
    judge: Callable[[OperationModel, Tensor, tuple[Tensor, ...]], Tensor]
    judge = _sir if isinstance(part.operation, PseudoInverse) else _rate
    figures, counts = [], Counts()
    for moment in moments.tolist():
        for link in range(links.num_links):
            h = links.channel(frequencies, [link], dtype=torch.complex128, time=moment)
            links_of = torch.tensor([link])
            given = Channels(h.to(torch.complex64), frequencies, links=links_of, time=moment)
            answers = model.start(part.operation, given)
            found = part.operation.results(answers.tile(slice(0, len(frequencies))))
            counts.add(answers.counts)
            figures.append(judge(part, h, found))
    figure = torch.cat(figures)
    if judge is _sir:
        low = figure.kthvalue(max(len(figure) // 100, 1)).values
        text = f"{float(low):.1f}, {float(figure.amin()):.1f} dB"
    else:
        text = f"{100 * float(figure.mean()):.3f}, {100 * float(figure.amin()):.3f} %"
    total = num_moments * links.num_links * links.fft_size
    return {
        "nodes": len(part.mapping.axis.nodes),
        "figure": text,
        "exact, %": 100 * (counts.exact + counts.patched) / total,
        "corrected, %": 100 * counts.corrected / total,
        "MB a link": part.num_bytes / links.num_links / 1e6,
        "training, s a link": part.training["seconds_per_link"],
    }


def _sir(part: OperationModel, h: Tensor, found: tuple[Tensor, ...]) -> Tensor:
    """Smallest SIR of a stream, [num_frequencies]."""
    del part
    return metrics.sir_db(h, found[0].to(h)).amin(-1).flatten()


def _rate(part: OperationModel, h: Tensor, found: tuple[Tensor, ...]) -> Tensor:
    """Rate over the exact one, [1]."""
    exact = part.operation.exact(h)[2]
    rates = [metrics.achievable_rate(h, v.to(h), _NO).mean() for v in (found[2], exact)]
    return (rates[0] / rates[1])[None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS))
    parser.add_argument("--speeds", nargs="+", type=float, default=list(SPEEDS_KMH), help="km/h")
    parser.add_argument("--links", type=int, default=2, help="links of each kind")
    parser.add_argument("--moments", type=int, default=8)
    parser.add_argument("--every", type=int, default=1, help="of the subcarriers, one in so many")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    source = origin("benchmarks/walking.py")
    sheet = run(
        arguments.scenarios,
        arguments.speeds,
        arguments.links,
        arguments.moments,
        arguments.every,
    )
    arguments.output.mkdir(parents=True, exist_ok=True)
    sheet.write(arguments.output, source)
    print(origin_line(source))


if __name__ == "__main__":
    main()
