"""NeuMatC as published, on many links at once: Algorithm 1, batched over links."""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from neumatc_mimo.foundation.coordinate import coordinate
from neumatc_mimo.kernels.lanes.proofs import refined
from neumatc_mimo.learning.adaptive import OnRound
from neumatc_mimo.learning.alignment import align_along_nodes
from neumatc_mimo.learning.fit import FitReport, Problem, layouts_of, spread
from neumatc_mimo.learning.network import check_positive
from neumatc_mimo.learning.perceptron import Perceptrons, turns
from neumatc_mimo.learning.rows import Rows, single
from neumatc_mimo.mapping.compact import CompactMapping
from neumatc_mimo.mapping.latent import Latent
from neumatc_mimo.mapping.layout import Layout
from neumatc_mimo.mapping.trunk import NetworkTrunk
from neumatc_mimo.operations.base import Components

# Steps of latent tensors beside those of the network: what moves phases of many turns has to move
# little.
_LATENT_RATE = 5.0
# Principal directions of the samples that are learned, beside the rank: beyond half as many more
# nothing is left that a mapping of that rank could reach.
_DIRECTIONS = 1.5
# Links that a trunk is learned from which all of them share, at most.
_MOST_LINKS = 64


@dataclass(frozen=True)
class NetworkConfig:
    """How trunks of a perceptron are learned; :class:`~neumatc_mimo.scenario.schema.MLPConfig`
    holds the defaults.

    :param depth: hidden layers
    :param width: functions of each
    :param rank: r
    :param omega0: ω₀ of the sines
    :param lam: λ, the weight of the residual in Eq. (3)
    :param learning_rate: of Adam at the first step; falls to a hundredth along a cosine
    :param steps: gradient steps
    :param samples: subcarriers with exact results
    :param num_collocation: collocation points at the start, of each link
    :param refine_every: N, steps between refinements
    :param added: collocation points added per refinement, at most
    :param threshold: ε_r, the residual above which a candidate has failed
    :param tolerance: share of failed candidates up to which none is added
    :param candidates: candidates per refinement
    :param projection: whether latent tensors are projected out (variable projection), else Adam
        moves them too, as published
    :param ridge: ϱ of a projection, beside the mean square of the trunk's functions
    :param shared: whether all links have one trunk
    :param seed: of the initial network and latent tensors, collocation points and candidates
    :param trunk: one that was learned before, of which latent tensors alone are projected

    :raises ValueError: if a value is out of its range
    """

    depth: int
    width: int
    rank: int
    omega0: float
    lam: float
    learning_rate: float
    steps: int
    samples: int
    num_collocation: int
    refine_every: int
    added: int
    threshold: float
    tolerance: float
    candidates: int
    projection: bool
    ridge: float
    shared: bool
    seed: int
    trunk: NetworkTrunk | None = None

    def __post_init__(self) -> None:
        numbers = {
            name: value
            for name, value in vars(self).items()
            if type(value) in (int, float) and name not in ("lam", "tolerance", "added", "seed")
        }
        check_positive(**numbers)
        if not 0 <= self.added <= self.candidates:
            raise ValueError(
                f"added is {self.added}, points are taken from the {self.candidates} candidates."
            )

    def settings(self) -> dict[str, Any]:
        """Plain values that tell how it is learned."""
        own = {name: value for name, value in vars(self).items() if name != "trunk"}
        if self.trunk is not None:
            digest = hashlib.sha256()
            for tensor in self.trunk.tensors().values():
                digest.update(tensor.cpu().numpy().tobytes())
            own["trunk"] = digest.hexdigest()
        return {"kind": NetworkTrunk.kind} | own

    def points(self, num_frequencies: int) -> tuple[Tensor, Tensor]:
        """Grid indices of the samples and of what collocation points and candidates are drawn from,
        and where samples are.
        """
        # Half of a small grid, and of any what others are drawn from: the rest is left to look at
        # what was learned.
        sampled = spread(num_frequencies, min(self.samples, -(-num_frequencies // 2)))
        points = torch.cat([torch.arange(0, num_frequencies, 2), sampled]).unique()
        return points, torch.isin(points, sampled)

    def learn(
        self, problem: Problem, links: Tensor, on_round: OnRound | None = None
    ) -> tuple[CompactMapping, FitReport]:
        """Learn the mappings of some links, see :func:`learn_networks`."""
        return learn_networks(problem, self, links, on_round)

    def prepared(self, problem: Problem, on_round: OnRound | None = None) -> NetworkConfig:
        """The same with what all links have in common learned."""
        if not self.shared or self.trunk is not None:
            return self
        return replace(self, trunk=learn_shared_trunk(problem, self, on_round))


def learn_networks(
    problem: Problem, config: NetworkConfig, links: Tensor, on_round: OnRound | None = None
) -> tuple[CompactMapping, FitReport]:
    r"""Learn compact mappings of ``links`` together, each with a network of its own.

    Minimises Eq. (3) of NeuMatC for every link,

    .. math:: \sum_i \frac{\sum_{p \in S} \lVert \hat Y_i(p) - Y_i(p) \rVert^2}
              {\sum_{p \in S} \lVert Y_i(p) \rVert^2}
              + \frac{\lambda}{|C|} \sum_{p \in C} \rho(p)^2,

    over exact samples S and collocation points C by Adam in float32, with failure-informed sampling
    every N steps, as :func:`~neumatc_mimo.learning.algorithm1.train_algorithm1` does for a family.
    Columns of a matrix count the same, however weak they are. Links do not influence each other:
    none depends on which ones are learned together.

    Plain Adam moves the network and the latent tensors. What lets it learn here: frequencies of the
    first layer that are drawn up to where the samples' spectrum ends, latent tensors that begin
    near zero in the coordinates of the samples' principal directions, and steps of theirs that are
    larger than those of phases with many turns. With ``projection`` latent tensors are the ridge
    solution of the first term at every step, in float64, and stand still in the gradient (variable
    projection; Golub and Pereyra, 1973), which is not in the paper.

    Where ``config.trunk`` is given, it stays, and latent tensors alone are found, by projection.

    :return: the mappings and a report
    :raises RuntimeError: if a loss becomes infinite or NaN
    """
    started = time.perf_counter()
    training = _Training(problem, config, links)
    history: list[dict[str, float]] = []
    if config.trunk is None:
        history = training.run(on_round)
    mapping, loss = training.learned()
    history.append({"round": float(len(history)), "loss": loss})
    seconds = time.perf_counter() - started
    return mapping, FitReport("steps", float(training.num_samples), history, seconds)


def learn_shared_trunk(
    problem: Problem, config: NetworkConfig, on_round: OnRound | None = None
) -> NetworkTrunk:
    """The trunk that links share, learned from all of them, or from many that stand for them."""
    links = spread(problem.num_links, _MOST_LINKS).to(problem.frequencies.device)
    training = _Training(problem, config, links)
    training.run(on_round)
    return training.trunk()


@dataclass
class _Collocation:
    """Collocation points of the links.

    :param at: which of the points they are, [l, C]
    :param counts: 1 where a link has them, else 0, [l, C]
    """

    at: Tensor
    counts: Tensor

    def added(self, at: Tensor, counts: Tensor) -> _Collocation:
        """With others."""
        return _Collocation(torch.cat([self.at, at], 1), torch.cat([self.counts, counts], 1))


class _Training:
    """Networks and latent tensors of some links, and what they are trained on."""

    def __init__(self, problem: Problem, config: NetworkConfig, links: Tensor) -> None:
        self._problem, self._config = problem, config
        frequencies, device = problem.frequencies, problem.frequencies.device
        points, sampled = (t.to(device) for t in config.points(len(frequencies)))
        self._band = frequencies[0].item(), frequencies[-1].item()
        self._x = coordinate(frequencies[points], self._band)
        self._samples, self._pool = sampled.nonzero()[:, 0], (~sampled).nonzero()[:, 0]
        self._matrices = single(problem.matrices(links, frequencies[points]))
        exact = align_along_nodes(problem.operation, problem.exact(links, points[sampled]))
        self._layouts = layouts_of(problem.operation, exact, self._matrices.shape[-2:])
        self._targets = _Targets.of(exact, self._layouts, config.rank)
        self._generator = torch.Generator().manual_seed(config.seed)
        first = self._drawn(min(config.num_collocation, len(self._pool)))
        every = first.expand(len(links), -1)
        self._collocation = _Collocation(every, torch.ones_like(every, dtype=torch.float32))
        highest = turns(self._targets.rows)
        if config.shared:
            highest = highest.amax(0, keepdim=True)
        self._network = Perceptrons.drawn(
            config.depth, config.width, config.rank, config.omega0, highest, self._generator
        )
        draws = torch.randn(
            config.rank, self._targets.rows.shape[-1], generator=self._generator
        ).to(device)
        start = 0.01 / config.rank**0.5 * draws
        self._latents = start.repeat(len(links), 1, 1).requires_grad_(not config.projection)

    @property
    def num_samples(self) -> int:
        """Exact samples of a link."""
        return len(self._samples)

    def run(self, on_round: OnRound | None = None) -> list[dict[str, float]]:
        """Take all steps; the history of the refinements."""
        config = self._config
        groups = [{"params": self._network.parameters(), "lr": config.learning_rate}]
        if not config.projection:
            rate = _LATENT_RATE * config.learning_rate
            groups.append({"params": [self._latents], "lr": rate})
        optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimiser, config.steps, eta_min=config.learning_rate / 100
        )
        history: list[dict[str, float]] = []
        for step in range(1, config.steps + 1):
            with torch.enable_grad():
                loss, supervised = self._loss()
                optimiser.zero_grad()
                loss.sum().backward()
            if not bool(torch.isfinite(loss).all()):
                raise RuntimeError(
                    f"The loss is not finite at step {step}: lower learning_rate in [model.mlp]."
                )
            optimiser.step()
            schedule.step()
            if step % config.refine_every == 0 or step == config.steps:
                figures = self._refine(last=step == config.steps)
                error = supervised.mean().sqrt().item()
                history.append({"round": float(len(history)), "loss": error, **figures})
                if on_round is not None:
                    on_round(history[-1])
        return history

    def trunk(self) -> NetworkTrunk:
        """The networks as they are now."""
        return self._network.trunk(self._config.shared)

    def learned(self) -> tuple[CompactMapping, float]:
        """The mappings as they are now, and their relative error at the samples."""
        config = self._config
        trunk = config.trunk or self.trunk()
        basis = trunk(self._x[self._samples].to(torch.float64))
        if config.projection or config.trunk is not None:
            rows = projected(basis, self._targets.full, config.ridge)
        else:
            rows = self._latents.detach() @ self._targets.directions
        fitted = basis @ rows
        loss = (fitted - self._targets.full).square().sum() / self._targets.full.square().sum()
        latents = tuple(
            Latent(layout.pack(c).float().contiguous())
            for c, layout in zip(self._targets.components(rows), self._layouts, strict=True)
        )
        mapping = CompactMapping(trunk, self._problem.axis, latents, self._layouts, self._band)
        return mapping, loss.sqrt().item()

    def _loss(self) -> tuple[Tensor, Tensor]:
        """Eq. (3) of every link, and its first term, [l] each."""
        config, targets = self._config, self._targets
        basis = self._network(self._x[self._samples])
        latents = self._latents
        if config.projection:
            with torch.no_grad():
                self._latents = latents = projected(basis, targets.rows, config.ridge)
        supervised = (basis @ latents - targets.rows).square().sum((1, 2)) / targets.num_samples
        if not config.lam:
            return supervised, supervised
        residual = self._residual(self._collocation.at, latents).square()
        counts = self._collocation.counts
        structure = (counts * residual).sum(1) / counts.sum(1).clamp_min(1)
        return supervised + config.lam * structure, supervised

    def _residual(self, at: Tensor, latents: Tensor) -> Tensor:
        """Residuals of all nodes, root mean squares, at points [l, C] of the links: [l, C]."""
        components, a = self._fitted(at, latents)
        powers = self._problem.axis.powers.to(a.real.dtype)
        residual = self._problem.operation.residual(a, components, powers)
        return residual.square().mean(-1).sqrt()

    def _fitted(self, at: Tensor, latents: Tensor) -> tuple[Components, Tensor]:
        """Components and matrices at points [l, C]."""
        rows = self._network(self._x[at]) @ latents @ self._targets.directions
        every = torch.arange(len(at), device=at.device)[:, None]
        return self._targets.components(rows), self._matrices[every, at]

    @torch.no_grad()
    def _refine(self, last: bool) -> dict[str, float]:
        """Failure-informed sampling (NeuMatC, Section 2.2), each link its own points."""
        config = self._config
        at = self._drawn(min(config.candidates, len(self._pool)))
        at = at.expand(len(self._latents), -1)
        components, a = self._fitted(at, self._latents)
        powers = self._problem.axis.powers.to(a.real.dtype)
        residual = refined(self._problem.operation, a, components, powers, 0).residual
        residual = torch.nan_to_num(residual, nan=math.inf)
        failed = residual > config.threshold
        figures = {"residual": residual.median().item(), "failed": failed.double().mean().item()}
        # Points added after the last step would teach nothing any more.
        if not last and config.added:
            worst = residual.topk(min(config.added, at.shape[1])).indices
            going = failed.double().mean(1, keepdim=True) > config.tolerance
            counts = (failed.gather(1, worst) & going).float()
            self._collocation = self._collocation.added(at.gather(1, worst), counts)
        return figures

    def _drawn(self, num: int) -> Tensor:
        """So many points of the pool, the same for all links."""
        chosen = torch.randperm(len(self._pool), generator=self._generator)[:num]
        return self._pool[chosen.to(self._pool.device)]


@dataclass(frozen=True)
class _Targets:
    """Exact samples as rows of real numbers, each component of a root mean square of one.

    :param full: [l, S, n]
    :param rows: in coordinates of the samples' principal directions, [l, S, d]
    :param directions: [l, d, n]
    :param scaled: how components stand in the rows
    :param factors: of the components in them, [n]
    """

    full: Tensor
    rows: Tensor
    directions: Tensor
    scaled: Rows
    factors: Tensor

    @classmethod
    def of(cls, exact: Components, layouts: tuple[Layout, ...], rank: int) -> _Targets:
        """From exact components [l, S, q, *shape]."""
        scaled = Rows.of(exact, layouts)
        full = scaled.pack(exact)
        parts = full.split([part.size for part in scaled.columns], dim=-1)
        # [l, 1, n]: components count the same, however many columns they have.
        factors = torch.cat(
            [
                (1 / _root(part.square().sum(-1, keepdim=True).mean(1, keepdim=True))).expand(
                    -1, -1, part.shape[-1]
                )
                for part in parts
            ],
            dim=-1,
        )
        full = full * factors
        num = min(math.ceil(_DIRECTIONS * rank), *full.shape[1:])
        wide = full.double()
        powers, vectors = torch.linalg.eigh(wide @ wide.mT)
        vectors, sizes = vectors[..., -num:], powers[..., -num:].clamp_min(0).sqrt()
        # Directions without a sample in them stay empty.
        over = torch.where(sizes > 1e-6 * sizes[..., -1:], 1 / sizes.clamp_min(1e-300), 0.0)
        directions = (over[..., None] * (vectors.mT @ wide)).float()
        rows = (vectors * sizes[..., None, :]).float()
        return cls(full, rows, directions, scaled, factors)

    @property
    def num_samples(self) -> int:
        return self.full.shape[1]

    def components(self, rows: Tensor) -> Components:
        """Components [l, P, q, *shape] that full rows [l, P, n] hold."""
        return self.scaled.unpack(rows / self.factors)


def projected(basis: Tensor, targets: Tensor, ridge: float) -> Tensor:
    r"""Latent tensors that suit trunks best, by Cholesky of the normal equations in float64.

    .. math:: C = \arg\min_C \tfrac{1}{S} \lVert \Phi C - Y \rVert^2
              + \varrho\, \tfrac{1}{S r} \lVert\Phi\rVert^2 \lVert C \rVert^2

    :param basis: Φ, [num_links or 1, S, r]
    :param targets: Y, [num_links, S, n]
    :param ridge: ϱ

    :return: C, [num_links, r, n] float32
    """
    phi = basis.double()
    normal = phi.mT @ phi
    diagonal = normal.diagonal(dim1=-2, dim2=-1)
    diagonal += ridge * diagonal.mean(-1, keepdim=True)
    factor = torch.linalg.cholesky(normal)
    return torch.cholesky_solve(phi.mT @ targets.double(), factor).float()


def _root(power: Tensor) -> Tensor:
    """Of what is zero one: a component that is zero at every sample stays in its own units."""
    return torch.where(power > 0, power, 1).sqrt()


__all__ = ["NetworkConfig", "learn_networks", "learn_shared_trunk", "projected"]
