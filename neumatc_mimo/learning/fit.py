"""Training of one operation's compact mappings over a set of links."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from neumatc_mimo.foundation.coordinate import coordinate
from neumatc_mimo.kernels.lanes.proofs import refined
from neumatc_mimo.learning.adaptive import Evaluation, OnRound, sample_adaptively
from neumatc_mimo.learning.alignment import align_along_nodes
from neumatc_mimo.learning.projector import projector
from neumatc_mimo.learning.refinement import refined as refined_splines
from neumatc_mimo.learning.rows import Rows, single
from neumatc_mimo.mapping.axes import Axis
from neumatc_mimo.mapping.basis import Basis, KnotSplines, SplineBasis
from neumatc_mimo.mapping.compact import CompactMapping
from neumatc_mimo.mapping.latent import Latent
from neumatc_mimo.mapping.layout import Layout
from neumatc_mimo.mapping.refined import RefinedMapping
from neumatc_mimo.mapping.trunk import BasisTrunk, KnotTrunk
from neumatc_mimo.operations.base import Components, Operation

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
    :param proven: tells of matrices [l, P, q or 1, m, n] and single-precision components at which
        points these will do, [l, P] bool; None where nothing is left out of the functions
    """

    operation: Operation
    matrices: Matrices
    num_links: int
    frequencies: Tensor
    axis: Axis
    proven: Callable[[Tensor, Components], Tensor] | None = None

    def exact(self, links: Tensor, points: Tensor) -> Components:
        """Exact components [l, P, q, *shape] at points of the grid.

        :param points: their indices, [P]
        """
        matrices = self.matrices(links, self.frequencies[points])
        parts = [self.operation.exact(a, self.axis.powers[None]) for a in matrices]
        return tuple(torch.stack(c) for c in zip(*parts, strict=True))


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

    :raises ValueError: if there is no round, or no sample beside those that are kept back
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
        if self.rounds < 1:
            raise ValueError(f"rounds is {self.rounds}, at least one is needed.")

    def settings(self) -> dict[str, Any]:
        """Plain values that tell how it is learned."""
        return vars(self) | {"basis": self.basis.settings()}

    def learn(
        self, problem: Problem, links: Tensor, on_round: OnRound | None = None
    ) -> tuple[CompactMapping, FitReport]:
        """Learn the mappings of some links, see :func:`fit`."""
        return fit(problem, self, links, on_round)

    def prepared(self, problem: Problem, on_round: OnRound | None = None) -> FitConfig:
        """The same: there is nothing that links have in common but their functions."""
        del problem, on_round
        return self

    def is_refined(self, problem: Problem) -> bool:
        """Whether links get knots of their own, where a problem tells which they can do without."""
        even = isinstance(self.basis, SplineBasis) and self.basis.points_per_interval > 0
        return even and self.rank >= self.basis.width and problem.proven is not None

    def points(self, num_frequencies: int) -> tuple[Tensor, Tensor]:
        """Grid indices of the collocation points and samples together, and where samples are."""
        grid = spread(num_frequencies, self.collocation)
        sampled = spread(num_frequencies, self.samples - self.promotions * self.promoted)
        points = torch.cat([grid, sampled]).unique()
        return points, torch.isin(points, sampled)


@dataclass(frozen=True)
class FitReport:
    """What training did, as plain values.

    :param stopped: why: "tolerance" (no collocation point of any link failed) or "rounds" (all
        spent)
    :param exact_samples_per_link: promoted points included
    :param history: of each round its number, the relative error at the samples that all links
        share (``loss``), the median of the points' largest residual (``residual``), the share that
        failed after the residual-lowering steps (``failed``); last the loss of the result
    :param seconds: wall-clock time
    """

    stopped: str
    exact_samples_per_link: float
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the JSON manifest."""
        return asdict(self)


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
    mappings = _Mappings(problem, config, links)
    stopped, history = _improve(mappings, config.rounds, on_round)
    learn = mappings.refined if config.is_refined(problem) else mappings.learned
    mapping, loss = learn()
    history.append({"round": float(len(history)), "loss": loss})
    seconds = time.perf_counter() - started
    return mapping, FitReport(stopped, mappings.samples_per_link, history, seconds)


def _improve(
    mappings: _Mappings, rounds: int, on_round: OnRound | None
) -> tuple[str, list[dict[str, float]]]:
    """Sample adaptively; why it stopped, and the history."""
    found = sample_adaptively(mappings, rounds=rounds, least=min(2, rounds), on_round=on_round)
    mappings.extend(found.last)  # what the last look found teaches, too
    return found.stopped, found.history


@dataclass(frozen=True)
class _Projection:
    """Mappings in closed form.

    :param readout: of the trunk, [l, width, r], or None
    :param latent: [l, r, size]
    :param fitted: components at the points, [l, P, q, *shape] each, in single precision
    :param loss: their relative error at the samples that all links share
    """

    readout: Tensor | None
    latent: Tensor
    fitted: Components
    loss: float


@dataclass(frozen=True)
class _Look(Evaluation):
    """A look at the residuals.

    :param fitted: components at the points, [l, P, q, *shape] each, in single precision
    :param refined: the same after residual-lowering steps
    :param residual: of these, the largest of all nodes, [l, P]
    :param failed: where it is too large, [l, P]; nowhere for links that are done
    """

    fitted: Components
    refined: Components
    residual: Tensor
    failed: Tensor


class _Mappings:
    """The mappings of some links, and what they are fitted to: a surrogate of exact results.

    Where it is fitted, P points of the grid, exact results, single-precision ones that
    residual-lowering steps reached, or nothing stand as targets.

    All of them are rows of :class:`~neumatc_mimo.learning.rows.Rows`.
    """

    def __init__(self, problem: Problem, config: FitConfig, links: Tensor) -> None:
        self._problem, self._config, self._links = problem, config, links
        frequencies = problem.frequencies
        points, sampled = config.points(len(frequencies))
        self._points, self._sampled = points.to(frequencies.device), sampled.to(frequencies.device)
        self._band = config.basis.band(frequencies)
        x = coordinate(frequencies[self._points], self._band)
        self._project_rows = projector(config.basis, x, config.rank)
        # [l, P, q, m, n]: every node sees the same frequencies. At all points single precision is
        # enough; with many nodes, tensors of this size are what training needs its memory for.
        self._coarse = single(problem.matrices(links, frequencies[self._points]))
        self._supervised = self._sampled.expand(len(links), -1).clone()
        exact = problem.exact(links, self._points[self._sampled])
        self._exact = align_along_nodes(problem.operation, exact)
        self._layouts = layouts_of(problem.operation, self._exact, self._coarse.shape[-2:])
        self._rows = Rows.of(self._exact, self._layouts)
        known = self._rows.pack(self._exact)
        self._known = known.new_zeros(len(links), len(self._points), known.shape[-1])
        self._known[:, self._sampled] = known
        self._targets, self._usable = self._known, self._supervised
        self._going = torch.ones_like(self._supervised[:, :1])
        self._rounds = 0

    @property
    def samples_per_link(self) -> float:
        """Mean number of exact samples."""
        return self._supervised.double().sum(-1).mean().item()

    def evaluate(self) -> _Look:
        """Fit the mappings, and look at their residuals at the points."""
        config, operation = self._config, self._problem.operation
        projection = self._project()
        powers = self._problem.axis.powers.to(self._coarse.real.dtype)
        fitted, few = projection.fitted, slice(None, None, 8)
        some = tuple(c[:, few] for c in fitted)
        before = refined(operation, self._coarse[:, few], some, powers, 0).residual
        # Single precision is enough here: what these points add is far below their residual.
        after, residual = refined(operation, self._coarse, fitted, powers, config.refinements)
        residual = torch.nan_to_num(residual, nan=math.inf)
        failed = (residual > config.threshold) & ~self._supervised & self._going
        figures = {
            "loss": projection.loss,
            "residual": before.median().item(),
            "failed": failed.double().mean().item(),
        }
        return _Look(figures, fitted, after, residual, failed)

    def extend(self, found: _Look) -> str:
        """Promote the worst points to exact samples, and take in what the steps reached."""
        self._rounds += 1
        self._promote(found)
        usable = self._supervised | ~found.failed
        self._usable = torch.where(self._going, usable, self._usable)
        renewed = self._rows.pack(found.refined)
        renewed[self._supervised] = self._known[self._supervised]
        # What diverged may be no number.
        renewed[~self._usable] = 0
        if not bool(self._going.all()):
            renewed = torch.where(self._going[..., None], renewed, self._targets)
        self._targets = renewed
        if self._rounds >= min(2, self._config.rounds):
            self._going = self._going & found.failed.any(1, keepdim=True)
        return ""  # points that did not fail teach something, too

    def learned(self) -> tuple[CompactMapping, float]:
        """The mappings as they are now, and their loss."""
        projection = self._project()
        readout = None if projection.readout is None else projection.readout.float()
        latents = tuple(
            Latent(layout.pack(c).float().contiguous())
            for c, layout in zip(self._rows.unpack(projection.latent), self._layouts, strict=True)
        )
        trunk = BasisTrunk(self._config.basis, readout)
        axis = self._problem.axis
        return CompactMapping(trunk, axis, latents, self._layouts, self._band), projection.loss

    def refined(self) -> tuple[CompactMapping, float]:
        """The mappings on as few knots as will do, and their loss at the samples."""
        basis, proven = self._config.basis, self._problem.proven
        assert isinstance(basis, SplineBasis) and proven is not None
        finest = basis.points_per_interval
        num_places = (basis.num_functions - basis.degree) * finest
        x = coordinate(self._problem.frequencies[self._points], self._band)
        place = (x + 1) / 2 * num_places
        places, latents, losses = [], [], []
        for i in range(len(self._links)):
            link = slice(i, i + 1)
            rows = self._rows.of_link(link)

            def fine(
                fitted: Tensor, points: Tensor, link: slice = link, rows: Rows = rows
            ) -> Tensor:
                return proven(self._coarse[link, points], rows.unpack(fitted[None]))[0]

            target, usable = self._targets[i], self._usable[i]
            found = refined_splines(target, usable, place, finest, num_places, fine, basis.degree)
            places.append(found.places)
            latents.append(rows.unpack(found.latent[None]))
            losses.append(found.loss)
        columns = zip(*latents, strict=True)
        whole = tuple(
            Latent(torch.cat([layout.pack(c[0]).float() for c in column]).contiguous())
            for layout, column in zip(self._layouts, columns, strict=True)
        )
        trunk = KnotTrunk(KnotSplines.of(places, basis.degree).to(whole[0].numbers.device))
        axis = self._problem.axis
        mapping = RefinedMapping(trunk, axis, whole, self._layouts, self._band)
        return mapping, math.sqrt(sum(loss**2 for loss in losses) / len(losses))

    def _project(self) -> _Projection:
        readout, latent, rows = self._project_rows(self._targets, self._usable.double())
        fitted = self._rows.unpack(rows)
        loss = _relative_loss(tuple(c[:, self._sampled] for c in fitted), self._exact)
        return _Projection(readout, latent, fitted, loss)

    def _promote(self, found: _Look) -> None:
        """Make the failed points of largest residual exact samples, as long as the budget lasts."""
        promoted = _worst(found.residual, found.failed, self._config.promoted)
        if self._rounds > self._config.promotions:
            return
        for i in promoted.any(1).nonzero()[:, 0].tolist():
            link, here = slice(i, i + 1), promoted[i]
            new = self._problem.exact(self._links[link], self._points[here])
            like = tuple(c[link, here].to(n) for c, n in zip(found.fitted, new, strict=True))
            new = self._problem.operation.align_to(new, like)
            self._known[link, here] = self._rows.of_link(link).pack(new)
            self._supervised[link] |= here


def spread(total: int, count: int) -> Tensor:
    """``count`` indices spread evenly over 0 … total - 1, ends included."""
    return torch.linspace(0, total - 1, min(count, total)).round().long().unique()


def layouts_of(
    operation: Operation, components: Components, shape: tuple[int, ...]
) -> tuple[Layout, ...]:
    """How components of matrices [m, n] are stored."""
    rows, cols = shape
    shapes = operation.component_shapes(rows, cols)
    return tuple(
        Layout.of(shape, c, name in operation.hermitian)
        for name, shape, c in zip(operation.component_names, shapes, components, strict=True)
    )


def _relative_loss(fitted: Components, exact: Components) -> float:
    """Relative error of all components together."""
    shares = [(_norm(f - e) / _norm(e)).item() for f, e in zip(fitted, exact, strict=True)]
    return math.sqrt(sum(share**2 for share in shares) / len(shares))


def _norm(component: Tensor) -> Tensor:
    """Of all entries; complex moduli, guarded against overflow, take forty times as long."""
    return torch.linalg.vector_norm(
        torch.view_as_real(component.resolve_conj()) if component.is_complex() else component
    )


def _worst(residual: Tensor, failed: Tensor, count: int) -> Tensor:
    """Mark the ``count`` failed points of largest residual, per link."""
    score = torch.where(failed, residual, -math.inf)
    chosen = score.topk(min(count, score.shape[-1]), dim=-1).indices
    mask = torch.zeros_like(failed).scatter_(-1, chosen, True)
    return mask & failed
