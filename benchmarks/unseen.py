"""Links that no training has seen, with a budget of exact results: ours beside interpolation.

Run as ``python -m benchmarks.unseen``; results go to ``benchmarks/results/unseen``. With
``--times`` it tells instead for which operations adapting takes less time than exact results.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo import metrics
from neumatc_mimo.bench.sheet import Row, Sheet, origin, origin_line
from neumatc_mimo.mapping.basis import SplineBasis
from neumatc_mimo.mapping.layout import Layout
from neumatc_mimo.operations import SVD, WMMSE, Components, Operation, PseudoInverse
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.scenario.scenario import Scenario
from neumatc_mimo.scenario.schema import MultiUserConfig, SingleUserConfig
from neumatc_mimo.solvers import DFT, Adapted, Channels, Counts, Exact, Linear, Solver, Spline
from neumatc_mimo.solvers.base import tiles

RESULTS = Path(__file__).parent / "results" / "unseen"
SCENARIOS = ("munich", "newyork", "losangeles")
# Trained links come from the seeds of the scenario files, which are zero.
_SEED = 1000
_NO = 1e-2
_REPEATS = 7


@dataclass(frozen=True)
class Subject:
    """An operation on links of a scenario.

    :param title: of its rows
    :param operation: the operation
    :param sections: replace those of the scenario file
    :param matrix: name of the answer's matrix
    :param figure: of channel [F, K, M] and matrix [F, M, L], [F]
    :param unit: of the figure, which is a rate, taken as a share of the exact one's, or an SIR
    """

    title: str
    operation: Operation
    sections: dict[str, Any]
    matrix: str
    figure: Callable[[Tensor, Tensor], Tensor]
    unit: str


def subjects(num_links: int) -> list[Subject]:
    """What is measured, on so many links each."""

    def users(number: int) -> dict[str, Any]:
        section = MultiUserConfig(users_per_link=number, num_links=num_links)
        return {"multi_user": section, "single_user": None}

    one = {"multi_user": None, "single_user": SingleUserConfig(num_links=num_links)}
    no = torch.tensor(_NO, dtype=torch.float64)

    def sir(h: Tensor, w: Tensor) -> Tensor:
        return metrics.sir_db(h, w).amin(-1)

    def rate(h: Tensor, v: Tensor) -> Tensor:
        return metrics.achievable_rate(h, v, no)

    def sum_rate(h: Tensor, v: Tensor) -> Tensor:
        return metrics.sum_rate(h, v, no)

    inverse = PseudoInverse()
    return [
        Subject("zero forcing, 4 × 64", inverse, users(4), "dense", sir, "dB SIR"),
        Subject("zero forcing, 8 × 64", inverse, users(8), "dense", sir, "dB SIR"),
        Subject("SVD, 4 × 64, two streams", SVD(2), one, "v", rate, "% rate"),
        Subject("WMMSE, 8 × 64, 20 dB", WMMSE(_NO), users(8), "v", sum_rate, "% rate"),
    ]


@torch.no_grad()
def run(names: list[str], num_links: int) -> Sheet:
    """All subjects at every base station of the scenarios."""
    sheet = Sheet(
        "unseen",
        "Unseen links: the same number of exact results given to ours and to interpolation",
        f"{num_links} links a base station that no training has seen. Ours takes the exact "
        "samples that it asks for, the others are given as many. All are certified and corrected "
        "alike, with at most four steps; what fails is computed exactly and counts as such. "
        "Ours is given the channels as a block gets them, in single precision and with the users' "
        "delays, the others in double precision, first arrivals taken out. "
        "Error alone: of the filter before certificates, relative, median over subcarriers and "
        "links. Figure: the smallest SIR of a stream, 5th percentile over subcarriers and links; "
        "or the rate of a link over its exact one, the least. Steps: all correction steps, in "
        "percent of the subcarriers, those at collocation points included. State: latent tensors "
        "or samples of a link.",
    )
    started = time.perf_counter()
    for name in names:
        for station in _stations(name):
            for subject in subjects(num_links):
                found = _rows(name, station, subject)
                sheet.rows += found
                print(Sheet("", subject.title, name, found).markdown(), flush=True)
    sheet.seconds = time.perf_counter() - started
    return sheet


@torch.no_grad()
def run_times(name: str) -> Sheet:
    """Times of all answers of a link at the first base station, adapted and exact by turns."""
    sheet = Sheet(
        "times",
        f"Unseen links: what adapting costs, {name}",
        "Milliseconds for all answers of one link, 3276 subcarriers, median and quartiles of "
        f"{_REPEATS} calls by turns, each of another link. Adapted: samples, fit, query, proof of "
        "every subcarrier.",
    )
    started = time.perf_counter()
    known = subjects(_REPEATS + 1)
    larger = replace(known[1], title="SVD, 8 × 64, four streams", operation=SVD(4))
    for subject in [*known, larger]:
        links = _links(name, 0, subject)
        frequencies = links.grid_frequencies()
        seconds: dict[str, list[float]] = {"adapted": [], "exact": []}
        solvers = {"adapted": Adapted(), "exact": Exact()}
        for number in range(_REPEATS + 1):
            channels = Channels(links.channel(frequencies, [number]), frequencies)
            for way, solver in solvers.items():
                begin = time.perf_counter()
                answers = solver.start(subject.operation, channels)
                for tile in tiles(channels.a):
                    answers.tile(tile)
                seconds[way].append(time.perf_counter() - begin)
        row: Row = {"operation": subject.title}
        middle = {}
        for way, taken in seconds.items():
            low, middle[way], high = np.quantile(taken[1:], [0.25, 0.5, 0.75]) * 1e3
            row[f"{way}, ms"] = f"{middle[way]:.1f} [{low:.1f}, {high:.1f}]"
        sheet.rows.append(row | {"exact over adapted": middle["exact"] / middle["adapted"]})
    sheet.seconds = time.perf_counter() - started
    return sheet


def _stations(name: str) -> Iterator[int]:
    """Base stations of a scenario that have links of all kinds."""
    station = 0
    while True:
        try:
            for subject in subjects(1):
                _links(name, station, subject)
        except ValueError as error:
            if "has base stations" in str(error):
                return
            if "path from base station" not in str(error) and "relax it" not in str(error):
                raise
            print(f"{name}, base station {station}: {error}", flush=True)
        else:
            yield station
        station += 1


def _links(name: str, station: int, subject: Subject) -> LinkSet:
    config = nm.load_scenario(name, seed=_SEED).config
    assert config.deepmimo is not None
    data = config.deepmimo.model_copy(update={"base_station": (station,)})
    changed = config.model_copy(update={"deepmimo": data, **subject.sections})
    changed._file = config.file
    scenario = Scenario(changed)
    links = scenario.multi_user or scenario.single_user
    assert links is not None
    return links


def _rows(name: str, station: int, subject: Subject) -> list[Row]:
    links = _links(name, station, subject)
    adapted = Adapted()
    ours, num = _measured(subject, links, adapted, _exact(subject, links))
    # Promoted collocation points included.
    rivals: dict[str, Solver] = {
        "cubic spline": Spline(round(num)),
        "linear": Linear(round(num)),
        "DFT": DFT(round(num)),
    }
    width = SplineBasis.on_grid(links.fft_size, links.fft_size // adapted.spacing).width
    aligned = _exact(subject, links, ideal=True)
    packed, plain = _numbers(subject.operation, links)
    rows = [("NeuMatC, adapted", ours, width * packed)]
    for title, solver in rivals.items():
        found, num_samples = _measured(subject, links, solver, aligned, ideal=True)
        rows.append((title, found, round(num_samples) * plain))
    start = {"scenario": f"{name}, {station}", "operation": subject.title}
    return [
        start | {"method": title} | found | {"state, kB": 4 * size / 1e3}
        for title, found, size in rows
    ]


def _numbers(operation: Operation, links: LinkSet) -> tuple[int, int]:
    """Real numbers of all components of a matrix: as latent tensors hold them, and plainly."""
    a = links.channel(links.grid_frequencies()[:1], [0])
    components = operation.exact(a)
    sizes = [0, 0]
    for name, c in zip(operation.component_names, components, strict=True):
        shape = tuple(c.shape[2:])
        sizes[0] += Layout.of(shape, c, name in operation.hermitian).size
        sizes[1] += math.prod(shape) * (2 if c.is_complex() else 1)
    return sizes[0], sizes[1]


def _channel(links: LinkSet, link: int, ideal: bool) -> Tensor:
    """A link on the whole grid: as a block gets it, or aligned and in double precision."""
    dtype = torch.complex128 if ideal else torch.complex64
    return links.channel(links.grid_frequencies(), [link], dtype=dtype, aligned=ideal)


def _exact(subject: Subject, links: LinkSet, *, ideal: bool = False) -> list[Tensor]:
    """The exact matrices of every link, [N, M, L], computed in double precision."""
    found = []
    for link in range(links.num_links):
        h = _channel(links, link, ideal).to(torch.complex128)
        parts = [subject.operation.solve(h[:, tile]) for tile in tiles(h)]
        found.append(torch.cat([attrgetter(subject.matrix)(part)[0] for part in parts]))
    return found


def _measured(
    subject: Subject,
    links: LinkSet,
    solver: Solver,
    exact_ones: list[Tensor],
    *,
    ideal: bool = False,
) -> tuple[Row, float]:
    """Figures of a solver, and exact results of a link that it took before any certificate.

    :param exact_ones: of these channels, from :func:`_exact`
    :param ideal: aligned channels in double precision, not those that a block gets
    """
    errors, figures, counts, samples = [], [], [], 0
    steps: list[int] = []
    for link in range(links.num_links):
        h = _channel(links, link, ideal)
        channels = Channels(h, links.grid_frequencies())
        alone, before = _matrices(subject, solver, channels, None)
        with _counted(subject.operation, steps):
            proven, after = _matrices(subject, solver, channels, "link")
        wide, exact = h.to(torch.complex128), exact_ones[link]
        errors.append(metrics.relative_error(alone.to(exact), exact))
        figure = subject.figure(wide[0], proven.to(exact))
        if subject.unit == "% rate":
            figure = 100 * figure.mean()[None] / subject.figure(wide[0], exact).mean()
        figures.append(figure)
        counts.append(after)
        samples += before.exact
    error, figure = torch.cat(errors), torch.cat(figures)
    low = figure.quantile(0.05) if subject.unit == "dB SIR" else figure.amin()
    shares = [100 * c.exact / links.fft_size for c in counts]
    total = sum(c.corrected for c in counts)
    row: Row = {
        "exact, %": sum(shares) / len(shares),
        "most of a link, %": max(shares),
        "corrected, %": 100 * total / links.fft_size / links.num_links,
        "steps, %": 100 * sum(steps) / links.fft_size / links.num_links,
        "error alone, dB": float(20 * torch.log10(error.median())),
        "figure": f"{float(low):.2f} {subject.unit}",
    }
    return row, samples / links.num_links


@contextmanager
def _counted(operation: Operation, steps: list[int]) -> Iterator[None]:
    """Appends the number of matrices of every correction step that is taken meanwhile."""
    step = type(operation).correct

    def counting(self: Operation, a: Tensor, *arguments: Any) -> Components:
        steps.append(math.prod(a.shape[:-2]))
        return step(self, a, *arguments)

    with mock.patch.object(type(operation), "correct", counting):
        yield


def _matrices(
    subject: Subject, solver: Solver, channels: Channels, certify: str | None
) -> tuple[Tensor, Counts]:
    """The matrices of the answers for one item on the whole grid, and the counts."""
    answers = solver.start(subject.operation, channels, certify)
    matrix = attrgetter(subject.matrix)
    found = [matrix(answers.tile(tile))[0] for tile in tiles(channels.a)]
    return torch.cat(found), answers.counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS))
    parser.add_argument("--times", action="store_true", help="times, on the first scenario")
    parser.add_argument("--links", type=int, default=8, help="links a base station")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    source = origin("benchmarks/unseen.py")
    sheet = (
        run_times(arguments.scenarios[0])
        if arguments.times
        else run(arguments.scenarios, arguments.links)
    )
    arguments.output.mkdir(parents=True, exist_ok=True)
    sheet.write(arguments.output, source)
    print(sheet.markdown() if arguments.times else "", origin_line(source), sep="\n")


if __name__ == "__main__":
    main()
