"""Training of one operation's compact mappings over a set of links."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from neumatc_mimo.foundation.coordinate import coordinate
from neumatc_mimo.learning.projection import Design, project
from neumatc_mimo.mapping.axes import Axis
from neumatc_mimo.mapping.basis import Basis
from neumatc_mimo.mapping.compact import CompactMapping, Layout, Trunk
from neumatc_mimo.operations.base import Components, Operation, where_components

Matrices = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Problem:
    """What is learned.

    :param operation: the operation
    :param matrices: A(links [l] int64, frequencies [F] Hz) → [l, F, q or 1, m, n] complex128 or
        float64, one for each node of the axis or one for all
    :param num_links: number of links
    :param frequencies: the grid in Hz, [num_frequencies], float64, ascending
    :param axis: the second coordinate; of one node where there is none
    """

    operation: Operation
    matrices: Matrices
    num_links: int
    frequencies: Tensor
    axis: Axis


@dataclass(frozen=True)
class FitConfig:
    """How it is learned; :class:`~neumatc_mimo.scenario.schema.ModelConfig` holds the defaults.

    :param basis: the trunk's functions
    :param rank: r of the trunk; at the functions' width there is no readout
    :param samples: exact samples per link and node, promoted points included
    :param collocation: points per link and node where only the residual is known
    :param rounds: rounds of adaptive sampling at most; at least two, then until no point fails
    :param promoted: points promoted to exact samples a round; the first ``promotions`` rounds'
        are kept back from the budget for them
    :param threshold: residual above which a collocation point has failed
    :param refinements: residual-lowering steps at the collocation points, per round
    """

    basis: Basis
    rank: int
    samples: int
    collocation: int
    rounds: int
    promoted: int = 16
    promotions: int = 3
    threshold: float = 3e-3
    refinements: int = 3

    def __post_init__(self) -> None:
        kept_back = self.promotions * self.promoted
        if self.samples <= kept_back:
            raise ValueError(
                f"samples is {self.samples}, more than the {kept_back} that are kept back for "
                "points that fail are needed."
            )

    def points(self, num_frequencies: int) -> tuple[Tensor, Tensor]:
        """Grid indices of the collocation points and samples together, and where samples are."""
        grid = _spread(num_frequencies, self.collocation)
        sampled = _spread(num_frequencies, self.samples - self.promotions * self.promoted)
        points = torch.cat([grid, sampled]).unique()
        return points, torch.isin(points, sampled)


@dataclass
class FitReport:
    """What training did, as plain values: one entry a round in ``history``."""

    seconds: float = 0.0
    exact_samples_per_link: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the JSON manifest."""
        return asdict(self)


OnRound = Callable[[dict[str, float]], None]


def fit(
    problem: Problem, config: FitConfig, links: Tensor, on_round: OnRound | None = None
) -> tuple[CompactMapping, FitReport]:
    r"""Learn the compact mappings of ``links`` together, in batched tensors.

    Algorithm 1 of NeuMatC with closed-form steps. Each round (1) solves the supervised term of
    Eq. (3) for readout and latent tensors by variable projection; (2) evaluates the structure
    residual at the collocation points and lowers it there by Newton steps of the operation
    (``Operation.correct``, for the inverse Newton-Schulz), which need the matrix but no exact
    result; (3) where the residual still exceeds the threshold, promotes the worst points to
    exact samples, as long as the budget lasts. Points whose residual the steps brought below the
    threshold enter the next projection; failed ones stay out. A link none of whose points fails is
    done, so that no result depends on which links are learned together.

    :return: the mappings and a report
    """
    started = time.perf_counter()
    operation, frequencies = problem.operation, problem.frequencies
    powers = problem.axis.powers
    points, sampled_points = config.points(len(frequencies))
    supervised = sampled_points.expand(len(links), -1).clone()
    band = config.basis.band(frequencies)
    design = Design.of(config.basis.values(coordinate(frequencies[points], band)))
    penalty = config.basis.penalty()

    # [l, P, q, m, n]: every node sees the same frequencies. At all points single precision is
    # enough; with many nodes, tensors of this size are what training needs its memory for.
    coarse = problem.matrices(links, frequencies[points])
    coarse = coarse.to(_single(coarse.dtype))
    no = powers.expand(1, 1, -1)
    exact = aligned(operation, _exact(problem, links, points, supervised), sampled_points)
    shapes = operation.component_shapes(*coarse.shape[-2:])
    layouts = tuple(
        Layout.of(shape, c, name in operation.hermitian)
        for name, shape, c in zip(operation.component_names, shapes, exact, strict=True)
    )
    rows = [
        # A component counts the same, at however many nodes it is learned.
        _Rows(layout, c.shape[2], _scale(c, supervised, layout) * c.shape[2] ** 0.5)
        for c, layout in zip(exact, layouts, strict=True)
    ]
    targets, usable = exact, supervised
    report = FitReport()
    number = 0
    going = torch.ones(len(links), 1, dtype=torch.bool, device=supervised.device)
    while True:
        stacked = torch.cat([r.pack(c) for r, c in zip(rows, targets, strict=True)], dim=-1)
        readout, latent = project(design, stacked, usable.double(), config.rank, penalty)
        del stacked
        coefficients = latent if readout is None else readout @ latent
        fitted = _split(design.fitted(coefficients), rows)
        loss = _relative_loss(fitted, exact, sampled_points)
        if number == config.rounds or not bool(going.any()):
            break
        # Single precision is enough here: what these points add is far below their residual.
        refined = tuple(c.to(_single(c.dtype)) for c in fitted)
        few = slice(None, None, 8)
        before = operation.residual(coarse[:, few], tuple(c[:, few] for c in refined), no)
        for _ in range(config.refinements):
            refined = operation.correct(coarse, refined, no)
        residual = operation.residual(coarse, refined, no).amax(-1)
        residual = torch.nan_to_num(residual, nan=math.inf)
        failed = (residual > config.threshold) & ~supervised & going
        entry = {
            "round": float(number),
            "loss": loss,
            "residual": before.median().item(),
            "failed": failed.double().mean().item(),
        }
        report.history.append(entry)
        if on_round is not None:
            on_round(entry)
        number += 1
        promote = _worst(residual, failed, config.promoted)
        if number <= config.promotions and bool(promote.any()):
            update = operation.align_to(_exact(problem, links, points, promote), fitted)
            exact = where_components(promote, update, exact)
            supervised = supervised | promote
        usable = torch.where(going, supervised | ~failed, usable)
        renewed = where_components(supervised, exact, refined)
        del fitted, refined
        for c in renewed:
            c[~usable] = 0
        targets = renewed if bool(going.all()) else where_components(going, renewed, targets)
        del renewed
        if number >= min(2, config.rounds):
            going = going & failed.any(1, keepdim=True)
    report.exact_samples_per_link = supervised.double().sum(-1).mean().item()
    report.history.append({"round": float(number), "loss": loss})
    latents = tuple(
        layout.pack(c).float().contiguous()
        for c, layout in zip(_split(latent, rows), layouts, strict=True)
    )
    mapping = CompactMapping(
        Trunk(config.basis, None if readout is None else readout.float()),
        problem.axis,
        latents,
        layouts,
        band,
    )
    report.seconds = time.perf_counter() - started
    return mapping, report


def _single(dtype: torch.dtype) -> torch.dtype:
    return torch.complex64 if dtype.is_complex else torch.float32


def _spread(total: int, count: int) -> Tensor:
    """``count`` indices spread evenly over 0 … total - 1, ends included."""
    return torch.linspace(0, total - 1, min(count, total)).round().long().unique()


def _exact(problem: Problem, links: Tensor, points: Tensor, where: Tensor) -> Components:
    """Exact components [l, P, q, *shape] at the marked points [l, P], zero elsewhere."""
    used = where.any(0)
    a = problem.matrices(links, problem.frequencies[points[used]])
    parts: list[Components] = []
    for matrices, marked in zip(a, where, strict=True):
        chosen = problem.operation.exact(matrices[marked[used]], problem.axis.powers[None])
        full = []
        for c in chosen:
            rows = torch.zeros(len(marked), *c.shape[1:], dtype=c.dtype, device=c.device)
            rows[marked] = c
            full.append(rows)
        parts.append(tuple(full))
    return tuple(torch.stack(c) for c in zip(*parts, strict=True))


def aligned(operation: Operation, components: Components, points: Tensor) -> Components:
    """Components [l, P, q, *shape] made continuous along the marked points, and along the nodes."""
    # Those that one node stands for go with any node.
    num_nodes = max(c.shape[2] for c in components)
    before: Components | None = None
    for node in range(num_nodes):
        part = tuple(c[:, points, min(node, c.shape[2] - 1)] for c in components)
        part = operation.align(part) if before is None else operation.align_to(part, before)
        for full, aligned in zip(components, part, strict=True):
            full[:, points, min(node, full.shape[2] - 1)] = aligned
        before = part
    return components


def _scale(component: Tensor, where: Tensor, layout: Layout) -> Tensor:
    """Root of each column's mean energy per node, [l, 1, q, (1,) columns].

    A Hermitian component has one scale for all columns, so that it stays Hermitian.
    """
    energy = component.abs().square()
    if len(layout.shape) > 1:
        dims = (-2, -1) if layout.kind == "hermitian" else (-2,)
        energy = energy.sum(dims, keepdim=True)
    weight = _like(where, energy).to(energy.dtype)
    return ((energy * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)).sqrt()


def _like(mask: Tensor, component: Tensor) -> Tensor:
    return mask.reshape(mask.shape + (1,) * (component.ndim - mask.ndim))


@dataclass(frozen=True)
class _Rows:
    """How a component [l, P, q, *shape] stands in the rows that are fitted."""

    layout: Layout
    num_nodes: int
    scale: Tensor

    @property
    def size(self) -> int:
        return self.num_nodes * self.layout.size

    def pack(self, component: Tensor) -> Tensor:
        """Scaled real rows [l, P, size]."""
        return self.layout.pack(component / self.scale).flatten(2)

    def unpack(self, rows: Tensor) -> Tensor:
        """The inverse of :meth:`pack`."""
        rows = rows.unflatten(-1, (self.num_nodes, -1)).contiguous()
        return self.layout.unpack(rows) * self.scale


def _split(stacked: Tensor, rows: Sequence[_Rows]) -> Components:
    """Components from stacked rows."""
    parts = stacked.split([r.size for r in rows], dim=-1)
    return tuple(r.unpack(part) for r, part in zip(rows, parts, strict=True))


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
