"""GCRO-DR: Krylov subspaces recycled from one linear system to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import scipy.linalg
import torch
from numpy.typing import ArrayLike, NDArray

from neumatc_mimo.operations.base import Components, Operation
from neumatc_mimo.operations.linear_solve import LinearSolve
from neumatc_mimo.solvers.checks import require
from neumatc_mimo.solvers.marching import Marching, Path
from neumatc_mimo.solvers.registry import register

Array = NDArray[Any]  # float64 or complex128

# Relative size below which a vector is what rounding left of a dependent one.
_DEPENDENT = 1e-14


@register(name="gcro_dr")
@dataclass(frozen=True)
class GCRODR(Marching):
    """Systems with fixed right-hand sides, each solved by :func:`gcro_dr` from the one before.

    A system starts from its neighbour's solution and the space that this left; with several
    right-hand sides the space goes on from one to the next. The first point is exact. Nothing is
    preconditioned here: incomplete factors of a full matrix are its complete ones.

    :param restart: m
    :param num_recycled: k
    :param tolerance: of ‖b - A x‖ / ‖b‖
    :param max_iterations: for one right-hand side
    :param max_residual: Residual limit without certificates

    :raises ValueError: in ``start``, if the operation has other components than a solution
    """

    restart: int = 20
    num_recycled: int = 5
    tolerance: float = 1e-6
    max_iterations: int = 200

    def __post_init__(self) -> None:
        _check_numbers(self.restart, self.num_recycled, self.tolerance, self.max_iterations)

    def _check(self, operation: Operation) -> None:
        require(self, operation, ("x",))

    def _next(self, path: Path, k: int) -> Components | None:
        if k == 0:
            return None
        matrices = path.matrix(k)[0][:, 0].numpy(force=True)
        (start,) = path.at(k - 1)
        b = cast(LinearSolve, path.operation).b.numpy(force=True)
        solutions = torch.empty_like(start)
        for item, a in enumerate(matrices.astype(np.result_type(matrices, b), copy=False)):
            recycled: Recycled | None = path.memory.get(item)
            for column, one in enumerate(b.T):
                x, recycled, _ = gcro_dr(
                    a,
                    one,
                    start[item, 0, :, column].numpy(force=True),
                    recycled=recycled,
                    restart=self.restart,
                    num_recycled=self.num_recycled,
                    tolerance=self.tolerance,
                    max_iterations=self.max_iterations,
                )
                solutions[item, 0, :, column] = torch.from_numpy(x)
            path.memory[item] = recycled
        return (solutions,)


@dataclass(frozen=True)
class Recycled:
    """A deflation subspace to start the next system with.

    :param directions: [k, n] rows u along which solutions are corrected
    :param preconditioned: [k, n] the rows M u
    """

    directions: Array
    preconditioned: Array


class Convergence(NamedTuple):
    """How a system was solved.

    :param converged: whether the tolerance was reached
    :param iterations: Krylov vectors built, over all cycles
    :param products: multiplications by A, those for recycled directions and residuals included
    :param residuals: [iterations + 1] relative residuals, from the start after deflation on
    """

    converged: bool
    iterations: int
    products: int
    residuals: NDArray[np.float64]


def gcro_dr(
    a: Any,
    b: ArrayLike,
    x0: ArrayLike | None = None,
    *,
    preconditioner: Any = None,
    recycled: Recycled | None = None,
    restart: int = 30,
    num_recycled: int = 10,
    tolerance: float = 1e-8,
    max_iterations: int = 1000,
) -> tuple[Array, Recycled | None, Convergence]:
    r"""Solve A x = b by GCRO-DR(m, k) (Parks, de Sturler, Mackey, Johnson and Maiti, SIAM J. Sci.
    Comput. 28(5), 2006) with right preconditioning, in double precision.

    With :math:`A U = C`, :math:`C^H C = I` for the recycled directions U, every cycle builds

    .. math:: (I - C C^H) A M^{-1} V_s = V_{s+1} \bar H, \qquad s = m - k,

    minimises the residual over U and :math:`M^{-1} V_s` together, and keeps the k harmonic Ritz
    vectors of :math:`A M^{-1}` with the smallest values, which it deflates in the next cycle and in
    the next system. For a new matrix C is A U made orthonormal once more. Of a complex pair that
    does not fit into k the real part alone is kept. M U belongs to the system before where M has
    changed since: it only decides which vectors are kept. Without anything to recycle the first
    cycle is GMRES(m).

    SciPy's ``gcrotmk`` is GCROT(m, k), which keeps what truncation leaves, no harmonic Ritz
    vectors.

    :param a: [n, n], whatever has ``@``: an array, a sparse matrix, a LinearOperator
    :param b: [n]
    :param x0: [n] where to start; None for zero
    :param preconditioner: M⁻¹, whatever has ``@``
    :param recycled: what the system before left
    :param restart: m, vectors of a cycle, recycled ones included
    :param num_recycled: k
    :param tolerance: of ‖b - A x‖ / ‖b‖
    :param max_iterations: when to give up

    :return: x [n], what the next system may recycle, and how it went
    :raises ValueError: if shapes or numbers do not fit together
    """
    _check_numbers(restart, num_recycled, tolerance, max_iterations)
    b, x = _vectors(a, b, x0)
    products, scale = 1, float(np.linalg.norm(b))
    rest = b - a @ x
    space = None
    if recycled is not None and np.linalg.norm(rest) > tolerance * scale:
        space = _renewed(a, recycled)
        products += len(recycled.directions)
    if space is not None:
        x, rest = space.deflate(x, rest)
    residuals = [float(np.linalg.norm(rest)) / scale]
    while residuals[-1] > tolerance and len(residuals) <= max_iterations:
        room = min(restart - (space.num if space else 0), max_iterations + 1 - len(residuals))
        cycle = _Cycle(a, preconditioner, space, rest, room, tolerance * scale)
        if not cycle.steps:
            break
        residuals += [norm / scale for norm in cycle.norms]
        x = x + cycle.correction()
        rest = b - a @ x
        products += cycle.steps + 1
        space = cycle.deflated(num_recycled) if num_recycled else None
        if space is not None:
            x, rest = space.deflate(x, rest)  # of what rounding left
        residuals[-1] = float(np.linalg.norm(rest)) / scale
    if space is not None:
        recycled = Recycled(space.directions, space.preconditioned)
    history = np.array(residuals)
    done = Convergence(bool(history[-1] <= tolerance), len(history) - 1, products, history)
    return x, recycled, done


class _Space(NamedTuple):
    """Directions u, their orthonormal images c = A u and the vectors M u, rows [k, n] each."""

    directions: Array
    images: Array
    preconditioned: Array

    @property
    def num(self) -> int:
        return len(self.directions)

    def deflate(self, x: Array, rest: Array) -> tuple[Array, Array]:
        """x and its residual with the best correction along the directions."""
        along = (self.images @ rest.conj()).conj()
        return x + along @ self.directions, rest - along @ self.images


def _renewed(a: Any, recycled: Recycled) -> _Space | None:
    """The recycled directions with images under another matrix; None where those are dependent."""
    images, factor = scipy.linalg.qr(a @ recycled.directions.T, mode="economic", check_finite=False)
    size = np.abs(np.diag(factor))
    if not size.size or not size.min() > _DEPENDENT * size.max():
        return None
    change = scipy.linalg.solve_triangular(
        factor, np.eye(len(factor)), check_finite=False, overwrite_b=True
    ).T
    # QR leaves C in Fortran's order: its transpose has contiguous rows.
    return _Space(change @ recycled.directions, images.T, change @ recycled.preconditioned)


class _Cycle:
    r"""Arnoldi steps beside a recycled space.

    Rows of ``directions`` are Ẑ = [U D; M⁻¹V], rows of ``images`` Ŵ = [C; V], with
    :math:`A \hat Z = \hat W \bar G` and D the scaling that makes the rows of M U of unit norm.

    :param room: steps at most
    :param target: norm of the residual at which to stop
    """

    def __init__(
        self,
        a: Any,
        preconditioner: Any,
        space: _Space | None,
        rest: Array,
        room: int,
        target: float,
    ) -> None:
        self.num = k = space.num if space else 0
        dtype = rest.dtype if space is None else np.result_type(rest, space.images)
        self._space = space
        self._start = float(np.linalg.norm(rest))
        self.images = np.empty((k + room + 1, len(rest)), dtype)
        self.directions = np.empty((k + room, len(rest)), dtype)
        self._gram = np.zeros((k + room + 1, k + room), dtype)
        if space is not None:
            self._scales = 1 / np.linalg.norm(space.preconditioned, axis=1)
            self.images[:k] = space.images
            np.multiply(self._scales[:, None], space.directions, out=self.directions[:k])
            self._gram[range(k), range(k)] = self._scales
        self.images[k] = rest / self._start
        # Q of H̄ = Q^H R: a product with it and one rotation more for every column.
        self._rotations = np.eye(room + 1, dtype=dtype)
        self._triangle = np.zeros((room, room), dtype)
        self.norms: list[float] = []
        for j in range(room):
            if not self._step(a, preconditioner, j) or self.norms[-1] <= target:
                break
        self.steps = len(self.norms)

    def _step(self, a: Any, preconditioner: Any, j: int) -> bool:
        """Build one Krylov vector; False where there is none any more."""
        last = self.num + j
        z = self.images[last] if preconditioner is None else preconditioner @ self.images[last]
        w = a @ z
        before = self.images[: last + 1]
        size = np.linalg.norm(w)
        # Classical Gram-Schmidt, in products with a matrix, and once more where a digit is lost
        # (Rutishauser's criterion): as orthogonal as twice always, at half the price.
        h = (before @ w.conj()).conj()
        w = w - h @ before
        norm = np.linalg.norm(w)
        if norm < size / 10:
            again = (before @ w.conj()).conj()
            w -= again @ before
            h += again
            norm = np.linalg.norm(w)
        column = self._rotations[: j + 1, : j + 1] @ h[self.num :]
        pivot = np.hypot(abs(column[j]), norm)
        if not pivot > _DEPENDENT * size:
            return False  # A maps this direction to what is there already: it is no use
        c, s = column[j] / pivot, norm / pivot
        turn = np.array([[c.conj(), s], [-s, c]])
        self._rotations[j : j + 2] = turn @ self._rotations[j : j + 2]
        self._triangle[:j, j], self._triangle[j, j] = column[:j], pivot
        self.directions[last] = z
        self._gram[: last + 1, last], self._gram[last + 1, last] = h, norm
        self.norms.append(self._start * float(abs(self._rotations[j + 1, 0])))
        if not norm > _DEPENDENT * size:
            self.images[last + 1] = 0
            return False  # the space is invariant: the solution lies in it
        np.divide(w, norm, out=self.images[last + 1])
        return True

    def correction(self) -> Array:
        """What to add to x, [n]."""
        s, k = self.steps, self.num
        y = np.empty(k + s, self._gram.dtype)
        y[k:] = scipy.linalg.solve_triangular(
            self._triangle[:s, :s], self._start * self._rotations[:s, 0], check_finite=False
        )
        if k:
            # The residual has no part along C, and is to get none.
            y[:k] = -(self._gram[:k, k : k + s] @ y[k:]) / self._scales
        return y @ self.directions[: k + s]

    def deflated(self, num: int) -> _Space:
        r"""The harmonic Ritz vectors with the smallest values, at most ``num``.

        :math:`\bar G^H \bar G z = \theta \bar G^H \hat W^H \hat V z` is the eigenproblem of
        :math:`\bar G^+ \hat W^H \hat V` for 1/θ, which squares no condition number.
        """
        s, k = self.steps, self.num
        images, gram = self.images[: k + s + 1], self._gram[: k + s + 1, : k + s]
        overlap = np.zeros_like(gram)
        overlap[range(k, k + s), range(k, k + s)] = 1
        if self._space is not None:
            scaled = self._scales[:, None] * self._space.preconditioned
            overlap[:, :k] = (images @ scaled.conj().T).conj()
        q, r = np.linalg.qr(gram)
        values, vectors = np.linalg.eig(
            scipy.linalg.solve_triangular(r, q.conj().T @ overlap, check_finite=False)
        )
        chosen = _largest(values, vectors, num, real=not np.iscomplexobj(gram))
        chosen, _ = np.linalg.qr(chosen)  # eigenvectors may be all but dependent
        q, r = np.linalg.qr(gram @ chosen)
        change = scipy.linalg.solve_triangular(r, chosen.T, trans="T", check_finite=False)
        preconditioned = change[:, k:] @ images[k : k + s]
        if self._space is not None:
            preconditioned += change[:, :k] @ scaled
        return _Space(change @ self.directions[: k + s], q.T @ images, preconditioned)


def _largest(values: Array, vectors: Array, num: int, *, real: bool) -> Array:
    """A basis [m, num or fewer] of the eigenvectors of largest values, real for real matrices."""
    order = np.argsort(-np.abs(values), kind="stable")
    if not real:
        return vectors[:, order[:num]]
    order = order[values.imag[order] >= 0]  # one of each complex pair …
    pairs = np.stack([vectors[:, order].real, vectors[:, order].imag], axis=-1)
    both = np.stack([np.ones(len(order), bool), values.imag[order] > 0], axis=-1)
    return pairs[:, both][:, :num]  # … spans with its imaginary part what both span


def _check_numbers(restart: int, num_recycled: int, tolerance: float, max_iterations: int) -> None:
    """Refuse what no solver can run with.

    :raises ValueError: saying what
    """
    if not 0 <= num_recycled < restart:
        raise ValueError(f"Of {restart} vectors a cycle {num_recycled} cannot be recycled.")
    if not tolerance > 0:
        raise ValueError(f"The tolerance is {tolerance}, it is positive.")
    if max_iterations < 1:
        raise ValueError("A solution takes at least one iteration.")


def _vectors(a: Any, b: ArrayLike, x0: ArrayLike | None) -> tuple[Array, Array]:
    """b and x0 in double precision, real or complex, that suit A.

    :raises ValueError: if they do not
    """
    b = np.asarray(b)
    x = np.zeros_like(b) if x0 is None else np.asarray(x0)
    if b.ndim != 1 or x.shape != b.shape or tuple(a.shape) != (len(b), len(b)):
        raise ValueError(
            f"A matrix of {tuple(a.shape)} with b of {b.shape} and a start of {x.shape} is no "
            "square system with one right-hand side."
        )
    if not np.isfinite(b).all() or not b.any():
        raise ValueError("The right-hand side is zero or not finite.")
    dtype = np.result_type(a.dtype, b, x, np.float64)
    return b.astype(dtype, copy=False), x.astype(dtype, copy=False)
