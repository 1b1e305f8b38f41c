"""Projections of a set of points on the functions of a trunk, one after the other as a fit asks."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from neumatc_mimo.kernels.lanes import local
from neumatc_mimo.learning.banded import bandwidth
from neumatc_mimo.learning.projection import Design, project
from neumatc_mimo.mapping.basis import Basis, SplineBasis
from neumatc_mimo.mapping.basis.splines import SplinePart

# As SplineBasis weighs it.
_ROUGHNESS = 1e-8


class Projected(NamedTuple):
    """Targets projected on functions.

    :param readout: of the trunk, [num_links, width, rank], or None where that is the width
    :param latent: [num_links, rank, n]
    :param fitted: what they give at the points, [num_links, N, n], of the targets' precision
    """

    readout: Tensor | None
    latent: Tensor
    fitted: Tensor


class Projector(Protocol):
    """Projects targets [num_links, N, n], float32, of which weights [num_links, N], float64, leave
    some out, as :func:`~neumatc_mimo.learning.projection.project` does.
    """

    def __call__(self, targets: Tensor, weights: Tensor) -> Projected:
        """The projection."""


def projector(basis: Basis, x: Tensor, rank: int) -> Projector:
    """The fastest way to project values at the points x [N] of a basis to a rank."""
    table = basis.table(x)
    if rank >= basis.width and table.is_local and local.solves(x):
        even = isinstance(basis, SplineBasis)
        return Local(*table.terms(), _roughness(basis.width) if even else _diagonals(basis))
    return _General(Design.of(basis.values(x)), rank, basis.penalty())


def local_projector(part: SplinePart, x: Tensor) -> Projector:
    """Likewise for splines on uneven knots, of which all are kept.

    :param part: their values at the points
    """
    columns, values = part.columns, part.values
    if local.solves(x):
        return Local(columns, values, _roughness(part.num_functions))
    dense = values.new_zeros(len(values), part.num_functions).scatter_(1, columns, values)
    bands = _roughness(part.num_functions)
    penalty = sum(torch.diag(row[: len(row) - i], -i) for i, row in enumerate(bands))
    assert isinstance(penalty, Tensor)
    penalty = penalty + penalty.tril(-1).mT
    return _General(Design.of(dense), part.num_functions, penalty)


def _roughness(num: int) -> Tensor:
    """Diagonals of the penalty of squared fourth differences, as :func:`_diagonals` has them."""
    stencil = [1, -4, 6, -4, 1]
    diagonals = torch.zeros(len(stencil), num, dtype=torch.float64)
    rows = num - len(stencil) + 1
    for i, one in enumerate(stencil):
        for j, other in enumerate(stencil[: i + 1]):
            diagonals[i - j, j : j + rows] += one * other
    return _ROUGHNESS * diagonals


@dataclass(frozen=True)
class _General:
    """Any functions, any rank.

    :param design: the functions at the points
    :param rank: r
    :param penalty: [width, width]
    """

    design: Design
    rank: int
    penalty: Tensor

    def __call__(self, targets: Tensor, weights: Tensor) -> Projected:
        readout, latent = project(self.design, targets.double(), weights, self.rank, self.penalty)
        coefficients = latent if readout is None else readout @ latent
        return Projected(readout, latent, self.design.fitted(coefficients).to(targets))


@dataclass(frozen=True)
class Local:
    """Functions few of which differ from zero at each point, without a readout.

    :param columns: consecutive functions that differ from zero at each point, [N, w]
    :param values: of these, [N, w]
    :param penalty: its diagonals, [band + 1, width], the main one first
    """

    columns: Tensor
    values: Tensor
    penalty: Tensor

    def __call__(self, targets: Tensor, weights: Tensor) -> Projected:
        if bool((weights == weights[:1]).all()):
            weights = weights[:1]  # one factor for all links
        factor = torch.stack([self._factor(one) for one in weights])
        found = local.least_squares(self.columns[:, 0], self.values, weights, factor, targets)
        return Projected(None, *found)

    def _factor(self, weights: Tensor) -> Tensor:
        """The Cholesky factor of the normal matrix, as kernels read it, [width, band + 1]."""
        width, taps = self.penalty.shape[1], self.values.shape[1]
        band = max(len(self.penalty), taps) - 1
        # [band + 1, width]: what is so many places below the diagonal, by columns.
        normal = torch.zeros(band + 1, width, dtype=torch.float64)
        for below in range(taps):
            products = weights[:, None] * self.values[:, below:] * self.values[:, : taps - below]
            index = self.columns[:, : taps - below].flatten()
            normal[below].index_add_(0, index, products.flatten())
        normal[: len(self.penalty)] += normal[0].mean() * self.penalty
        try:
            lower = scipy.linalg.cholesky_banded(normal.numpy(), lower=True, check_finite=False)
        except np.linalg.LinAlgError as error:
            raise torch.linalg.LinAlgError(str(error)) from None  # type: ignore[attr-defined]
        rows = torch.zeros(width, band + 1, dtype=torch.float64)
        for below in range(1, band + 1):
            rows[below:, band - below] = torch.from_numpy(lower[below, : width - below])
        rows[:, band] = torch.from_numpy(1 / lower[0])
        return rows


# All links of a training have the same basis.
@functools.lru_cache(maxsize=8)
def _diagonals(basis: Basis) -> Tensor:
    """Diagonals of the penalty, what is so many places below the main one in each row."""
    penalty = basis.penalty()
    diagonals = torch.zeros(bandwidth(penalty[None]) + 1, len(penalty), dtype=torch.float64)
    for below, row in enumerate(diagonals):
        row[: len(penalty) - below] = penalty.diagonal(-below)
    return diagonals
