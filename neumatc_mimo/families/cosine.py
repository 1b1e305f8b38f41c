"""Families whose entries are sums of cosines."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from neumatc_mimo.families.base import Family
from neumatc_mimo.families.entries import check_decay, check_shape, diagonal, normal, uniform


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
        check_shape(shape)
        if num_frequencies < 1 or num_terms < 1:
            raise ValueError("A sum of cosines needs at least one frequency and one term.")
        check_decay(decay)
        if not max_frequency > 0:
            raise ValueError(f"The highest frequency is {max_frequency}, it is positive.")
        m, n = self._shape = shape
        size = (num_terms, m, n)
        values = max_frequency * uniform(num_frequencies, generator=generator)
        # Each frequency in turn and then in any order: none is left out, the rank is as announced.
        turns = torch.arange(math.prod(size)) % num_frequencies
        self._frequency = values[turns[torch.randperm(len(turns), generator=generator)]].view(size)
        self._phase = 2 * math.pi * uniform(*size, generator=generator)
        columns = decay ** torch.linspace(0, 1, n, dtype=torch.float64)
        coefficient = normal(size, complex_valued, generator)
        self._coefficient = coefficient * columns * math.sqrt(2 / num_terms / n)
        self._offset = diagonal(shape, shift)

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
