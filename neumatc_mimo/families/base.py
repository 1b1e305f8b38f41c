"""Parametric matrices A(p): what a family has to tell, and synthetic ones of known complexity."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from neumatc_mimo.foundation.coordinate import coordinate, in_band


class Family(ABC):
    """A matrix A(p) that depends on a parameter p of dimension d, for a batch of p at once.

    :param domain: [d, 2] lowest and highest value of every coordinate of p, in its own units

    :raises ValueError: if the domain is no list of finite intervals
    """

    def __init__(self, domain: Tensor | Sequence[Sequence[float]]) -> None:
        self.domain = torch.as_tensor(domain, dtype=torch.float64)
        if self.domain.ndim != 2 or self.domain.shape[1] != 2 or not len(self.domain):
            raise ValueError(
                f"A domain is [dimension, 2], one interval a coordinate, not "
                f"{list(self.domain.shape)}."
            )
        width = self.domain[:, 1] - self.domain[:, 0]
        if not bool((torch.isfinite(width) & (width > 0)).all()):
            raise ValueError(f"The domain {self.domain.tolist()} has an interval without width.")

    @property
    def dimension(self) -> int:
        """Number d of coordinates of p."""
        return len(self.domain)

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Rows m and columns n of A(p)."""

    @abstractmethod
    def __call__(self, p: Tensor) -> Tensor:
        """A(p) at p [B, d]: [B, m, n] float64 or complex128, on the device of p."""

    def coordinate(self, p: Tensor) -> Tensor:
        """p [B, d] mapped to x in [-1, 1]^d, float64.

        :raises ValueError: if p has another shape
        """
        if p.ndim != 2 or p.shape[1] != self.dimension:
            raise ValueError(f"Parameters are [batch, {self.dimension}] here, not {list(p.shape)}.")
        return coordinate(p.to(torch.float64), self._bounds(p))

    def parameter(self, x: Tensor) -> Tensor:
        """The inverse of :meth:`coordinate`: x in [-1, 1]^d as p [B, d] in its own units."""
        return in_band(x, self._bounds(x))

    def uniform(self, num: int, generator: torch.Generator) -> Tensor:
        """``num`` points drawn uniformly from the domain, [num, d] float64."""
        x = torch.rand(num, self.dimension, dtype=torch.float64, generator=generator)
        return self.parameter(2 * x - 1)

    def grid(self, num: int | Sequence[int]) -> Tensor:
        """A regular grid, ends included: [points, d] float64, the last coordinate fastest.

        :param num: points along every coordinate, or one number for all of them

        :raises ValueError: if there are not as many numbers as coordinates
        """
        nums = [num] * self.dimension if isinstance(num, int) else list(num)
        if len(nums) != self.dimension:
            raise ValueError(
                f"A grid of {len(nums)} coordinates does not suit a domain of {self.dimension}."
            )
        axes = [torch.linspace(-1, 1, points, dtype=torch.float64) for points in nums]
        mesh = torch.meshgrid(axes, indexing="ij")
        return self.parameter(torch.stack(mesh, dim=-1).flatten(0, -2))

    def _bounds(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Lowest and highest value of every coordinate, on the device of another tensor."""
        low, high = self.domain.to(like.device).unbind(-1)
        return low, high


class CosineFamily(Family):
    r"""Entries that are sums of cosines of one parameter (after NeuMatC, Section 3.1).

    .. math:: A(p) = \frac{1}{\sqrt n} \sum_{t=1}^{T} \sqrt{\tfrac{2}{T}} \, C_t \circ
              \cos(\Omega_t x + \Phi_t) \, D + \delta I, \qquad x \in [-1, 1],

    with Φ uniform on [0, 2π), C standard normal, Ω drawn from F values, themselves uniform on
    [0, ω_max], and D = diag(decay^{j / (n - 1)}), the decay of energy from column to column.
    Each frequency spans a cosine and a sine, so that A has rank 2 F along p, and 2 F + 1 with a
    shift: the rank is controlled. (The paper draws a frequency per entry; its sizes are lost.)
    Without decay entries have variance 1/n and singular values stay below some 2: a shift δ of 3
    keeps every A(p) well-conditioned.

    :param shape: m, n
    :param generator: source of C, Ω and Φ
    :param num_frequencies: F
    :param max_frequency: ω_max, in radians per half width of the domain
    :param num_terms: T
    :param decay: amplitude of the last column relative to the first, in (0, 1]
    :param shift: δ, added to the main diagonal
    :param complex_valued: C circularly-symmetric complex normal, A complex128; else real, float64
    :param domain: lowest and highest p

    :raises ValueError: if a number is out of its range
    """

    def __init__(
        self,
        shape: tuple[int, int],
        generator: torch.Generator,
        *,
        num_frequencies: int = 4,
        max_frequency: float = math.pi,
        num_terms: int = 2,
        decay: float = 1.0,
        shift: float = 0.0,
        complex_valued: bool = False,
        domain: tuple[float, float] = (-1.0, 1.0),
    ) -> None:
        super().__init__([domain])
        _check_shape(shape)
        if num_frequencies < 1 or num_terms < 1:
            raise ValueError("A sum of cosines needs at least one frequency and one term.")
        _check_decay(decay)
        if not max_frequency > 0:
            raise ValueError(f"The highest frequency is {max_frequency}, it is positive.")
        m, n = self._shape = shape
        size = (num_terms, m, n)
        values = max_frequency * _rand(num_frequencies, generator=generator)
        # Each frequency in turn and then in any order: none is left out, the rank is as announced.
        turns = torch.arange(math.prod(size)) % num_frequencies
        self._frequency = values[turns[torch.randperm(len(turns), generator=generator)]].view(size)
        self._phase = 2 * math.pi * _rand(*size, generator=generator)
        columns = decay ** torch.linspace(0, 1, n, dtype=torch.float64)
        coefficient = _normal(size, complex_valued, generator)
        self._coefficient = coefficient * columns * math.sqrt(2 / num_terms / n)
        self._offset = _diagonal(shape, shift)

    @property
    def shape(self) -> tuple[int, int]:
        return self._shape

    def __call__(self, p: Tensor) -> Tensor:
        x = self.coordinate(p)
        matrices = self._offset.to(x.device)
        # A term at a time: the sum takes the memory of two terms, however many there are.
        for c, omega, phi in zip(self._coefficient, self._frequency, self._phase, strict=True):
            angle = x[:, :, None] * omega.to(x.device) + phi.to(x.device)
            matrices = matrices + c.to(x.device) * torch.cos(angle)
        return matrices


class FourierFamily(Family):
    r"""Entries that are Fourier sums over a domain of any dimension (after NeuMatC, Table 6).

    .. math:: A_{ij}(p) = \frac{1}{\sqrt n} \sum_k c_{ijk} \, b_k(x) + \delta [i = j],
              \qquad b_k(x) = \prod_{l=1}^{d} \beta_{k_l}(x_l), \quad
              \beta \in \{1, \cos \pi q x, \sin \pi q x : q = 1, \dots, Q\},

    with c normal of standard deviation ∝ (1 + |q|)^{-smoothness}, q the frequencies of b_k. The
    rank along p is (2 Q + 1)^d. Entries have variance 1/n at every p: as with
    :class:`CosineFamily`, a shift of 3 keeps every A(p) well-conditioned.

    :param shape: m, n
    :param dimension: d
    :param generator: source of c
    :param order: Q
    :param smoothness: power with which the coefficients fall with the frequency
    :param shift: δ, added to the main diagonal
    :param complex_valued: c circularly-symmetric complex normal, A complex128; else real, float64
    :param domain: [d, 2] bounds, by default -1 and 1 in every coordinate

    :raises ValueError: if a number is out of its range, or domain and dimension differ
    """

    def __init__(
        self,
        shape: tuple[int, int],
        dimension: int,
        generator: torch.Generator,
        *,
        order: int = 1,
        smoothness: float = 1.0,
        shift: float = 0.0,
        complex_valued: bool = False,
        domain: Tensor | Sequence[Sequence[float]] | None = None,
    ) -> None:
        if dimension < 1 or order < 0:
            raise ValueError(
                "A Fourier sum needs a dimension of 1 or more and an order of 0 or more."
            )
        super().__init__([(-1.0, 1.0)] * dimension if domain is None else domain)
        _check_shape(shape)
        if self.dimension != dimension:
            raise ValueError(
                f"The domain has {self.dimension} intervals, the dimension is {dimension}."
            )
        self._shape = shape
        self._order = order
        # Frequencies of β in the order in which `_basis` lists them: 0, 1 … Q (cos), 1 … Q (sin).
        axis = torch.cat([torch.arange(order + 1), torch.arange(1, order + 1)]).double()
        modes = torch.cartesian_prod(*[axis] * dimension).reshape(-1, dimension)
        amplitude = (1 + torch.linalg.vector_norm(modes, dim=-1)) ** -smoothness
        # cos² + sin² = 1: every frequency vector counts once in the variance of an entry, which
        # is therefore the same everywhere. With 2^z functions each weighs 2^-z, z its non-zeros.
        shares = 2.0 ** -(modes != 0).sum(-1)
        amplitude = amplitude / (amplitude.square() * shares).sum().sqrt() / math.sqrt(shape[1])
        size = (len(modes), *shape)
        self._coefficient = amplitude[:, None, None] * _normal(size, complex_valued, generator)
        self._offset = _diagonal(shape, shift)

    @property
    def shape(self) -> tuple[int, int]:
        return self._shape

    def __call__(self, p: Tensor) -> Tensor:
        coefficient = self._coefficient.to(p.device)
        basis = self._basis(self.coordinate(p)).to(coefficient.dtype)
        return torch.tensordot(basis, coefficient, dims=1) + self._offset.to(p.device)

    def _basis(self, x: Tensor) -> Tensor:
        """b_k at x [B, d]: [B, (2 Q + 1)^d]."""
        angle = math.pi * x[..., None] * torch.arange(1, self._order + 1, device=x.device)
        axes = torch.cat([torch.ones_like(x[..., None]), angle.cos(), angle.sin()], dim=-1)
        basis = axes[:, 0]
        for axis in axes.unbind(1)[1:]:
            basis = (basis[:, :, None] * axis[:, None]).flatten(1)
        return basis


class RadialFamily(Family):
    r"""Entries that are sums of radial basis functions (after NeuMatC, Appendix I).

    .. math:: A(p) = \sum_{k=1}^{K} C_k \exp\Bigl(-\frac{(x - x_k)^2}{2 w^2}\Bigr) D,
              \qquad x \in [-1, 1],

    with centres x_k evenly spread, C standard normal over √(n K) and D as for
    :class:`CosineFamily`. The rank along p is K, numerically less where w exceeds the distance of
    the centres.

    :param shape: m, n
    :param generator: source of C
    :param num_functions: K
    :param width: w
    :param decay: amplitude of the last column relative to the first, in (0, 1]

    :raises ValueError: if a number is out of its range
    """

    def __init__(
        self,
        shape: tuple[int, int],
        generator: torch.Generator,
        *,
        num_functions: int = 10,
        width: float = 0.4,
        decay: float = 1.0,
    ) -> None:
        super().__init__([(-1.0, 1.0)])
        _check_shape(shape)
        if not width > 0:
            raise ValueError(f"The width of the radial functions is {width}, it is positive.")
        if num_functions < 2:
            raise ValueError(f"num_functions is {num_functions}, at least two are needed.")
        _check_decay(decay)
        self._shape, self._width = shape, width
        self._centres = torch.linspace(-1, 1, num_functions, dtype=torch.float64)
        columns = decay ** torch.linspace(0, 1, shape[1], dtype=torch.float64)
        scale = math.sqrt(shape[1] * num_functions)
        size = (num_functions, *shape)
        self._coefficient = _normal(size, False, generator) * columns / scale

    @property
    def shape(self) -> tuple[int, int]:
        return self._shape

    def __call__(self, p: Tensor) -> Tensor:
        distance = (self.coordinate(p) - self._centres.to(p.device)) / self._width
        basis = torch.exp(-distance.square() / 2)
        return torch.tensordot(basis, self._coefficient.to(p.device), dims=1)


class Gram(Family):
    r"""The regularised Gram matrix of another family, :math:`A(p) A(p)^H + \sigma^2 I`, [m, m].

    :param family: A
    :param no: σ², zero or more; above zero every matrix has an inverse

    :raises ValueError: if σ² is negative
    """

    def __init__(self, family: Family, no: float = 0.0) -> None:
        super().__init__(family.domain)
        if not no >= 0:
            raise ValueError(f"The noise power of a Gram matrix is {no}, it is not negative.")
        self._family = family
        self._offset = _diagonal(self.shape, no)

    @property
    def shape(self) -> tuple[int, int]:
        rows, _ = self._family.shape
        return rows, rows

    def __call__(self, p: Tensor) -> Tensor:
        a = self._family(p)
        return a @ a.mH + self._offset.to(a.device)


class Product(Family):
    r"""The product of two families on the same domain, :math:`A(p) = L(p) R(p)^H`, [m, n].

    With L [m, k] and R [n, k] its rank is k at most (NeuMatC, Section 3.1).

    :param left: L
    :param right: R

    :raises ValueError: if domains or inner dimensions differ
    """

    def __init__(self, left: Family, right: Family) -> None:
        super().__init__(left.domain)
        if not torch.equal(left.domain, right.domain) or left.shape[1] != right.shape[1]:
            raise ValueError(
                f"There is no product of {list(left.shape)} over {left.domain.tolist()} and the "
                f"adjoint of {list(right.shape)} over {right.domain.tolist()}."
            )
        self._left, self._right = left, right

    @property
    def shape(self) -> tuple[int, int]:
        return self._left.shape[0], self._right.shape[0]

    def __call__(self, p: Tensor) -> Tensor:
        return self._left(p) @ self._right(p).mH


def _check_shape(shape: tuple[int, int]) -> None:
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"A matrix has rows and columns, both at least one, not {shape}.")


def _check_decay(decay: float) -> None:
    if not 0 < decay <= 1:
        raise ValueError(f"The decay of the columns is {decay}, it lies in (0, 1].")


def _rand(*size: int, generator: torch.Generator) -> Tensor:
    return torch.rand(*size, dtype=torch.float64, generator=generator)


def _normal(size: tuple[int, ...], complex_valued: bool, generator: torch.Generator) -> Tensor:
    """Unit-variance normal numbers, float64 or complex128."""
    dtype = torch.complex128 if complex_valued else torch.float64
    return torch.randn(size, dtype=dtype, generator=generator)


def _diagonal(shape: tuple[int, int], value: float) -> Tensor:
    return value * torch.eye(*shape, dtype=torch.float64)
