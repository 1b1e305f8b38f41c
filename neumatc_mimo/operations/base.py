"""What every operation on a parametric matrix A(p) has to tell."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections import namedtuple
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from neumatc_mimo.foundation.tolerance import Tolerance as Tolerance
from neumatc_mimo.operations.config import Dimensions, OperationConfig
from neumatc_mimo.tensors.tracing import is_traced

Components = tuple[Tensor, ...]


@dataclass(frozen=True)
class Certificate:
    """Residual-based proof of a result.

    :param quality: [...] the proven quality in dB (higher is better), float
    :param range_error: [...] relative distance from the exact result's range, float
    :param ok: [...] whether both are within the tolerance, bool
    """

    quality: Tensor
    range_error: Tensor
    ok: Tensor

    @classmethod
    def of(cls, quality: Tensor, range_error: Tensor, tolerance: Tolerance) -> Certificate:
        """The certificate for a quality and a range error."""
        ok = (quality >= tolerance.quality_db) & (range_error <= tolerance.range_error)
        return cls(quality, range_error, ok)


class Surely(NamedTuple):
    """An exact answer that has been looked at.

    :param answer: of the operation
    :param refined: number of matrices that were computed again in double precision
    :param lost: those among them whose results the caller's precision cannot hold to 40 dB
    """

    answer: Any
    refined: int = 0
    lost: int = 0


class Operation(ABC):
    """A matrix operation, batched over all leading dimensions of its input.

    ``components`` are what a solver stores, interpolates or learns; ``answer`` is what a caller
    works with. An operation must define ``name``, ``component_names``, :meth:`exact` and
    :meth:`residual`. All else has defaults. They are right for results that are unique and
    continuous, and that do not change with A in a known way.
    """

    name: ClassVar[str]
    component_names: ClassVar[tuple[str, ...]]
    # What errors call the result, and the named tuple that :meth:`answer` makes of components.
    title: ClassVar[str] = "result"
    answer_type: ClassVar[Any] = None
    # Components that are Hermitian matrices, and those that are the same at every noise power.
    hermitian: ClassVar[tuple[str, ...]] = ()
    noise_free: ClassVar[tuple[str, ...]] = ()
    # Components, complex matrices, that become Q times themselves where A becomes A Q^H, Q of
    # orthonormal columns; the others stay the same.
    column_components: ClassVar[tuple[str, ...]] = ()
    # The component [..., antennas, streams] that blocks multiply with symbols, if any.
    applied: ClassVar[str] = ""
    # Components that a caller has no use for: an answer may leave them out, as None.
    unused: tuple[str, ...] = ()
    # Neighbouring rows of A that belong together: their factors are to be the same.
    antennas_per_user: int = 1
    # Whether :meth:`scale` and :meth:`answer` follow factors of the rows, and :meth:`permute` their
    # order: a link is then learned without its delays, and known at any of them.
    follows_rows: ClassVar[bool] = False
    # How much faster than a pseudo-inverse its components turn along the band.
    turns: ClassVar[float] = 1.0
    # The keys that a scenario file gives of it.
    config: ClassVar[type[OperationConfig]] = OperationConfig

    @classmethod
    def configured(cls, config: Any, dimensions: Dimensions) -> Operation:
        """The operation of a scenario file. By default, its own keys are the constructor's
        arguments.

        :param config: of the type :attr:`config`
        :param dimensions: of the matrices that it is trained on
        """
        del dimensions
        return cls(**config.own())

    @classmethod
    def depends_on_noise(cls) -> bool:
        """Whether a component depends on the noise power."""
        return not set(cls.component_names) <= set(cls.noise_free)

    @property
    def matrix(self) -> int:
        """Index of the component that blocks apply: ``applied``, or else the first one."""
        names = self.component_names
        return names.index(self.applied) if self.applied in names else 0

    def component_shapes(self, num_rows: int, num_cols: int) -> tuple[tuple[int, ...], ...]:
        """Shapes of the components of one matrix [num_rows, num_cols]; by default those for the
        identity matrix.
        """
        eye = torch.eye(num_rows, num_cols, dtype=torch.float64)
        return tuple(tuple(c.shape) for c in self.exact(eye))

    @abstractmethod
    def exact(self, a: Tensor, no: Tensor | float = 0.0) -> Components:
        """Exact components of a [..., m, n]; ``no`` is the noise power, broadcastable to [...]."""

    @abstractmethod
    def residual(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Tensor:
        """Relative violation of the defining equations, [...]; zero for the exact result."""

    def certificate(
        self, a: Tensor, components: Components, no: Tensor | float, tolerance: Tolerance
    ) -> Certificate:
        """Prove ``components`` for a [..., m, n]; refuse them if they are only a part of the
        result.

        The quality is the residual in dB, the range error is :meth:`range_error`.
        """
        quality = quality_db(self.residual(a, components, no))
        range_error = self.range_error(a, components)
        if range_error is None:
            range_error = torch.zeros_like(quality)
        return Certificate.of(quality, range_error, tolerance)

    def range_error(self, a: Tensor, components: Components) -> Tensor | None:
        """Relative error of ``components`` that the residual does not detect, [...].

        None if only the exact result has a residual of zero.
        """
        del a, components
        return None

    def correct(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Components:
        """One step of an iteration that converges to the exact result. It should take less time
        than the exact result. By default, and if they cannot be corrected, components are returned
        unchanged.
        """
        del a, no
        return components

    @property
    def stored(self) -> Operation:
        """The operation whose components models store. By default it is this one.

        It is another one if a few numbers determine the components at every noise power, see
        :meth:`from_stored`. These are then learned once, and not at several noise powers.
        """
        return self

    def from_stored(self, stored: Components, no: Tensor | float = 0.0) -> Components:
        """The components at noise powers, broadcastable to [...], from those of :attr:`stored`.

        A component that is None, because it is not needed, stays None.
        """
        del no
        return stored

    def align(self, components: Components) -> Components:
        """Choose the free phases and order of components such that they are continuous along p, the
        last batch dimension.
        """
        return components

    def align_to(self, components: Components, reference: Components) -> Components:
        """Choose the free phases and order of ``components`` as in ``reference``."""
        del reference
        return components

    def scale(self, components: Components, left: Tensor, right: Tensor) -> Components:
        """Components of D_L A D_R from those of A; left [..., m], right [..., n], unit modulus.

        :raises ValueError: if they cannot be computed from those of A
        """
        raise underivable(self.title, "D_L A D_R")

    def permute(self, components: Components, order: Tensor) -> Components:
        """Components of A with its rows in the order [num_items, m]. Components may be extended
        ones.

        :raises ValueError: if they cannot be computed from those of A
        """
        raise underivable(self.title, "A with its rows in another order")

    def follows(self, order: Tensor) -> Tensor:
        """Which of the orders [num_items, m] :meth:`permute` follows, bool [num_items]."""
        if self.follows_rows:
            return torch.ones_like(order[:, 0], dtype=torch.bool)
        return (order == torch.arange(order.shape[1], device=order.device)).all(-1)

    def serves(self, asked: Operation) -> bool:
        """Whether its results, for matrices of one shape, contain those of another operation with
        the same name. :meth:`restricted` extracts them.
        """
        del asked
        return True

    def adapts(self, num_rows: int, num_cols: int) -> bool:
        """Whether adapting to a new channel (a mapping from few exact results, with proofs) takes
        less time than computing all results (measured on a CPU, docs/users.md).
        """
        del num_rows, num_cols
        return False

    def restricted(self, answer: Any) -> Any:
        """Its answer, extracted from that of an operation which :meth:`serves` it."""
        return answer

    def settings(self) -> dict[str, Any]:
        """Name and constructor arguments, plain values."""
        return {"name": self.name}

    def free_gains(self, no: Tensor | None) -> bool:
        """Whether :meth:`answer` accepts rows with any gains, or only of one magnitude."""
        del no
        return False

    def extended(self, components: Components) -> Components:
        """The components, and linear maps of them that :meth:`answer` needs.

        A model includes these maps in its latent tensors, so that it evaluates them directly.
        """
        return components

    def answer(
        self, components: Components, no: Tensor | float = 0.0, rows: Tensor | None = None
    ) -> Any:
        """The result that callers get, for diag(rows) A, from the components of A.

        By default these are the components by their names. They may be :meth:`extended` ones, with
        the ``unused`` ones left out.

        :param no: noise power that the components belong to; with rows of magnitude c the answer's
            is no c²
        :param rows: [..., m] complex factors of the rows of A, of one magnitude unless
            :meth:`free_gains`; None for ones

        :raises ValueError: if the answer cannot be computed from the components of A
        """
        del no
        check_no_rows(self.title, rows)
        kind = self.answer_type or _named(type(self).__name__, self.component_names)
        return kind(*components)

    def results(self, answer: Any) -> tuple[Tensor, ...]:
        """The tensors of an answer that users query."""
        return tuple(answer)

    def holds(self, a: Tensor, dtype: torch.dtype) -> Tensor:
        """Whether components of the precision ``dtype`` are accurate enough for answers to 40 dB,
        [num] bool.

        :param a: [num, m, n], double precision
        """
        del dtype
        return torch.ones(len(a), dtype=torch.bool, device=a.device)

    def witness(self, answer: Any) -> Tensor:
        """The tensor of an answer that is not finite if an entry of A is not."""
        found: Tensor = answer[-1]
        return found

    def merge(self, answers: Sequence[Any], items: Sequence[Tensor]) -> Any:
        """One answer for all items, from the answers for groups of items. ``items`` are their
        indices.
        """
        num_items = sum(len(index) for index in items)
        merged: list[Any] = []
        for fields in zip(*answers, strict=True):
            if any(field is None for field in fields):
                merged.append(None)
                continue
            both = fields[0].new_empty(num_items, *fields[0].shape[1:])
            for index, field in zip(items, fields, strict=True):
                both[index] = field.to(both.dtype)
            merged.append(both)
        return type(answers[0])(*merged)

    def solve(self, a: Tensor, no: Tensor | float = 0.0) -> Any:
        """The exact answer. Operations override it if they do not need the components for it."""
        return self.answer(self.exact(a, no), no)

    def solve_surely(
        self, a: Tensor, no: Tensor | float = 0.0, unproven: Tensor | None = None
    ) -> Surely:
        """The exact answer, computed in double precision where rounding errors would be too large.
        Operations override it if they can estimate this.

        :param a: [num_items, num_subcarriers, m, n]
        :param unproven: [num_items, num_subcarriers] bool, further matrices to compute in double
            precision
        """
        del unproven
        return Surely(self.solve(a, no))


class SimilarityOperation(Operation):
    r"""An operation on a square matrix whose result follows the change :math:`A \to D A D^H` only.

    Factors or another order of the rows alone leave nothing of eigenvectors, of a Hermitian matrix
    or of a power of A: such changes are refused.
    """

    def scale(self, components: Components, left: Tensor, right: Tensor) -> Components:
        """Components of D A D^H, that is for right = left*; others are refused."""
        if left.shape != right.shape or not torch.allclose(right, left.conj()):
            raise underivable(self.title, "D_L A D_R", "unless D_R is the inverse of D_L")
        return self._turned(components, left)

    @abstractmethod
    def _turned(self, components: Components, factor: Tensor) -> Components:
        """Components of D A D^H; factor [..., n], unit modulus."""


def underivable(title: str, changed: str, unless: str = "") -> ValueError:
    """The error of an operation that is asked for more than the components of A tell."""
    return ValueError(
        f"The {title} of {changed} does not follow from that of A {unless}".strip() + "."
    )


def check_square(title: str, num_rows: int, num_cols: int) -> None:
    """Refuse matrices that are not square.

    :raises ValueError: if they are not
    """
    if num_rows != num_cols:
        raise ValueError(f"There is no {title} of a matrix of {num_rows} x {num_cols}, not square.")


def check_no_rows(title: str, rows: Tensor | None) -> None:
    """Refuse factors of the rows.

    :raises ValueError: if they are not ones
    """
    if rows is not None and not is_traced() and bool(((rows - 1).abs() > 1e-3).any()):
        raise underivable(title, "diag(rows) A")


@functools.cache
def _named(name: str, fields: tuple[str, ...]) -> Any:
    """A class of tuples with named fields."""
    return namedtuple(name, fields)


def frobenius(x: Tensor) -> Tensor:
    """Norms [...] of matrices [..., m, n]."""
    if x.is_complex():
        # As real numbers: complex moduli, guarded against overflow, take forty times as long.
        return torch.linalg.vector_norm(torch.view_as_real(x.resolve_conj()), dim=(-3, -2, -1))
    return torch.linalg.vector_norm(x, dim=(-2, -1))


def positive(x: Tensor) -> Tensor:
    """x, real, and where it is zero the smallest number that may be divided by."""
    return x.clamp_min(torch.finfo(x.dtype).tiny)


def together(*defects: Tensor) -> Tensor:
    """Root of the sum of squares of defects [...]; where all are zero so is its gradient."""
    return torch.linalg.vector_norm(torch.stack(torch.broadcast_tensors(*defects)), dim=0)


def quality_db(residual: Tensor) -> Tensor:
    """A relative residual in dB, rounding taken for the best there is."""
    return -20 * torch.log10(residual.clamp_min(torch.finfo(residual.dtype).eps))


def identity(like: Tensor) -> Tensor:
    """The identity with as many columns as ``like``, of its kind."""
    return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)


def where_components(where: Tensor, yes: Components, no: Components) -> Components:
    """``yes`` at the marked matrices, ``no`` elsewhere."""
    return tuple(
        torch.where(where.reshape(where.shape + (1,) * (y.ndim - where.ndim)), y, n)
        for y, n in zip(yes, no, strict=True)
    )


def scalar(value: Tensor | float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A value as a tensor on a device; a number is written there, not copied from the host, which
    would wait for a GPU and is not allowed while a graph is captured.
    """
    if isinstance(value, Tensor):
        return value.to(device, dtype)
    return torch.full((), value, dtype=dtype, device=device)


def batched(no: Tensor | float, like: Tensor, ndim: int = 2) -> Tensor:
    """``no`` as a real tensor with ``ndim`` trailing singleton dimensions, on ``like``'s device."""
    value = scalar(no, like.real.dtype, like.device)
    return value.reshape(value.shape + (1,) * ndim)
