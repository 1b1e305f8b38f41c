"""The rivals of Table 10: direct, Krylov and reduced-basis solvers of sparse parametric systems."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix  # ilupp knows no arrays
from scipy.sparse.linalg import gmres

from neumatc_mimo.families.sparse import AffineSystem, solved
from neumatc_mimo.solvers.gcro_dr import Recycled, gcro_dr

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Systems:
    """The systems of the table, assembled beforehand: nobody's time.

    :param system: A(p) x = b
    :param p: [B], ascending
    :param matrices: A(p), [n, n] each
    :param exact: [B, n]
    """

    system: AffineSystem
    p: Array
    matrices: Sequence[Any]
    exact: Array

    @classmethod
    def of(cls, system: AffineSystem, num: int) -> Systems:
        """``num`` systems evenly over a periodic domain."""
        low, high = system.domain
        p = low + np.arange(num) / num * (high - low)
        return cls(system, p, [csr_matrix(system.matrix(one)) for one in p], system.exact(p))

    def first(self, num: int) -> Systems:
        """The first systems alone."""
        return Systems(self.system, self.p[:num], self.matrices[:num], self.exact[:num])

    def errors(self, x: Array) -> Array:
        """RelErr ‖x̂ − x‖ / ‖x‖, [B]."""
        norms = np.linalg.norm(self.exact, axis=1)
        return np.linalg.norm(x - self.exact, axis=1) / norms


@dataclass(frozen=True)
class Solved:
    """All systems by one method.

    :param x: [B, n]
    :param seconds: for all of them
    :param iterations: mean of a system; None for direct methods
    """

    x: Array
    seconds: float
    iterations: float | None = None


Krylov = Callable[[Systems, float], Solved]


def direct(given: Systems) -> Solved:
    """A sparse LU factorisation each (SuperLU, minimum degree)."""
    started = time.perf_counter()
    x = [solved(a, given.system.b) for a in given.matrices]
    return Solved(np.stack(x), time.perf_counter() - started)


def recycling(restart: int, num_recycled: int, *, warm: bool = True) -> Krylov:
    """GCRO-DR(m, k) with ILU(0) of every matrix; without recycled vectors it is GMRES(m).

    :param warm: whether a system starts from its neighbour's solution
    """

    def run(given: Systems, tolerance: float) -> Solved:
        ilu0 = _ilu0()
        found, iterations = np.empty_like(given.exact), 0
        recycled: Recycled | None = None
        started = time.perf_counter()
        for i, a in enumerate(given.matrices):
            found[i], recycled, info = gcro_dr(
                a,
                given.system.b,
                found[i - 1] if warm and i else None,
                preconditioner=ilu0(a),
                recycled=recycled,
                restart=restart,
                num_recycled=num_recycled,
                tolerance=tolerance,
            )
            iterations += info.iterations
        seconds = time.perf_counter() - started
        return Solved(found, seconds, iterations / len(found))

    return run


def scipy_gmres(restart: int) -> Krylov:
    """SciPy's GMRES(m) with ILU(0) of every matrix, warm."""

    def run(given: Systems, tolerance: float) -> Solved:
        ilu0 = _ilu0()
        found = np.empty_like(given.exact)
        norms: list[float] = []
        started = time.perf_counter()
        for i, a in enumerate(given.matrices):
            found[i], _ = gmres(
                a,
                given.system.b,
                found[i - 1] if i else None,
                rtol=tolerance,
                restart=restart,
                M=ilu0(a),
                callback=norms.append,
                callback_type="pr_norm",
            )
        seconds = time.perf_counter() - started
        return Solved(found, seconds, len(norms) / len(found))

    return run


class PODGalerkin:
    """The reduced basis of a few exact solutions, with Galerkin's condition (Quarteroni, Manzoni
    and Negri, 2016, Chapter 3): :math:`V^T A(p) V c = V^T b`, x̂ = V c.

    :param system: A(p) x = b
    :param num_samples: exact solutions, evenly over the domain
    """

    def __init__(self, system: AffineSystem, num_samples: int) -> None:
        self._system = system
        low, high = system.domain
        samples = system.exact(low + (np.arange(num_samples) + 0.5) / num_samples * (high - low))
        basis, _ = np.linalg.qr(samples.T)
        self._parts = np.stack([basis.T @ (part @ basis) for part in system.parts])
        self._right = basis.T @ system.b
        self._lift = torch.from_numpy(basis.T.astype(np.float32))

    def __call__(self, p: Array) -> torch.Tensor:
        """x̂ at p [B] in single precision as NeuMatC's, [B, n]."""
        matrices = np.tensordot(self._system.coefficients(p), self._parts, axes=1)
        right = np.broadcast_to(self._right[:, None], (len(p), len(self._right), 1))
        c = np.linalg.solve(matrices, right)
        return torch.from_numpy(c[..., 0].astype(np.float32)) @ self._lift


def loosest(method: Krylov, given: Systems, error: float) -> float:
    """The loosest tolerance, in quarters of a decade, whose mean RelErr is that small.

    Errors are near enough to proportional to tolerances for one jump, and a few steps after it.
    """

    def found(quarters: int) -> float:
        return float(given.errors(method(given, 10 ** (quarters / 4)).x).mean())

    quarters = -16 + math.floor(4 * math.log10(error / found(-16)))
    if found(quarters) > error:
        while found(quarters - 1) > error:
            quarters -= 1
        return float(10 ** ((quarters - 1) / 4))
    while found(quarters + 1) <= error:
        quarters += 1
    return float(10 ** (quarters / 4))


def _ilu0() -> Callable[[Any], Any]:
    """ILU(0) of a matrix in compiled code."""
    try:
        from ilupp import ILU0Preconditioner
    except ImportError as error:
        raise ImportError(
            "Table 10 takes ILU(0) from ilupp: pip install -c constraints.txt '.[benchmarks]'."
        ) from error
    return ILU0Preconditioner
