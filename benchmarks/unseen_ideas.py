"""Ways to guess results of an unseen link from few exact ones, some learned from the city's others.

Run as ``python -m benchmarks.unseen_ideas``; results go to ``benchmarks/results/unseen``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.unseen import RESULTS, SCENARIOS, Subject, _links, subjects
from neumatc_mimo.bench.sheet import Row, Sheet, origin, origin_line
from neumatc_mimo.mapping.basis import SplineBasis
from neumatc_mimo.mapping.layout import Layout
from neumatc_mimo.operations import Components, Operation
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.solvers.adapted import Adapted
from neumatc_mimo.solvers.adapted_plan import AdaptedPlan
from neumatc_mimo.solvers.filled import corrected, filled, interpolated
from neumatc_mimo.tensors import lu

# Subcarriers between two exact results: about as many as the bar of 7 % allows, and half of them.
SPACINGS = (14, 28)
_CITY, _UNSEEN = 6, 2
# Exact results that a prior predicts from, and its ridge, relative to the power.
_NEAREST, _RIDGE = 16, 1e-4
# Share of the samples that are functions of the city's trunk: with more, noise of the fit grows.
_FUNCTIONS = 0.8


@dataclass(frozen=True)
class Given:
    """An unseen link, and links of its base station that are known everywhere.

    :param a: [N, m, n], complex128, delays of the first arrivals taken out
    :param exact: [N, ...] each
    :param covariance: of the city's results over distances of 0 to N - 1 subcarriers, complex
    :param basis: [N, rank] strongest functions of the city's results, in units of their powers
    """

    operation: Operation
    a: Tensor
    exact: Components
    covariance: Tensor
    basis: Tensor


# Rows [num_samples, size] of real numbers at samples, to those at other subcarriers.
Way = Callable[[Given, Tensor, Tensor, Tensor], Tensor]


def spline(given: Given, samples: Tensor, rows: Tensor, at: Tensor) -> Tensor:
    """The trunk of splines without any prior: what nm.Adapted begins with."""
    del given
    known = torch.ones(1, len(samples) + len(at), dtype=torch.bool)
    places, order = torch.cat([samples, at]).sort()
    known[0] = order < len(samples)
    values = rows.new_zeros(1, len(places), rows.shape[1])
    values[0, known[0]] = rows
    where = (~known).nonzero(as_tuple=True)
    return interpolated((values,), known, places.double(), where)[0]


def prior(given: Given, samples: Tensor, rows: Tensor, at: Tensor) -> Tensor:
    """Wiener interpolation with the covariance along frequency of the city's results."""

    def covariance(distance: Tensor) -> Tensor:
        value = given.covariance[distance.abs()]
        return torch.where(distance < 0, value.conj(), value)

    first = (torch.searchsorted(samples, at) - _NEAREST // 2).clamp(0, len(samples) - _NEAREST)
    chosen = first[:, None] + torch.arange(_NEAREST)
    nodes = samples[chosen]
    inner = covariance(nodes[:, :, None] - nodes[:, None, :])
    inner = inner + _RIDGE * given.covariance[0].real * torch.eye(_NEAREST)
    weights = lu.solution(inner.mT, covariance(at[:, None] - nodes)[..., None])[..., 0]
    found = torch.einsum("an,ans->as", weights, _complex(rows)[chosen])
    return torch.view_as_real(found).flatten(1)


def trunk(given: Given, samples: Tensor, rows: Tensor, at: Tensor) -> Tensor:
    """Latent tensors by least squares for the strongest functions of the city's results."""
    rank = int(_FUNCTIONS * len(samples))
    basis = given.basis[:, :rank]
    design = basis[samples]
    normal = design.mT @ design
    level = 1e-6 * normal.diagonal().mean() * torch.eye(rank, dtype=normal.dtype)
    return basis[at] @ torch.cholesky_solve(design.mT @ rows, torch.linalg.cholesky(normal + level))


WAYS: dict[str, Way] = {
    "splines, nothing learned": spline,
    "covariance of the city": prior,
    "low-rank trunk of the city": trunk,
}


@torch.no_grad()
def run(names: list[str]) -> Sheet:
    """All ways at the first base station of the scenarios."""
    sheet = Sheet(
        "ideas",
        "Unseen links: guesses from few exact results",
        f"{_UNSEEN} links that no training has seen, {_CITY} others of the same base station that "
        "are known everywhere, first arrivals taken out, double precision. Exact results at every "
        "so manieth subcarrier, guesses half-way between: error, median, and the share that four "
        "correction steps bring below the threshold of nm.Adapted. By density: as many exact "
        "results, placed evenly in the integral of how fast the Gram matrix changes for its "
        "smallest eigenvalue. Exact in all: what is computed exactly when points half-way that "
        "stay above it are, too; in rounds: until every point of nm.Adapted's grid is known, with "
        "guesses from what has become known meanwhile.",
    )
    started = time.perf_counter()
    for name in names:
        for subject in (subjects(_UNSEEN)[1], subjects(_UNSEEN)[3]):
            found = _rows(name, subject)
            sheet.rows += found
            print(Sheet("", subject.title, name, found).markdown(), flush=True)
    sheet.seconds = time.perf_counter() - started
    return sheet


def _rows(name: str, subject: Subject) -> list[Row]:
    links = _links(name, 0, subject)
    known = _links(name, 0, subjects(_CITY + _UNSEEN)[1 if subject.unit == "dB SIR" else 3])
    # Drawn from the same seed: the first are the unseen ones.
    city = torch.stack([_packed(subject, known, _UNSEEN + i)[2] for i in range(_CITY)])
    learned = _covariance(city), _functions(city)
    unseen = []
    for link in range(_UNSEEN):
        a, exact, _ = _packed(subject, links, link)
        unseen.append(Given(subject.operation, a, exact, *learned))
    rows: list[Row] = []
    start = {"scenario": name, "operation": subject.title}
    for spacing in SPACINGS:
        ways: dict[str, tuple[Way, bool]] = {way: (f, False) for way, f in WAYS.items()}
        ways["splines, by density"] = (spline, True)
        for way, (guess, dense) in ways.items():
            measured = torch.tensor([_guessed(given, guess, spacing, dense) for given in unseen])
            first, error, saved, whole = measured.mean(0).tolist()
            rows.append(
                start
                | {
                    "exact at first, %": first,
                    "guess": way,
                    "error, dB": error,
                    "saved by steps, %": saved,
                    "exact in all, %": whole,
                }
            )
        every = round(2 * spacing / Adapted().spacing)
        share = sum(_in_rounds(given, every) for given in unseen) / len(unseen)
        rows.append(
            start
            | {
                "exact at first, %": 100 / spacing,
                "guess": "splines, in rounds",
                "error, dB": None,
                "saved by steps, %": None,
                "exact in all, %": share,
            }
        )
    return rows


def _packed(subject: Subject, links: LinkSet, link: int) -> tuple[Tensor, Components, Tensor]:
    """Matrices, results and the first of them in rows of real numbers, of one link."""
    a = links.channel(links.grid_frequencies(), [link], dtype=torch.complex128, aligned=True)
    exact = subject.operation.align(subject.operation.exact(a))
    rows = _layout(exact[0]).pack(exact[0])[0]
    return a[0], tuple(c[0] for c in exact), rows


def _covariance(city: Tensor) -> Tensor:
    """Of rows [num_links, N, size], normalised at every subcarrier, at N distances."""
    values, num = _complex(city), city.shape[1]
    values = values / values.abs().square().sum(2, keepdim=True).sqrt()
    spectrum = torch.fft.fft(values, 2 * num, dim=1).abs().square().sum((0, 2))
    return torch.fft.ifft(spectrum)[:num] / (num - torch.arange(num))


def _functions(city: Tensor) -> Tensor:
    """What rows [num_links, N, size] have in common: [N, rank], weighted by their powers."""
    city = city / city.square().mean((1, 2), keepdim=True).sqrt()
    rank = int(_FUNCTIONS * city.shape[1] / min(SPACINGS)) + 1
    torch.manual_seed(0)
    # What the city hardly ever does is penalised in units of the powers.
    functions, powers, _ = torch.svd_lowrank(city.permute(1, 0, 2).flatten(1), rank + 32, niter=3)
    return (functions * powers)[:, :rank]


def _complex(rows: Tensor) -> Tensor:
    """Pairs of real numbers as complex ones."""
    return torch.view_as_complex(rows.unflatten(-1, (-1, 2)).contiguous())


def _layout(component: Tensor) -> Layout:
    return Layout.of(tuple(component.shape[2:]), component, False)


def _guessed(
    given: Given, guess: Way, spacing: int, dense: bool
) -> tuple[float, float, float, float]:
    """Share of samples, error in dB, share of guesses that steps save, share of exact results."""
    num = len(given.a)
    samples = _places(given, round(num / spacing) + 1, dense)
    between = (samples[1:] + samples[:-1]) // 2
    between = between[between > samples[:-1]]
    layout = _layout(given.exact[0][None])
    rows = guess(given, samples, layout.pack(given.exact[0][samples]), between)
    first = layout.unpack(rows)
    exact = given.exact[0][between]
    error = (first - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)
    a = given.a[between]
    # The other components follow from the first: X of a pseudo-inverse is W^H W.
    parts = (first, first.mH @ first)[: len(given.exact)]
    solver = Adapted()
    _, good = corrected(given.operation, a, parts, 0.0, solver.steps, solver.threshold)
    saved = float(good.double().mean())
    whole = (len(samples) + (1 - saved) * len(between)) / num
    middle = float(20 * error.log10().median())
    return 100 * len(samples) / num, middle, 100 * saved, 100 * whole


def _places(given: Given, count: int, dense: bool) -> Tensor:
    """Subcarriers of the samples, evenly spread over the band or over the change of the Gram."""
    num = len(given.a)
    if not dense:
        return torch.linspace(0, num - 1, count, dtype=torch.float64).round().long()
    gram = given.a @ given.a.mH
    weakest = torch.linalg.eigvalsh(gram)[:, 0]
    change = torch.linalg.matrix_norm(gram.diff(dim=0)) / (weakest[1:] * weakest[:-1]).sqrt()
    # Half of them evenly: a gap of any length would be beyond correction.
    density = change / change.mean() + 1
    way = torch.cat([density.new_zeros(1), density.cumsum(0)])
    wanted = torch.linspace(0, float(way[-1]), count, dtype=way.dtype)
    return torch.searchsorted(way, wanted).clamp(0, num - 1).unique()


def _in_rounds(given: Given, every: int) -> float:
    """Share of exact results, in percent, when points of nm.Adapted's grid are filled in."""
    solver, num = Adapted(), len(given.a)
    basis = SplineBasis.on_grid(num, num // solver.spacing)
    grid = torch.arange(num, dtype=torch.float64)
    plan = AdaptedPlan.of(basis, grid, every, torch.float64)
    found = filled(
        given.operation,
        given.a[None, plan.points],
        0.0,
        plan.points.double(),
        plan.first,
        steps=solver.steps,
        threshold=solver.threshold,
        most_failed=1.0,
    )
    return 100 * float(found.exact.sum()) / num


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS))
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    source = origin("benchmarks/unseen_ideas.py")
    sheet = run(arguments.scenarios)
    arguments.output.mkdir(parents=True, exist_ok=True)
    sheet.write(arguments.output, source)
    print(origin_line(source))


if __name__ == "__main__":
    main()
