"""What solvers share that compute exactly at some points: samples, proofs, counts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from neumatc_mimo.mapping.compact import CompactMapping
from neumatc_mimo.operations import certified
from neumatc_mimo.operations.base import Components, Operation, Tolerance, batched, where_components
from neumatc_mimo.solvers.base import Answers, Channels, Counts, Solver

# A solver's own components of a tile of subcarriers, [num_items, tile, ...] each, before any proof.
Approximation = Callable[[slice], Components]


class ApproximateAnswers(Answers):
    """A solver's own components, proven, corrected or replaced as tiles are asked for.

    :param certify: None leaves them as they are; "link" and "call" are the same here, as nothing
        was proven in a training
    :param settled: [num_frequencies] grid points that need no proof and are in the counts already
    :param rows: [num_items, num_frequencies, m] factors of modulus one of the channels' rows that
        the estimate lacks, or None
    """

    def __init__(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None,
        tolerance: Tolerance | None,
        estimate: Approximation,
        settled: Tensor,
        counts: Counts,
        rows: Tensor | None = None,
    ) -> None:
        self._counts = counts
        self._rows = rows
        self._operation, self._channels, self._estimate = operation, channels, estimate
        self._tolerance = None if certify is None else tolerance or Tolerance()
        self._settled = settled

    @property
    def counts(self) -> Counts:
        return self._counts

    def tile(self, subcarriers: slice) -> Any:
        subcarriers = slice(*subcarriers.indices(len(self._settled))[:2])
        components = self._estimate(subcarriers)
        unsettled = (~self._settled[subcarriers]).nonzero()[:, 0]
        if self._tolerance is None:
            self._counts.queried += components[0].shape[0] * len(unsettled)
        elif len(unsettled):
            components = self._proven(components, subcarriers, unsettled, self._tolerance)
        noise = self._channels.noise(subcarriers=subcarriers)
        rows = None if self._rows is None else self._rows[:, subcarriers]
        return self._operation.answer(components, noise, rows)

    def _proven(
        self, components: Components, subcarriers: slice, which: Tensor, tolerance: Tolerance
    ) -> Components:
        """Components with certified ones at the points ``which`` of a tile."""
        noise = self._channels.noise(subcarriers=subcarriers)
        if isinstance(noise, Tensor) and noise.shape[1] > 1:
            noise = noise[:, which]
        a = self._channels.a[:, subcarriers].index_select(1, which)
        if self._rows is not None:
            a = a / self._rows[:, subcarriers].index_select(1, which)[..., None]
        certified_ones = certified.certify(
            self._operation,
            a,
            tuple(c.index_select(1, which) for c in components),
            noise,
            tolerance,
            self._counts,
        )
        return tuple(
            c.index_copy(1, which, part) for c, part in zip(components, certified_ones, strict=True)
        )


@dataclass(frozen=True)
class Sampled(Solver):
    """Base of the solvers that compute a few grid points exactly and fill in the others.

    :param num_samples: Number of grid points computed exactly, evenly spread, both ends included;
        all of them where the grid has fewer
    """

    prepares: ClassVar[bool] = True

    num_samples: int

    def __post_init__(self) -> None:
        check_positive(self, num_samples=self.num_samples)

    def start(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
    ) -> Answers:
        points = self._points(channels.frequencies).to(channels.a.device)
        samples = self._samples(operation, channels, points)
        settled = torch.zeros(channels.a.shape[1], dtype=torch.bool, device=points.device)
        settled[points] = True
        estimate = with_samples(
            self._interpolate(operation, channels, points, samples), points, samples
        )
        counts = Counts(exact=channels.a.shape[0] * len(points))
        return ApproximateAnswers(
            operation, channels, certify, tolerance, estimate, settled, counts
        )

    def _points(self, frequencies: Tensor) -> Tensor:
        """Ascending indices of the samples on the grid [num_frequencies]."""
        num = min(self.num_samples, len(frequencies))
        spread = torch.linspace(0, len(frequencies) - 1, num, dtype=torch.float64)
        return spread.round().long()

    def _samples(self, operation: Operation, channels: Channels, points: Tensor) -> Components:
        """Exact components at points [num_samples] in one gauge: [num_items, num_samples, ...]."""
        parts = [
            operation.exact(channels.a[:, where], noise_at(channels, where))
            for where in points.split(252)
        ]
        return operation.align(tuple(torch.cat(part, dim=1) for part in zip(*parts, strict=True)))

    @abstractmethod
    def _interpolate(
        self, operation: Operation, channels: Channels, points: Tensor, samples: Components
    ) -> Approximation:
        """Components between the samples.

        :param points: [num_samples] ascending indices of the samples on the grid
        :param samples: [num_items, num_samples, ...] each
        """


class Approximating(Solver):
    """Base of the solvers that estimate every grid point on its own, and compute none exactly."""

    def start(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
    ) -> Answers:
        settled = torch.zeros(channels.a.shape[1], dtype=torch.bool, device=channels.a.device)
        estimate = self._estimate(operation, channels)
        return ApproximateAnswers(
            operation, channels, certify, tolerance, estimate, settled, Counts()
        )

    @abstractmethod
    def _estimate(self, operation: Operation, channels: Channels) -> Approximation:
        """Components of any tile."""


class Inverting(Approximating):
    """Base of those among them that invert square matrices.

    :raises ValueError: in ``start``, if the operation's components are no inverses
    """

    def _estimate(self, operation: Operation, channels: Channels) -> Approximation:
        square = SquareInverses(self, operation)

        def estimate(subcarriers: slice) -> Components:
            a = channels.a[:, subcarriers].contiguous()
            b = square.matrices(a, channels.noise(subcarriers=subcarriers))
            return square.components(a, self._inverse(b))

        return estimate

    @abstractmethod
    def _inverse(self, b: Tensor) -> Tensor:
        """Inverses of b [..., n, n]."""


class Path:
    """Components along the grid, found one point after the other, all items at once.

    :param components: [num_items, num_frequencies, ...] each, valid up to the last point put
    :param memory: what else a solver carries from point to point
    :param tolerance: What a proof has to reach; None takes estimates as they are
    :param max_residual: Without proof, the residual above which an estimate is not taken
    """

    def __init__(
        self,
        operation: Operation,
        channels: Channels,
        tolerance: Tolerance | None,
        max_residual: float,
    ) -> None:
        self.counts = Counts()
        self.operation, self.channels = operation, channels
        self.components: Components = ()
        self.memory: dict[Any, Any] = {}
        self._tolerance, self._max_residual = tolerance, max_residual

    def matrix(self, k: int) -> tuple[Tensor, Tensor | float]:
        """A at point k, [num_items, 1, m, n], and the noise power there."""
        point = slice(k, k + 1)
        return self.channels.a[:, point], self.channels.noise(subcarriers=point)

    def at(self, k: int) -> Components:
        """The components at point k, [num_items, 1, ...]."""
        return tuple(c[:, k : k + 1] for c in self.components)

    def put(self, k: int, estimate: Components | None) -> None:
        """Take an estimate at point k, proven or replaced where it fails; None asks for exact."""
        a, no = self.matrix(k)
        operation, counts = self.operation, self.counts
        if estimate is None:
            found = operation.exact(a, no)
            if k:
                found = operation.align_to(found, self.at(k - 1))
            counts.exact += a.shape[0]
        else:
            # A diverged estimate has no phases and no order, which a replacement is to take over.
            usable = torch.stack([torch.isfinite(c.flatten(2)).all(-1) for c in estimate]).all(0)
            found = where_components(usable, estimate, self.at(k - 1))
            if self._tolerance is not None:
                found = certified.certify(operation, a, found, no, self._tolerance, counts)
            else:
                failed = torch.zeros_like(usable)
                if self._max_residual < torch.inf:
                    failed = ~(operation.residual(a, found, no) <= self._max_residual)
                counts.exact += int(failed.sum())
                counts.queried += failed.numel() - int(failed.sum())
                found = certified.repair(operation, a, found, no, torch.zeros_like(failed), failed)
        if not self.components:
            num = self.channels.a.shape[1]
            self.components = tuple(c.new_empty(c.shape[0], num, *c.shape[2:]) for c in found)
        for store, value in zip(self.components, found, strict=True):
            store[:, k : k + 1] = value


@dataclass(frozen=True)
class Marching(Solver):
    """Base of the solvers that follow the result along the grid, each point from those before.

    Proofs are part of the march: what fails is replaced at once, so that it spoils no later point.

    :param max_residual: Without proofs, the residual above which a point is computed exactly; these
        iterations converge from nearby only, so infinity lets one bad point spoil all later ones
    """

    max_residual: float = field(default=0.1, kw_only=True)

    def start(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
    ) -> Answers:
        wanted = None if certify is None else tolerance or Tolerance()
        self._check(operation)
        path = Path(operation, channels, wanted, self.max_residual)
        num_points = channels.a.shape[1]
        for k in range(num_points):
            path.put(k, self._next(path, k))
        # The gauge runs from the first point on so far; branches are numbered from the centre.
        estimate = sliced(operation.align(path.components))
        settled = torch.ones(num_points, dtype=torch.bool, device=channels.a.device)
        return ApproximateAnswers(
            operation, channels, certify, tolerance, estimate, settled, path.counts
        )

    def _check(self, operation: Operation) -> None:
        """Refuse operations that the solver cannot follow."""

    @abstractmethod
    def _next(self, path: Path, k: int) -> Components | None:
        """Components at point k [num_items, 1, ...] from the points before; None for exact ones."""


def with_samples(estimate: Approximation, points: Tensor, samples: Components) -> Approximation:
    """An estimate, and the samples themselves where they are.

    :param points: [num_samples] ascending grid points of the samples
    :param samples: [num_items, num_samples, ...] each
    """

    def estimate_with_samples(subcarriers: slice) -> Components:
        components = estimate(subcarriers)
        first, last = torch.searchsorted(
            points, points.new_tensor([subcarriers.start, subcarriers.stop])
        )
        where = points[first:last] - subcarriers.start
        # In place: estimates are new tensors, or hold these very samples after the first time.
        for c, sample in zip(components, samples, strict=True):
            c.index_copy_(1, where, sample[:, first:last])
        return components

    return estimate_with_samples


def mapped(mapping: CompactMapping, channels: Channels) -> Approximation:
    """The estimate that evaluates a mapping of the items, in the precision of the channels."""
    real, device = channels.a.real.dtype, channels.a.device
    mapping = mapping.to(real)
    table = mapping.trunk.basis.table(mapping.coordinate(channels.frequencies.to(device)), real)
    folded = mapping.at(torch.zeros(mapping.num_links, dtype=torch.float64, device=device))
    return lambda subcarriers: mapping.evaluate(table, subcarriers, folded)


def sliced(components: Components) -> Approximation:
    """The estimate that reads components known on the whole grid."""
    return lambda subcarriers: tuple(c[:, subcarriers] for c in components)


class SquareInverses:
    r"""The square matrices whose inverses make up an operation's components.

    The component ``w`` alone is the inverse of A itself. With ``w`` and ``x`` (see
    :class:`~neumatc_mimo.operations.pseudo_inverse.PseudoInverse`) the matrices are
    :math:`A A^H` and :math:`A A^H + \sigma^2 I`, one and the same without noise, and
    :math:`w = A^H (A A^H)^{-1}`.

    :raises ValueError: if the components are others
    """

    def __init__(self, solver: Solver, operation: Operation) -> None:
        require(solver, operation, ("w",), ("w", "x"))
        self._plain = operation.component_names == ("w",)

    def matrices(self, a: Tensor, no: Tensor | float) -> Tensor:
        """[1 or 2, ..., m, m] of a [..., m, n]."""
        if self._plain:
            return a[None]
        gram = a @ a.mH
        if not isinstance(no, Tensor):
            return gram[None]
        eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
        return torch.stack([gram, gram + batched(no, a) * eye])

    def components(self, a: Tensor, inverses: Tensor) -> Components:
        """Components of a [..., m, n] from the inverses [1 or 2, ..., m, m]."""
        if self._plain:
            return (inverses[0],)
        return a.mH @ inverses[0], inverses[-1]

    def inverses(self, components: Components, no: Tensor | float) -> Tensor:
        """[1 or 2, ..., m, m] from exact components."""
        if self._plain:
            return components[0][None]
        w, x = components
        return torch.stack([w.mH @ w, x]) if isinstance(no, Tensor) else x[None]


def require(solver: Solver, operation: Operation, *accepted: tuple[str, ...]) -> None:
    """Refuse an operation whose components are none of the accepted ones.

    :raises ValueError: saying which components the solver computes
    """
    if operation.component_names not in accepted:
        known = " or ".join(f"({', '.join(names)})" for names in accepted)
        raise ValueError(
            f"{type(solver).__name__} computes the components {known}, not "
            f"({', '.join(operation.component_names)}); take another solver."
        )


def num_triplets(solver: Solver, operation: Operation, channels: Channels) -> int:
    """Number of triplets that an operation asks of an SVD.

    :raises ValueError: if its components are no triplets, or more than the matrices have
    """
    require(solver, operation, ("u", "s", "v"))
    m, n = channels.a.shape[-2:]
    (num,) = operation.component_shapes(m, n)[1]
    if num > min(m, n):
        raise ValueError(f"{num} triplets are more than a matrix of {m} x {n} has.")
    return num


def check_positive(solver: Solver, **arguments: float) -> None:
    """Refuse arguments below one: numbers of samples, steps and so on."""
    for name, value in arguments.items():
        if value < 1:
            raise ValueError(
                f"{name} of {type(solver).__name__} is {value}, at least one is needed."
            )


def noise_at(channels: Channels, points: Tensor) -> Tensor | float:
    """The noise power at some grid points, broadcastable to [num_items, num_points]."""
    if channels.no is None:
        return 0.0
    return channels.no[:, None] if channels.no.dim() == 1 else channels.no[:, points]
