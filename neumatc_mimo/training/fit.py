"""Training of one operation's compact mappings over a set of links."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from neumatc_mimo.certified import select
from neumatc_mimo.mapping import CompactMapping, Trunk, pack, unpack
from neumatc_mimo.noise import NoiseAxis
from neumatc_mimo.operations.base import Components, Operation
from neumatc_mimo.training.projection import project

Matrices = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Problem:
    """What is learned.

    :param operation: the operation
    :param matrices: A(links [l] int64, frequencies [F] Hz) → [l, F, m, n] complex128
    :param num_links: number of links
    :param frequencies: the grid in Hz, [num_frequencies], float64, ascending
    :param noise: the noise axis; one node where the operation has no noise power
    """

    operation: Operation
    matrices: Matrices
    num_links: int
    frequencies: Tensor
    noise: NoiseAxis


@dataclass(frozen=True)
class FitConfig:
    """How it is learned.

    :param rank: r of the trunk
    :param width: sine units
    :param samples: exact samples per link and noise node, promoted points included
    :param collocation: points per link and noise node where only the residual is known
    :param rounds: rounds of adaptive sampling
    :param promoted: exact samples of the budget kept back for points that keep failing, per round
    :param threshold: residual above which a collocation point has failed
    :param unit_spacing: delay spacing of the sine units in 1/band
    :param decay: delay in 1/band over which the prior amplitude of the units falls by e; few
        samples leave the far delays open, the prior closes them
    :param ridge: relative ridge of the projection
    """

    rank: int = 256
    width: int = 640
    samples: int = 256
    collocation: int = 819
    rounds: int = 3
    promoted: int = 16
    threshold: float = 3e-3
    refinements: int = 3
    unit_spacing: float = 0.9
    decay: float = 45.0
    ridge: float = 1e-10


@dataclass
class FitReport:
    """What training did, as plain values: one entry a round in ``history``."""

    seconds: float = 0.0
    exact_samples_per_link: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the JSON card."""
        return asdict(self)


OnRound = Callable[[dict[str, float]], None]


def fit(
    problem: Problem, config: FitConfig, links: Tensor, on_round: OnRound | None = None
) -> tuple[CompactMapping, FitReport]:
    r"""Learn the compact mappings of ``links`` together, in batched tensors.

    Algorithm 1 of NeuMatC with closed-form steps. Each round (1) solves the supervised term of
    Eq. (3) for readout and latent tensors by variable projection; (2) evaluates the structure
    residual at the collocation points and lowers it there by Newton steps of the operation
    (``Operation.refine``, for the inverse Newton-Schulz), which need the matrix but no exact
    result; (3) where the residual still exceeds the threshold, promotes the worst points to
    exact samples, as long as the budget lasts. Points whose residual the steps brought below the
    threshold enter the next projection; failed ones stay out.

    :return: the mappings and a report
    """
    started = time.perf_counter()
    operation, frequencies = problem.operation, problem.frequencies
    nodes = problem.noise.nodes
    grid = _spread(len(frequencies), config.collocation)
    sampled = _spread(len(frequencies), config.samples - config.rounds * config.promoted)
    points = torch.cat([grid, sampled]).unique()
    sampled_points = torch.isin(points, sampled)
    supervised = sampled_points.expand(len(links), -1).clone()
    trunk = _units(config, len(links))
    band = (frequencies[0].item(), frequencies[-1].item())
    x = _coordinate(frequencies[points], band)
    amplitude = torch.exp(-trunk.frequency / (math.pi * config.decay)).clamp_min(1e-5)
    hidden = torch.sin(x[:, None] * trunk.frequency + trunk.phase) * amplitude

    # [l, P, q, m, n]: every noise node sees the same frequencies.
    a = problem.matrices(links, frequencies[points])[:, :, None]
    coarse = a.to(torch.complex64)
    no = nodes.expand(1, 1, -1)
    exact = _aligned(operation, _exact(operation, a, nodes, supervised), sampled_points)
    shapes = operation.component_shapes(*a.shape[-2:])
    complex_valued = tuple(c.is_complex() for c in exact)
    scales = [_column_scale(c, supervised, len(s)) for c, s in zip(exact, shapes, strict=True)]
    targets, usable = exact, supervised
    report = FitReport()
    for number in range(config.rounds + 1):
        stacked = torch.cat(
            [
                pack(c / s, len(shape)).flatten(2)
                for c, s, shape in zip(targets, scales, shapes, strict=True)
            ],
            dim=-1,
        )
        readout, latent = project(hidden, stacked, usable.double(), config.rank, config.ridge)
        basis = hidden @ readout
        fitted = _split(basis @ latent, shapes, complex_valued, scales, len(nodes))
        loss = _relative_loss(fitted, exact, sampled_points)
        if number == config.rounds:
            break
        # Single precision is enough here: what these points add is far below their residual.
        refined = tuple(c.to(_single(c.dtype)) for c in fitted)
        few = slice(None, None, 8)
        before = operation.residual(coarse[:, few], tuple(c[:, few] for c in refined), no)
        for _ in range(config.refinements):
            refined = operation.refine(coarse, refined, no)
        residual = operation.residual(coarse, refined, no).amax(-1)
        refined = tuple(c.to(f.dtype) for c, f in zip(refined, fitted, strict=True))
        residual = torch.nan_to_num(residual, nan=math.inf)
        failed = (residual > config.threshold) & ~supervised
        entry = {
            "round": float(number),
            "loss": loss,
            "residual": before.median().item(),
            "failed": failed.double().mean().item(),
        }
        report.history.append(entry)
        if on_round is not None:
            on_round(entry)
        promote = _worst(residual, failed, config.promoted)
        if promote.any():
            update = operation.align_to(_exact(operation, a, nodes, promote), fitted)
            exact = select(promote, update, exact)
            supervised = supervised | promote
        targets = select(supervised, exact, refined)
        targets = tuple(torch.where(_like(supervised | ~failed, c), c, 0) for c in targets)
        usable = supervised | ~failed
    report.exact_samples_per_link = supervised.double().sum(-1).mean().item()
    report.history.append({"round": float(config.rounds), "loss": loss})
    latents = _latents(latent, shapes, complex_valued, scales, len(nodes))
    mapping = CompactMapping(
        Trunk(trunk.frequency.float(), trunk.phase.float(), (readout * amplitude[:, None]).float()),
        problem.noise,
        latents,
        shapes,
        complex_valued,
        band,
    )
    report.seconds = time.perf_counter() - started
    return mapping, report


def _single(dtype: torch.dtype) -> torch.dtype:
    return torch.complex64 if dtype.is_complex else torch.float32


def _spread(total: int, count: int) -> Tensor:
    """``count`` indices spread evenly over 0 … total - 1, ends included."""
    return torch.linspace(0, total - 1, min(count, total)).round().long().unique()


def _coordinate(frequencies: Tensor, band: tuple[float, float]) -> Tensor:
    return (frequencies - (band[0] + band[1]) / 2) / ((band[1] - band[0]) / 2)


def _units(config: FitConfig, num_links: int) -> Trunk:
    """Sine and cosine units at evenly spread delays: ω = π B τ for x in [-1, 1]."""
    delays = (torch.arange(config.width // 2, dtype=torch.float64) + 0.5) * config.unit_spacing
    frequency = math.pi * delays
    phase = torch.cat([torch.zeros_like(frequency), torch.full_like(frequency, math.pi / 2)])
    return Trunk(torch.cat([frequency, frequency]), phase, torch.zeros(num_links, 0, 0))


def _exact(operation: Operation, a: Tensor, nodes: Tensor, where: Tensor) -> Components:
    """Exact components [l, P, q, *shape] at the marked points [l, P], zero elsewhere."""
    parts: list[Components] = []
    for matrices, marked in zip(a, where, strict=True):
        chosen = operation.exact(matrices[marked], nodes[None])
        full = []
        for c in chosen:
            rows = torch.zeros(len(marked), *c.shape[1:], dtype=c.dtype, device=c.device)
            rows[marked] = c
            full.append(rows)
        parts.append(tuple(full))
    return tuple(torch.stack(c) for c in zip(*parts, strict=True))


def _aligned(operation: Operation, components: Components, points: Tensor) -> Components:
    """Components [l, P, q, *shape] made continuous along the marked points, at every node."""
    chosen = tuple(c[:, points].movedim(2, 1) for c in components)
    for full, part in zip(components, operation.align(chosen), strict=True):
        full[:, points] = part.movedim(1, 2)
    return components


def _column_scale(component: Tensor, where: Tensor, num_dims: int) -> Tensor:
    """Mean square root of each column's energy per noise node, [l, 1, q, (1,) columns]."""
    energy = component.abs().square()
    if num_dims > 1:
        energy = energy.sum(-2, keepdim=True)
    weight = _like(where, energy).to(energy.dtype)
    return ((energy * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)).sqrt()


def _like(mask: Tensor, component: Tensor) -> Tensor:
    return mask.reshape(mask.shape + (1,) * (component.ndim - mask.ndim))


def _split(
    rows: Tensor,
    shapes: tuple[tuple[int, ...], ...],
    complex_valued: tuple[bool, ...],
    scales: list[Tensor],
    num_nodes: int,
) -> Components:
    """Components [l, P, q, *shape] from stacked real rows [l, P, n]."""
    sizes = [
        num_nodes * math.prod(s) * (2 if c else 1)
        for s, c in zip(shapes, complex_valued, strict=True)
    ]
    parts = rows.split(sizes, dim=-1)
    return tuple(
        unpack(part.unflatten(-1, (num_nodes, -1)).contiguous(), shape, c) * scale
        for part, shape, c, scale in zip(parts, shapes, complex_valued, scales, strict=True)
    )


def _latents(
    latent: Tensor,
    shapes: tuple[tuple[int, ...], ...],
    complex_valued: tuple[bool, ...],
    scales: list[Tensor],
    num_nodes: int,
) -> tuple[Tensor, ...]:
    components = _split(latent, shapes, complex_valued, scales, num_nodes)
    return tuple(
        pack(c, len(s)).float().contiguous() for c, s in zip(components, shapes, strict=True)
    )


def _relative_loss(fitted: Components, exact: Components, points: Tensor) -> float:
    """Relative error at the marked points that are exact for every link."""
    shares = [
        (torch.linalg.norm(f[:, points] - e[:, points]) / torch.linalg.norm(e[:, points])).item()
        for f, e in zip(fitted, exact, strict=True)
    ]
    return math.sqrt(sum(share**2 for share in shares) / len(shares))


def _worst(residual: Tensor, failed: Tensor, count: int) -> Tensor:
    """Mark the ``count`` failed points of largest residual, per link."""
    score = torch.where(failed, residual, -math.inf)
    chosen = score.topk(min(count, score.shape[-1]), dim=-1).indices
    mask = torch.zeros_like(failed).scatter_(-1, chosen, True)
    return mask & failed
