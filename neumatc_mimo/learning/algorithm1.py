"""NeuMatC as published: an MLP trunk trained by gradient steps, with adaptive sampling."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from neumatc_mimo.families.base import Family
from neumatc_mimo.foundation.coordinate import coordinate
from neumatc_mimo.mapping.compact import Layout
from neumatc_mimo.operations.base import Components, Operation

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sine": torch.sin,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "gelu": nn.functional.gelu,
    "sigmoid": torch.sigmoid,
}


class MLPTrunk(nn.Module):
    r"""φ(x; θ), a multilayer perceptron with a linear last layer (NeuMatC, Section 2.1).

    Hidden layers are sin(ω₀ (W h + b)), initialised as SIREN: W uniform within 1/d in the first
    layer and within √(6/width)/ω₀ in the others (Sitzmann et al., 2020), so that ω₀ is the highest
    angular frequency of the first layer over x. Other activations, for comparison, take W h + b
    itself, W and b uniform within 1/√fan-in. With sines the functions φ have about unit
    variance at first.

    :param dimension: d
    :param depth: number of hidden layers
    :param width: functions of each
    :param rank: number r of functions
    :param omega0: ω₀ of the sines
    :param activation: "sine", "tanh", "relu", "gelu" or "sigmoid"
    :param generator: source of θ; None for PyTorch's own

    :raises ValueError: if a number is out of its range or the activation unknown
    """

    def __init__(
        self,
        dimension: int,
        depth: int,
        width: int,
        rank: int,
        omega0: float = 5.0,
        activation: str = "sine",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        _check_positive(dimension=dimension, depth=depth, width=width, rank=rank, omega0=omega0)
        if activation not in _ACTIVATIONS:
            raise ValueError(
                f'There is no activation "{activation}", known are {", ".join(_ACTIVATIONS)}.'
            )
        self.omega0 = omega0
        self.activation = activation
        sizes = [dimension] + [width] * depth
        self.hidden = nn.ModuleList(
            nn.utils.skip_init(nn.Linear, fan_in, fan_out)
            for fan_in, fan_out in itertools.pairwise(sizes)
        )
        self.readout: nn.Linear = nn.utils.skip_init(nn.Linear, width, rank)
        for number, layer in enumerate([*self.hidden, self.readout]):
            bound = 1 / math.sqrt(layer.in_features)
            scale = bound
            if layer is self.readout:
                scale *= math.sqrt(6)
            elif activation == "sine":
                scale = 1 / dimension if number == 0 else scale * math.sqrt(6) / omega0
            with torch.no_grad():
                layer.weight.uniform_(-scale, scale, generator=generator)
                layer.bias.uniform_(-bound, bound, generator=generator)

    @property
    def rank(self) -> int:
        """Number r of functions."""
        return self.readout.out_features

    def forward(self, x: Tensor) -> Tensor:
        """φ at x [B, d] in [-1, 1]^d, float32: [B, rank]."""
        activate = _ACTIVATIONS[self.activation]
        gain = self.omega0 if self.activation == "sine" else 1.0
        for layer in self.hidden:
            x = activate(gain * layer(x))
        return self.readout(x)


class NeuMatC(nn.Module):
    r"""Ŷ_i(p) = C_i ×₃ φ(p; θ) for every component i (NeuMatC, Eq. (1)), over any domain.

    A complex component stands in twice as many real numbers, see
    :class:`~neumatc_mimo.mapping.compact.Layout`. Latent tensors are kept in units of the
    component's root-mean-square entry, so that one learning rate suits all of them.

    :param trunk: φ
    :param domain: [d, 2] bounds of p in its own units
    :param layouts: how each component is stored
    :param scales: what each component is divided by
    :param generator: source of the first latent tensors; None for PyTorch's own
    """

    domain: Tensor

    def __init__(
        self,
        trunk: MLPTrunk,
        domain: Tensor,
        layouts: Sequence[Layout],
        scales: Sequence[float],
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.layouts = tuple(layouts)
        self.scales = tuple(scales)
        self.register_buffer("domain", domain.to(torch.float64))
        # Close to zero: what random latent tensors of the results' size add would first have to be
        # unlearned, which takes plain Adam longer than all the rest.
        deviation = 0.01 / math.sqrt(trunk.rank)
        self.latents = nn.ParameterList(
            deviation * torch.randn(trunk.rank, layout.size, generator=generator)
            for layout in layouts
        )

    def coordinate(self, p: Tensor) -> Tensor:
        """p [B, d] in its own units as x in [-1, 1]^d, float32.

        :raises ValueError: if p has another shape
        """
        if p.ndim != 2 or p.shape[1] != len(self.domain):
            raise ValueError(
                f"Parameters are [batch, {len(self.domain)}] here, not {list(p.shape)}."
            )
        low, high = self.domain.unbind(-1)
        # Positions in the domain, not p itself, are small enough for single precision.
        return coordinate(p.to(low), (low, high)).float()

    def rows(self, basis: Tensor, latents: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Components in real rows [B, size] in units of their scales, from φ [B, rank].

        :param latents: others than the mapping's own
        """
        return [basis @ latent for latent in (self.latents if latents is None else latents)]

    def components(self, rows: Sequence[Tensor]) -> Components:
        """Components [B, *shape] in their own units, from the rows of :meth:`rows`."""
        return tuple(
            layout.unpack(scale * part)
            for layout, scale, part in zip(self.layouts, self.scales, rows, strict=True)
        )

    def forward(self, p: Tensor) -> Components:
        """Components at p [B, d] in the domain's own units: [B, *shape] float32 or complex64."""
        return self.components(self.rows(self.trunk(self.coordinate(p))))

    @torch.no_grad()
    def keep(self, latents: Sequence[Tensor]) -> None:
        """Take other latent tensors, [rank, size] for every component."""
        for own, latent in zip(self.latents, latents, strict=True):
            own.copy_(latent)


def project(basis: Tensor, targets: Sequence[Tensor], ridge: float) -> list[Tensor]:
    r"""Latent tensors that suit a trunk best, by Cholesky of the normal equations in float64.

    .. math:: C = \arg\min_C \tfrac{1}{S} \lVert \Phi C - Y \rVert^2 + \varrho \lVert C \rVert^2

    :param basis: Φ, [S, rank]
    :param targets: Y, [S, size] for every component, in units of its scale
    :param ridge: ϱ

    :return: C, [rank, size] float32 for every component, differentiable
    """
    phi = basis.double()
    normal = phi.mT @ phi / len(phi)
    normal = normal + ridge * torch.eye(len(normal), dtype=normal.dtype, device=normal.device)
    moments = phi.mT @ torch.cat(list(targets), dim=-1).double() / len(phi)
    latents = torch.cholesky_solve(moments, torch.linalg.cholesky(normal)).float()
    return list(latents.split([target.shape[-1] for target in targets], dim=-1))


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
        on; 0 for none, as published
    :param corrected: residual up to which they do
    :param projection: whether latent tensors are projected out, else Adam moves them too
    :param held: whether projected latent tensors stand still in the gradient, else it goes through
        the projection
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
        _check_positive(
            depth=self.depth,
            width=self.width,
            rank=self.rank,
            omega0=self.omega0,
            steps=self.steps,
            learning_rate=self.learning_rate,
            num_collocation=self.num_collocation,
            refine_every=self.refine_every,
            candidates=self.candidates,
            threshold=self.threshold,
            corrected=self.corrected,
            # Without a ridge the normal equations are singular as soon as r exceeds the samples.
            ridge=self.ridge,
        )
        if self.activation not in _ACTIVATIONS:
            raise ValueError(
                f'There is no activation "{self.activation}", known are {", ".join(_ACTIVATIONS)}.'
            )
        if not self.lam >= 0:
            raise ValueError(f"lam is {self.lam}, the weight of the residual is not negative.")
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


@dataclass(frozen=True)
class Refinement:
    """One look at the candidates.

    :param step: gradient steps done
    :param loss: Eq. (3) at the last of them
    :param failure_probability: share of the candidates whose residual exceeds the threshold
    :param candidates: [candidates, d] in the domain's own units
    :param residual: [candidates]
    :param added: indices of the candidates that became collocation points
    :param num_collocation: collocation points from now on
    """

    step: int
    loss: float
    failure_probability: float
    candidates: Tensor
    residual: Tensor
    added: Tensor
    num_collocation: int


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
    r"""Learn an operation on a parametric matrix as published (NeuMatC, Section 2.2, Algorithm 1).

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

    With projection the latent tensors are the ridge solution of the first term at every step
    (variable projection; Golub and Pereyra, 1973). Held, they stand still in the gradient. For the
    first term, its ridge included, this still is the gradient as a function of θ alone; for the
    second it is not, and with a large λ or a rank near the number of samples steps may lead
    uphill, as the next projection undoes what they expect of the latent tensors.

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
    device = samples.device
    generator = torch.Generator().manual_seed(config.seed)
    x = _checked(family, samples)
    order, exact = _exact_samples(operation, family, samples, x)
    model, sampled = _start(operation, family, exact, config, generator)
    sample_points = model.coordinate(samples[order])
    points, targets = sample_points, sampled
    collocation = _Collocation(operation, family, model)
    collocation.add(family.uniform(config.num_collocation, generator).to(device))

    model.latents.requires_grad_(not config.projection)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(learned, lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimiser, config.steps, eta_min=config.learning_rate / 100
    )
    report = Algorithm1Report(num_samples=len(samples))
    for step in range(1, config.steps + 1):
        basis = model.trunk(points)
        latents = list(model.latents)
        if config.projection:
            latents = project(basis.detach() if config.held else basis, targets, config.ridge)
        supervised = torch.stack(
            [
                (fitted - target).square().mean()
                for fitted, target in zip(model.rows(basis, latents), targets, strict=True)
            ]
        ).sum()
        loss = supervised
        if config.lam:
            loss = loss + config.lam * collocation.residual(latents).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        report.loss.append(loss.item())
        report.supervised.append(supervised.item())
        if not math.isfinite(report.loss[-1]):
            raise RuntimeError(f"The loss is not finite at step {step}: lower the learning rate.")
        if step % config.refine_every == 0 or step == config.steps:
            if config.projection:
                with torch.no_grad():
                    model.keep(project(model.trunk(points), targets, config.ridge))
            # Points added after the last step would teach nothing any more.
            over = step == config.steps
            if config.rounds is not None:
                over = over or step > config.rounds * config.refine_every
            allowed = 0 if over else config.added
            done = _refine(collocation, config, allowed, generator, step, report.loss[-1])
            if config.corrections:
                new, rows = collocation.corrected(config.corrections, config.corrected)
                points = torch.cat([sample_points, new])
                targets = [torch.cat(pair) for pair in zip(sampled, rows, strict=True)]
            report.failure_probability.append(done.failure_probability)
            report.collocation.append(done.num_collocation)
            if callback is not None:
                callback(done)
    model.requires_grad_(False)
    report.num_collocation = report.collocation[-1]
    report.seconds = time.perf_counter() - started
    return model, report


class _Collocation:
    """Points where only the residual is known, with their matrices in single precision."""

    def __init__(self, operation: Operation, family: Family, model: NeuMatC) -> None:
        self._operation = operation
        self._family = family
        self._model = model
        self._points = torch.empty(0, device=model.domain.device)
        self._matrices = torch.empty(0, device=model.domain.device)

    def __len__(self) -> int:
        return len(self._points)

    def add(self, p: Tensor) -> None:
        """Take points [B, d] in."""
        points, matrices = self._model.coordinate(p), self._single(p)
        empty = len(self) == 0
        self._points = points if empty else torch.cat([self._points, points])
        self._matrices = matrices if empty else torch.cat([self._matrices, matrices])

    def residual(self, latents: Sequence[Tensor]) -> Tensor:
        """The residual at every point with these latent tensors, differentiable, [len]."""
        return self._residual(self._points, self._matrices, latents)

    @torch.no_grad()
    def residual_at(self, p: Tensor) -> Tensor:
        """The residual at other points [B, d]: [B]; infinite where it is no number."""
        residual = self._residual(self._model.coordinate(p), self._single(p))
        return torch.nan_to_num(residual, nan=math.inf)

    @torch.no_grad()
    def corrected(self, steps: int, most: float) -> tuple[Tensor, list[Tensor]]:
        """Points whose residual correcting brings to ``most`` at most, in rows as targets are."""
        operation, model = self._operation, self._model
        components = model.components(model.rows(model.trunk(self._points)))
        for _ in range(steps):
            components = operation.correct(self._matrices, components)
        good = operation.residual(self._matrices, components) <= most
        rows = [
            (layout.pack(c[good]) / scale).float()
            for layout, scale, c in zip(model.layouts, model.scales, components, strict=True)
        ]
        return self._points[good], rows

    def uniform(self, num: int, generator: torch.Generator) -> Tensor:
        """Points drawn from the domain, [num, d]."""
        return self._family.uniform(num, generator).to(self._points.device)

    def _single(self, p: Tensor) -> Tensor:
        a = self._family(p)
        return a.to(torch.complex64 if a.is_complex() else torch.float32)

    def _residual(
        self, points: Tensor, matrices: Tensor, latents: Sequence[Tensor] | None = None
    ) -> Tensor:
        model = self._model
        components = model.components(model.rows(model.trunk(points), latents))
        return self._operation.residual(matrices, components)


def _refine(
    collocation: _Collocation,
    config: Algorithm1Config,
    allowed: int,
    generator: torch.Generator,
    step: int,
    loss: float,
) -> Refinement:
    """Failure-informed adaptive sampling (NeuMatC, Section 2.2), at most ``allowed`` new points."""
    candidates = collocation.uniform(config.candidates, generator)
    residual = collocation.residual_at(candidates)
    failed = residual > config.threshold
    probability = failed.double().mean().item()
    count = min(allowed, int(failed.sum())) if probability > config.tolerance else 0
    # Candidates are in no order: the first ones are as random as any.
    worst = residual.topk(count).indices
    added = worst if config.adaptive else torch.arange(count, device=worst.device)
    if count:
        collocation.add(candidates[added])
    return Refinement(step, loss, probability, candidates, residual, added, len(collocation))


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
    return order, _align_along_tree(operation, exact, x)


def _align_along_tree(operation: Operation, components: Components, x: Tensor) -> Components:
    """Components [S, ...] in one gauge along the minimum spanning tree of their points x [S, d]."""
    root, levels = _spanning_tree(x)
    aligned = tuple(c.clone() for c in components)
    first = operation.align(tuple(c[root : root + 1] for c in components))
    for c, one in zip(aligned, first, strict=True):
        c[root : root + 1] = one
    for children, parents in levels:
        reference = tuple(c[parents] for c in aligned)
        turned = operation.align_to(tuple(c[children] for c in components), reference)
        for c, part in zip(aligned, turned, strict=True):
            c[children] = part
    return aligned


def _spanning_tree(x: Tensor) -> tuple[int, list[tuple[Tensor, Tensor]]]:
    """Minimum spanning tree of points x [S, d], rooted at the one nearest the origin (Prim).

    :return: root; children and their parents, level by level
    """
    root = int(torch.linalg.vector_norm(x, dim=-1).argmin())
    distance = torch.linalg.vector_norm(x - x[root], dim=-1)
    parent = torch.full((len(x),), root, device=x.device)
    depth = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    outside = torch.ones(len(x), dtype=torch.bool, device=x.device)
    outside[root] = False
    for _ in range(len(x) - 1):
        new = int(torch.where(outside, distance, math.inf).argmin())
        outside[new] = False
        depth[new] = depth[parent[new]] + 1
        through = torch.linalg.vector_norm(x - x[new], dim=-1)
        closer = outside & (through < distance)
        distance = torch.where(closer, through, distance)
        parent = torch.where(closer, new, parent)
    numbers = range(1, int(depth.max()) + 1)
    levels = [(depth == number).nonzero()[:, 0] for number in numbers]
    return root, [(children, parent[children]) for children in levels]


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


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} is {value}, it has to be positive.")
