"""Sparse systems A(p) x(p) = b that depend on a parameter through a few coefficients."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import splu

Array = NDArray[np.float64]


class AffineSystem:
    r"""Systems :math:`A(p) x = b` with :math:`A(p) = \sum_q \vartheta_q(p) A_q` and b without p.

    :param parts: A_q, sparse, [n, n] each
    :param coefficients: ϑ, p [B] to [B, number of parts]
    :param b: [n]
    :param domain: lowest and highest p

    :raises ValueError: if shapes do not fit together, or b is zero or not finite
    """

    def __init__(
        self,
        parts: Sequence[Any],
        coefficients: Callable[[Array], Array],
        b: ArrayLike,
        domain: tuple[float, float],
    ) -> None:
        self.b: Array = np.asarray(b, dtype=np.float64)
        if self.b.ndim != 1 or any(part.shape != (len(self.b),) * 2 for part in parts):
            raise ValueError(
                f"A right-hand side of {self.b.shape} does not suit matrices of "
                f"{', '.join(str(part.shape) for part in parts)}."
            )
        if not np.isfinite(self.b).all() or not self.b.any():
            raise ValueError("The right-hand side is zero or not finite.")
        self.parts = tuple(sp.csr_array(part, dtype=np.float64, copy=True) for part in parts)
        for part in self.parts:
            part.eliminate_zeros()  # the common pattern has no place for them
        self.coefficients = coefficients
        self.domain = domain
        # All parts on one pattern: a matrix then is a product of coefficients with their entries.
        self._pattern = sp.csr_array(sum(abs(part) for part in self.parts))
        self._pattern.sort_indices()
        self._entries = np.stack([_entries_on(self._pattern, part) for part in self.parts])

    @property
    def size(self) -> int:
        """Number n of unknowns."""
        return len(self.b)

    def matrix(self, p: float) -> sp.csr_array:
        """A(p), [n, n]."""
        (row,) = self.coefficients(np.array([p], dtype=np.float64))
        pattern = self._pattern
        return sp.csr_array((row @ self._entries, pattern.indices, pattern.indptr), pattern.shape)

    def exact(self, p: ArrayLike) -> Array:
        """x at p [B] by a sparse LU factorisation each: [B, n]."""
        values = np.asarray(p, dtype=np.float64)
        solutions = np.empty((len(values), self.size))
        for x, one in zip(solutions, values, strict=True):
            x[:] = solved(self.matrix(one), self.b)
        return solutions

    def residual(self, p: ArrayLike, x: ArrayLike) -> Array:
        """‖A(p) x − b‖ / ‖b‖ at p [B] for x [B, n]: [B]. No matrix is formed."""
        solutions = np.asarray(x, dtype=np.float64)
        weights = self.coefficients(np.asarray(p, dtype=np.float64))
        defect = -np.broadcast_to(self.b, solutions.shape)
        for part, weight in zip(self.parts, weights.T, strict=True):
            defect = defect + weight[:, None] * (part @ solutions.T).T
        return np.linalg.norm(defect, axis=1) / np.linalg.norm(self.b)


def solved(matrix: Any, b: Array) -> Array:
    """The solution of a sparse system by LU factorisation (SuperLU), [n]."""
    # The pattern is symmetric where diffusion is: minimum degree fills least there.
    return splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A").solve(b)


class AdvectionDiffusionReaction(AffineSystem):
    r"""Advection in the direction p, diffusion and reaction on the unit square (NeuMatC, Eq. (11)).

    .. math:: -\nu \Delta u + v (\cos p, \sin p) \cdot \nabla u + c u = f, \qquad
              u = 0 \text{ on the boundary},

    by central differences of second order on num × num inner points (Eq. (12)),

    .. math:: A(p) = \nu A_\text{diff} + \cos p \, A_{\text{adv},x} + \sin p \, A_{\text{adv},y}
              + A_\text{reac},

    unknowns row by row, x running fastest. The paper's constants are lost. With those here the
    Péclet number is v / ν = 100 over the square, clearly advection, and v h / (2 ν) = 0.5 over a
    mesh of 100 × 100: below one, so that central differences do not oscillate. p goes around the
    full circle.

    :param num: inner points a side; n is its square
    :param diffusion: ν
    :param speed: v
    :param reaction: c
    :param source: f of x and y [num, num] each; None for a bump off the centre,
        exp(-((x - 0.3)² + (y - 0.4)²) / (2 · 0.15²))

    :raises ValueError: if a number is out of its range
    """

    def __init__(
        self,
        num: int = 100,
        *,
        diffusion: float = 0.01,
        speed: float = 1.0,
        reaction: float = 1.0,
        source: Callable[[Array, Array], Array] | None = None,
    ) -> None:
        if num < 2:
            raise ValueError(
                f"A mesh of {num} inner points a side is too coarse, take two or more."
            )
        if not diffusion > 0:
            raise ValueError(f"The diffusion is {diffusion}, it is positive.")
        h = 1 / (num + 1)
        along = np.arange(1, num + 1) * h
        self.x, self.y = np.meshgrid(along, along, indexing="xy")
        eye = sp.eye_array(num)
        second = sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(num, num)) / h**2
        first = sp.diags_array([-1.0, 1.0], offsets=[-1, 1], shape=(num, num)) * (speed / (2 * h))
        super().__init__(
            [
                sp.kron(eye, second) + sp.kron(second, eye),
                sp.kron(eye, first),
                sp.kron(first, eye),
                reaction * sp.eye_array(num**2),
            ],
            lambda p: np.stack([0 * p + diffusion, np.cos(p), np.sin(p), 0 * p + 1], axis=-1),
            (source or _bump)(self.x, self.y).ravel(),
            (0.0, 2 * math.pi),
        )


def _bump(x: Array, y: Array) -> Array:
    return np.exp(-((x - 0.3) ** 2 + (y - 0.4) ** 2) / (2 * 0.15**2))


def _entries_on(pattern: sp.csr_array, part: sp.csr_array) -> Array:
    """Entries of a part in the order of a pattern that covers it, zeros included."""
    n = pattern.shape[0]
    rows = np.repeat(np.arange(n, dtype=np.int64), np.diff(pattern.indptr))
    places = rows * n + pattern.indices  # ascending: indices are sorted
    own = part.tocoo()
    entries = np.zeros(len(places))
    entries[np.searchsorted(places, own.row.astype(np.int64) * n + own.col)] = own.data
    return entries
