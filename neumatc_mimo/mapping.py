"""NeuMatC's compact mapping: a trunk of sine units and one latent tensor per component."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from neumatc_mimo.operations.base import Components


@dataclass(frozen=True)
class Trunk:
    r"""φ(p; θ): products of sine units, one factor per coordinate, and a linear readout.

    For p = (x, ν_1, …) in [-1, 1]^d the hidden units are

    .. math:: h_{ij\dots}(p) = \sin(\omega_i x + b_i) \prod_c \sin(\kappa_{cj} \nu_c + \beta_{cj}),

    and φ = readout^T h. A product of sines is half the difference of two cosines, so this is a
    multilayer perceptron with one hidden layer of sine units (NeuMatC, Section 2.1) whose weight
    vectors lie on a product grid; the grid lets a query at one fixed ν fold that coordinate into
    the readout and pay for the units of x alone.

    :param frequency: ω, [num_links, width]
    :param phase: b, [num_links, width]
    :param units: (κ, β) of each further coordinate, [q_c] each, shared by all links
    :param readout: [num_links, width, q_1 * q_2 * …, rank]
    """

    frequency: Tensor
    phase: Tensor
    units: tuple[tuple[Tensor, Tensor], ...]
    readout: Tensor

    @property
    def rank(self) -> int:
        """Number r of basis functions."""
        return self.readout.shape[-1]

    def first(self, x: Tensor) -> Tensor:
        """Units of the first coordinate at x [num_links or 1, B]: [num_links, B, width]."""
        return torch.sin(x[..., None] * self.frequency[:, None] + self.phase[:, None])

    def rest(self, p: Tensor) -> Tensor:
        """Products of the other coordinates' units at p [..., d - 1]: [..., q]."""
        product = torch.ones(*p.shape[:-1], 1, dtype=p.dtype, device=p.device)
        for c, (kappa, beta) in enumerate(self.units):
            unit = torch.sin(p[..., c, None] * kappa + beta)
            product = (product[..., :, None] * unit[..., None, :]).flatten(-2)
        return product

    def hidden(self, p: Tensor) -> Tensor:
        """All hidden units at p [num_links or 1, B, d]: [num_links, B, width * q]."""
        first, rest = self.first(p[..., 0]), self.rest(p[..., 1:])
        return (first[..., :, None] * rest[..., None, :]).flatten(-2)

    def __call__(self, p: Tensor) -> Tensor:
        """φ at p [num_links or 1, B, d]: [num_links, B, rank]."""
        return self.hidden(p) @ self.readout.flatten(1, 2)

    def fixed(self, rest: Tensor) -> Tensor:
        """The readout with the other coordinates held at rest [num_links, d - 1]."""
        weights = self.rest(rest)  # [num_links, q]
        return torch.einsum("lwqr,lq->lwr", self.readout, weights)


@dataclass(frozen=True)
class CompactMapping:
    r"""Ŷ_i(p) = C_i ×₃ φ(p; θ) for every component i (NeuMatC, Eq. (1)), batched over links.

    Complex latent tensors are held as interleaved real ones, so that one real matrix product
    gives all entries: φ is real.

    :param trunk: φ
    :param latents: C_i, [num_links, rank, n1 * n2 (* 2 where complex)]
    :param shapes: (n1, n2, …) of each component
    :param complex_valued: whether component i is complex
    """

    trunk: Trunk
    latents: tuple[Tensor, ...]
    shapes: tuple[tuple[int, ...], ...]
    complex_valued: tuple[bool, ...]

    @property
    def num_links(self) -> int:
        """Number of links."""
        return self.trunk.frequency.shape[0]

    def __call__(self, p: Tensor) -> Components:
        """Components at p [num_links or 1, B, d]: [num_links, B, *shape] each."""
        return self.components(self.trunk(p))

    def components(self, basis: Tensor) -> Components:
        """Components from basis values [num_links, B, rank]."""
        return tuple(self.component(i, basis) for i in range(len(self.latents)))

    def component(self, i: int, basis: Tensor) -> Tensor:
        """Component i from basis values [num_links, B, rank]."""
        return unpack(basis @ self.latents[i], self.shapes[i], self.complex_valued[i])

    def select(self, links: Tensor) -> CompactMapping:
        """The mapping of some links, in the order given."""
        trunk = replace(
            self.trunk,
            frequency=self.trunk.frequency[links],
            phase=self.trunk.phase[links],
            readout=self.trunk.readout[links],
        )
        return replace(self, trunk=trunk, latents=tuple(c[links] for c in self.latents))

    def to(self, device: torch.device | str) -> CompactMapping:
        """The mapping on another device."""
        trunk = Trunk(
            self.trunk.frequency.to(device),
            self.trunk.phase.to(device),
            tuple((k.to(device), b.to(device)) for k, b in self.trunk.units),
            self.trunk.readout.to(device),
        )
        return replace(self, trunk=trunk, latents=tuple(c.to(device) for c in self.latents))

    @property
    def num_bytes(self) -> int:
        """Bytes of trunk and latent tensors."""
        tensors = [self.trunk.frequency, self.trunk.phase, self.trunk.readout, *self.latents]
        return sum(t.numel() * t.element_size() for t in tensors)

    @staticmethod
    def concatenate(parts: Sequence[CompactMapping]) -> CompactMapping:
        """One mapping of all the links of several."""
        first = parts[0]
        trunk = replace(
            first.trunk,
            frequency=torch.cat([m.trunk.frequency for m in parts]),
            phase=torch.cat([m.trunk.phase for m in parts]),
            readout=torch.cat([m.trunk.readout for m in parts]),
        )
        latents = tuple(torch.cat(c) for c in zip(*(m.latents for m in parts), strict=True))
        return replace(first, trunk=trunk, latents=latents)


def pack(component: Tensor, num_dims: int) -> Tensor:
    """A component [..., *shape] of ``num_dims`` dimensions as real rows [..., n]."""
    flat = component.flatten(-num_dims)
    return torch.view_as_real(flat).flatten(-2) if flat.is_complex() else flat


def unpack(rows: Tensor, shape: tuple[int, ...], complex_valued: bool) -> Tensor:
    """The inverse of :func:`pack`, without a copy."""
    if complex_valued:
        rows = torch.view_as_complex(rows.unflatten(-1, (math.prod(shape), 2)))
    return rows.unflatten(-1, shape)


def slow_units(count: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Sine units for a coordinate that results depend on smoothly: 1, then sin/cos pairs.

    Their period is twice the domain's length and more, so that the ends need not match.
    """
    order = torch.arange(count)
    kappa = (order + 1).div(2, rounding_mode="floor").to(dtype) * (math.pi / 3)
    beta = torch.where(order % 2 == 0, math.pi / 2, 0.0).to(dtype)
    return kappa, beta
