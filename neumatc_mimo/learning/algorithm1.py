"""NeuMatC's Algorithm 1: an MLP trunk trained by gradient steps, with adaptive sampling."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from neumatc_mimo.families.base import Family
from neumatc_mimo.learning.alignment import align_along_tree
from neumatc_mimo.learning.collocation import Collocation, Refinement
from neumatc_mimo.learning.network import MLPTrunk, NeuMatC, check_activation, check_positive
from neumatc_mimo.learning.projection import project_latents
from neumatc_mimo.mapping.layout import Layout
from neumatc_mimo.operations.base import Components, Operation


@dataclass(frozen=True)
class Algorithm1Config:
    """How :func:`train_algorithm1` learns.

    :param depth: hidden layers of the trunk
    :param width: functions of each
    :param rank: r
    :param omega0: ω₀ of the sine activations
    :param activation: "sine", "tanh", "relu", "gelu" or "sigmoid"
    :param lam: λ, the weight of the residual in Eq. (3)
    :param ridge: ϱ of the projection; plain Adam has none
    :param steps: gradient steps
    :param learning_rate: of Adam at the first step; falls to a hundredth along a cosine
    :param latent_rate: learning rate of latent tensors that Adam moves, over that of the trunk
    :param beta2: β₂ of Adam, how slowly its mean of squared gradients forgets
    :param num_collocation: collocation points at the start, uniform in the domain
    :param refine_every: N, steps between refinements
    :param added: collocation points added per refinement, at most
    :param rounds: how many refinements, the first ones, may add points; None for all, but for the
        one after the last step
    :param threshold: ε_r, the residual above which a candidate has failed
    :param tolerance: share of failed candidates up to which none is added
    :param candidates: candidates per refinement, uniform in the domain
    :param corrections: steps of :meth:`Operation.correct` that lower the residual at collocation
        points after every refinement; those brought below ``corrected`` count as samples from then
        on; 0 for none, as in the paper
    :param corrected: residual up to which they do
    :param projection: whether latent tensors are projected out, else Adam moves them too, as in
        the paper
    :param held: whether the gradient treats projected latent tensors as constant; otherwise it goes
        through the projection
    :param adaptive: whether the worst candidates are added, else as many random ones
    :param seed: of the initial trunk and latent tensors, collocation points and candidates

    :raises ValueError: if a value is out of its range
    """

    depth: int = 2
    width: int = 64
    rank: int = 16
    omega0: float = 5.0
    activation: str = "sine"
    lam: float = 0.1
    ridge: float = 1e-6
    steps: int = 2000
    learning_rate: float = 1e-3
    latent_rate: float = 1.0
    beta2: float = 0.999
    num_collocation: int = 100
    refine_every: int = 200
    added: int = 10
    rounds: int | None = None
    threshold: float = 1e-2
    tolerance: float = 0.05
    candidates: int = 500
    corrections: int = 0
    corrected: float = 1e-2
    projection: bool = True
    held: bool = False
    adaptive: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        check_positive(
            depth=self.depth,
            width=self.width,
            rank=self.rank,
            omega0=self.omega0,
            steps=self.steps,
            learning_rate=self.learning_rate,
            latent_rate=self.latent_rate,
            num_collocation=self.num_collocation,
            refine_every=self.refine_every,
            candidates=self.candidates,
            threshold=self.threshold,
            corrected=self.corrected,
            # Without a ridge the normal equations are singular as soon as r exceeds the samples.
            ridge=self.ridge,
        )
        check_activation(self.activation)
        if not self.lam >= 0:
            raise ValueError(f"lam is {self.lam}, the weight of the residual is not negative.")
        if not 0 <= self.beta2 < 1:
            raise ValueError(f"beta2 is {self.beta2}, it lies from 0 to below 1.")
        if not 0 <= self.tolerance <= 1:
            raise ValueError(f"tolerance is {self.tolerance}, a share lies between 0 and 1.")
        if not 0 <= self.added <= self.candidates:
            raise ValueError(
                f"added is {self.added}, points are taken from the {self.candidates} candidates."
            )
        if self.corrections < 0:
            raise ValueError(f"corrections is {self.corrections}, a number of steps, 0 for none.")
        if self.rounds is not None and self.rounds < 0:
            raise ValueError(f"rounds is {self.rounds}, a number of refinements is not negative.")


# With these Adam alone learns. Squared gradients that are remembered ten times as long leave twice
# the error, 600 steps three times; latent tensors from least squares at the start, or functions
# that are orthonormal at first, more.
PLAIN_ADAM: dict[str, Any] = {
    "projection": False,
    "learning_rate": 3e-3,
    "latent_rate": 3.0,
    "beta2": 0.99,
    "steps": 2000,
}


@dataclass
class Algorithm1Report:
    """What training did, as plain values.

    :param loss: Eq. (3), one value a step
    :param supervised: its first term, one value a step
    :param failure_probability: one value a refinement
    :param collocation: number of collocation points after each refinement
    :param num_samples: exact samples
    :param num_collocation: collocation points at the end
    :param seconds: wall-clock time, exact samples included
    """

    loss: list[float] = field(default_factory=list)
    supervised: list[float] = field(default_factory=list)
    failure_probability: list[float] = field(default_factory=list)
    collocation: list[int] = field(default_factory=list)
    num_samples: int = 0
    num_collocation: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return asdict(self)


def train_algorithm1(
    operation: Operation,
    family: Family,
    samples: Tensor,
    config: Algorithm1Config,
    *,
    callback: Callable[[Refinement], None] | None = None,
) -> tuple[NeuMatC, Algorithm1Report]:
    r"""Learn an operation on a parametric matrix (NeuMatC, Section 2.2, Algorithm 1).

    Minimises Eq. (3),

    .. math:: \sum_i \frac{\sum_{p \in S} \lVert \hat Y_i(p) - Y_i(p) \rVert^2}
              {\sum_{p \in S} \lVert Y_i(p) \rVert^2}
              + \frac{\lambda}{|C|} \sum_{p \in C} \rho(p)^2,

    over exact samples S and collocation points C, with ρ the operation's relative residual and
    norms of what is stored (a Hermitian matrix once, not twice, off its diagonal), by Adam in
    float32. Every N steps candidates are drawn uniformly from the domain; while more than
    the tolerated share of them has ρ > ε_r, the worst that failed become collocation points.
    (Where the paper ends refinement for good, the failures are looked at again here, and steps
    go on to the last one, so that runs compare at equal steps.)

    Without projection Adam moves the trunk and the latent tensors together: that is what was
    published. It needs other settings than the default: ``PLAIN_ADAM`` holds those that learned
    in our runs, with latent tensors three times as fast as the trunk.

    With projection, which is not in the paper, the latent tensors are the ridge solution of the
    first term at every step (variable projection; Golub and Pereyra, 1973). Held, they stand still
    in the gradient. For the first term, its ridge included, this still is the gradient as a
    function of θ alone; for the second it is not, and with a large λ or a rank near the number of
    samples steps may lead uphill, as the next projection undoes what they expect of the latent
    tensors.

    A residual tells the trunk that a point is wrong, but where latent tensors are projected out,
    not them. With corrections it does: steps of the operation that need A(p) but no exact result
    (Newton-Schulz, Rayleigh-Ritz) lower it from where the mapping is, and what they reach counts as
    a sample until the next refinement corrects it anew.

    Where results are known up to a gauge only, samples are aligned: along p in one dimension, in
    more along the minimum spanning tree of the samples from the one nearest the domain's centre.

    :param operation: what is learned
    :param family: A(p)
    :param samples: [S, d] where the exact result is computed, in float64; training runs on their
        device
    :param config: how it is learned
    :param callback: called after each refinement

    :return: the mapping and a report
    :raises ValueError: if samples have another shape or leave the domain, or if an exact result
        is not finite
    :raises RuntimeError: if the loss becomes infinite or NaN
    """
    started = time.perf_counter()
    training = _Training(operation, family, samples, config)
    report = Algorithm1Report(num_samples=len(samples))
    for step in range(1, config.steps + 1):
        loss, supervised = training.step()
        report.loss.append(loss)
        report.supervised.append(supervised)
        if not math.isfinite(loss):
            raise RuntimeError(f"The loss is not finite at step {step}: lower the learning rate.")
        if step % config.refine_every == 0 or step == config.steps:
            done = training.refine(step, loss)
            report.failure_probability.append(done.failure_probability)
            report.collocation.append(done.num_collocation)
            if callback is not None:
                callback(done)
    report.num_collocation = report.collocation[-1]
    report.seconds = time.perf_counter() - started
    return training.model.requires_grad_(False), report


class _Training:
    """A mapping, the points that it is trained at, and the optimiser that moves it."""

    def __init__(
        self, operation: Operation, family: Family, samples: Tensor, config: Algorithm1Config
    ) -> None:
        self._config = config
        self._generator = torch.Generator().manual_seed(config.seed)
        x = _checked(family, samples)
        order, exact = _exact_samples(operation, family, samples, x)
        self.model, self._sampled = _start(operation, family, exact, config, self._generator)
        self._sample_points = self.model.coordinate(samples[order])
        # Samples, and collocation points that corrections made as good as samples.
        self._points, self._targets = self._sample_points, self._sampled
        self._collocation = Collocation(operation, family, self.model)
        first = family.uniform(config.num_collocation, self._generator)
        self._collocation.add(first.to(samples.device))
        self.model.latents.requires_grad_(not config.projection)
        groups: list[dict[str, Any]] = [{"params": list(self.model.trunk.parameters())}]
        if not config.projection:
            rate = config.learning_rate * config.latent_rate
            groups.append({"params": list(self.model.latents), "lr": rate})
        self._optimiser = torch.optim.Adam(
            groups, lr=config.learning_rate, betas=(0.9, config.beta2)
        )
        # From 1 to a hundredth along a cosine, of each group's own rate.
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser,
            lambda step: 0.01 + 0.99 * (1 + math.cos(math.pi * step / config.steps)) / 2,
        )

    def step(self) -> tuple[float, float]:
        """Take a gradient step; Eq. (3) before it, and its first term."""
        config, model = self._config, self.model
        basis = model.trunk(self._points)
        latents = list(model.latents)
        if config.projection:
            phi = basis.detach() if config.held else basis
            latents = project_latents(phi, self._targets, config.ridge)
        errors = [
            (fitted - target).square().mean()
            for fitted, target in zip(model.rows(basis, latents), self._targets, strict=True)
        ]
        loss = supervised = torch.stack(errors).sum()
        if config.lam:
            loss = loss + config.lam * self._collocation.residual(latents).square().mean()
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        self._schedule.step()
        return loss.item(), supervised.item()

    def refine(self, step: int, loss: float) -> Refinement:
        """Choose new collocation points, and correct the results at all of them."""
        config, model = self._config, self.model
        if config.projection:
            with torch.no_grad():
                model.keep(project_latents(model.trunk(self._points), self._targets, config.ridge))
        done = self._added(step, loss)
        if config.corrections:
            new, rows = self._collocation.corrected(config.corrections, config.corrected)
            self._points = torch.cat([self._sample_points, new])
            self._targets = [torch.cat(pair) for pair in zip(self._sampled, rows, strict=True)]
        return done

    def _added(self, step: int, loss: float) -> Refinement:
        """Failure-informed adaptive sampling (NeuMatC, Section 2.2)."""
        config = self._config
        # Points added after the last step would teach nothing any more.
        over = step == config.steps
        if config.rounds is not None:
            over = over or step > config.rounds * config.refine_every
        candidates = self._collocation.uniform(config.candidates, self._generator)
        residual = self._collocation.residual_at(candidates)
        failed = residual > config.threshold
        probability = failed.double().mean().item()
        allowed = 0 if over or probability <= config.tolerance else config.added
        count = min(allowed, int(failed.sum()))
        # Candidates are in no order: the first ones are as random as any.
        worst = residual.topk(count).indices
        added = worst if config.adaptive else torch.arange(count, device=worst.device)
        if count:
            self._collocation.add(candidates[added])
        size = len(self._collocation)
        return Refinement(step, loss, probability, candidates, residual, added, size)


def _checked(family: Family, samples: Tensor) -> Tensor:
    """x of the samples, which have the right shape and lie in the domain."""
    x = family.coordinate(samples)
    if not len(x):
        raise ValueError("There are no samples to learn from.")
    # The ends of a grid rounded to single precision are no offence.
    if not bool((x.abs() <= 1 + 1e-6).all()):
        raise ValueError("Samples lie outside the family's domain.")
    return x


def _exact_samples(
    operation: Operation, family: Family, samples: Tensor, x: Tensor
) -> tuple[Tensor, Components]:
    """Exact components [S, ...] in one gauge, and the order of samples in which they stand."""
    order = torch.arange(len(x), device=x.device)
    if family.dimension == 1:
        order = x[:, 0].argsort(stable=True)
    exact = operation.exact(family(samples[order]))
    if not all(bool(torch.isfinite(c).all()) for c in exact):
        raise ValueError("An exact result is not finite: the matrix of a sample is singular.")
    if family.dimension == 1:
        return order, operation.align(exact)
    return order, align_along_tree(operation, exact, x)


def _start(
    operation: Operation,
    family: Family,
    exact: Components,
    config: Algorithm1Config,
    generator: torch.Generator,
) -> tuple[NeuMatC, list[Tensor]]:
    """An untrained mapping, and the samples [S, size] float32 in units of its scales."""
    shapes = operation.component_shapes(*family.shape)
    layouts = [
        Layout.of(shape, c, name in operation.hermitian)
        for name, shape, c in zip(operation.component_names, shapes, exact, strict=True)
    ]
    packed = [layout.pack(c) for layout, c in zip(layouts, exact, strict=True)]
    # A component that is zero at every sample stays in its own units.
    scales = [rows.square().mean().sqrt().item() or 1.0 for rows in packed]
    trunk = MLPTrunk(
        family.dimension,
        config.depth,
        config.width,
        config.rank,
        config.omega0,
        config.activation,
        generator,
    )
    model = NeuMatC(trunk, family.domain, layouts, scales, generator).to(exact[0].device)
    targets = [(rows / scale).float() for rows, scale in zip(packed, scales, strict=True)]
    return model, targets
