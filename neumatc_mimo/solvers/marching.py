"""Solvers that follow the result along the grid, each point from those before."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from neumatc_mimo.operations import certified
from neumatc_mimo.operations.base import Components, Operation, Tolerance, where_components
from neumatc_mimo.solvers.approximate_answers import ApproximateAnswers
from neumatc_mimo.solvers.approximation import sliced
from neumatc_mimo.solvers.base import Answers, Channels, Counts, Solver
from neumatc_mimo.tensors.autocast import full_precision


@dataclass(frozen=True)
class Marching(Solver):
    """Base of the solvers that follow the result along the grid, each point from those before.

    Proofs are part of the march: what fails is replaced at once, so that it spoils no later point.

    :param max_residual: Without proofs, the residual above which a point is computed exactly; these
        iterations converge from nearby only, so infinity lets one bad point spoil all later ones
    """

    max_residual: float = field(default=0.1, kw_only=True)

    @full_precision()
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
        approximation = sliced(operation.align(path.components))
        settled = torch.ones(num_points, dtype=torch.bool, device=channels.a.device)
        return ApproximateAnswers(
            operation, channels, certify, tolerance, approximation, settled, path.counts
        )

    def _check(self, operation: Operation) -> None:
        """Refuse operations that the solver cannot follow."""

    @abstractmethod
    def _next(self, path: Path, k: int) -> Components | None:
        """Components at point k [num_items, 1, ...] from the points before; None for exact ones."""


class Path:
    """Components along the grid, found one point after the other, all items at once.

    :param components: [num_items, num_frequencies, ...] each, valid up to the last point put
    :param memory: what else a solver carries from point to point
    :param tolerance: What a proof has to reach; None takes approximations as they are
    :param max_residual: Without proof, the residual above which an approximation is not taken
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

    def put(self, k: int, approximation: Components | None) -> None:
        """Take an approximation at point k, proven or replaced where it fails; exact with None."""
        a, no = self.matrix(k)
        operation, counts = self.operation, self.counts
        if approximation is None:
            found = operation.exact(a, no)
            if k:
                found = operation.align_to(found, self.at(k - 1))
            counts.exact += a.shape[0]
        else:
            # What has diverged has no phases and no order, which a replacement is to take over.
            finite = [torch.isfinite(c.flatten(2)).all(-1) for c in approximation]
            usable = torch.stack(finite).all(0)
            found = where_components(usable, approximation, self.at(k - 1))
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
