"""NeuMatC's compact mapping: a trunk of sine units and one latent tensor per component."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from neumatc_mimo.noise import NoiseAxis
from neumatc_mimo.operations.base import Components


@dataclass(frozen=True)
class Trunk:
    r"""φ(x; θ) = readout^T sin(ω x + b): one hidden layer of sine units (NeuMatC, Section 2.1).

    :param frequency: ω, [width]
    :param phase: b, [width]
    :param readout: [num_links, width, rank]
    """

    frequency: Tensor
    phase: Tensor
    readout: Tensor

    @property
    def rank(self) -> int:
        """Number r of basis functions."""
        return self.readout.shape[-1]

    def hidden(self, x: Tensor) -> Tensor:
        """Hidden units at x [B] in [-1, 1]: [B, width]."""
        return torch.sin(x[:, None] * self.frequency + self.phase)

    def __call__(self, x: Tensor) -> Tensor:
        """φ at x [B]: [num_links, B, rank]."""
        return self.hidden(x) @ self.readout


@dataclass(frozen=True)
class CompactMapping:
    r"""Ŷ_i(p) = C_i ×₃ φ(p; θ) for every component i (NeuMatC, Eq. (1)), batched over links.

    With p = (x, no) the basis is the product φ_a(x) ψ_j(no) of the trunk's functions and those of
    the noise axis. A call has one noise power per link: ψ is folded into the latent tensor first,
    [rank, nodes, n] → [rank, n], so that a subcarrier costs ``rank`` multiplications an entry
    whatever the number of nodes.

    :param trunk: φ
    :param noise: ψ
    :param latents: C_i, [num_links, rank, nodes, n1 * n2 (* 2 where complex, interleaved)]
    :param shapes: (n1, n2, …) of each component
    :param complex_valued: whether component i is complex
    :param band: lowest and highest frequency in Hz; x = -1 and 1
    """

    trunk: Trunk
    noise: NoiseAxis
    latents: tuple[Tensor, ...]
    shapes: tuple[tuple[int, ...], ...]
    complex_valued: tuple[bool, ...]
    band: tuple[float, float]

    @property
    def num_links(self) -> int:
        """Number of links."""
        return self.trunk.readout.shape[0]

    def coordinate(self, frequencies: Tensor) -> Tensor:
        """x in [-1, 1] of frequencies [B] in Hz, float32 after a float64 subtraction."""
        low, high = self.band
        half = (high - low) / 2
        x = (frequencies.to(torch.float64) - (low + high) / 2) / half
        return x.to(self.trunk.frequency)

    def at_noise(self, no: Tensor) -> tuple[Tensor, ...]:
        """Latent tensors with the noise powers [num_links] folded in: [num_links, rank, n]."""
        return tuple(
            torch.einsum("lrqn,lq->lrn", latent, self.noise.weights(no).to(latent))
            for latent in self.latents
        )

    def __call__(self, frequencies: Tensor, no: Tensor) -> Components:
        """Components at frequencies [B] (Hz) and noise powers [num_links]: [num_links, B, ...]."""
        basis = self.trunk(self.coordinate(frequencies))
        folded = self.at_noise(no)
        return tuple(self.component(i, basis, folded[i]) for i in range(len(folded)))

    def component(self, i: int, basis: Tensor, folded: Tensor) -> Tensor:
        """Component i from basis values [num_links, B, rank] and its folded latent tensor."""
        return unpack(basis @ folded, self.shapes[i], self.complex_valued[i])

    def select(self, links: Tensor) -> CompactMapping:
        """The mapping of some links, in the order given."""
        trunk = replace(self.trunk, readout=self.trunk.readout[links])
        return replace(self, trunk=trunk, latents=tuple(c[links] for c in self.latents))

    def to(self, device: torch.device | str) -> CompactMapping:
        """The mapping on another device."""
        trunk = Trunk(*(t.to(device) for t in vars(self.trunk).values()))
        return replace(self, trunk=trunk, latents=tuple(c.to(device) for c in self.latents))

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        named = {f"trunk.{name}": tensor for name, tensor in vars(self.trunk).items()}
        return named | {f"latent.{i}": latent for i, latent in enumerate(self.latents)}

    @property
    def num_bytes(self) -> int:
        """Bytes of trunk and latent tensors."""
        return sum(t.numel() * t.element_size() for t in self.tensors().values())

    @staticmethod
    def concatenate(parts: Sequence[CompactMapping]) -> CompactMapping:
        """One mapping of all the links of several."""
        trunk = replace(parts[0].trunk, readout=torch.cat([m.trunk.readout for m in parts]))
        latents = tuple(torch.cat(c) for c in zip(*(m.latents for m in parts), strict=True))
        return replace(parts[0], trunk=trunk, latents=latents)


def pack(component: Tensor, num_dims: int) -> Tensor:
    """A component [..., *shape] of ``num_dims`` dimensions as real rows [..., n]."""
    flat = component.flatten(-num_dims)
    return torch.view_as_real(flat).flatten(-2) if flat.is_complex() else flat


def unpack(rows: Tensor, shape: tuple[int, ...], complex_valued: bool) -> Tensor:
    """The inverse of :func:`pack`, without a copy."""
    if complex_valued:
        rows = torch.view_as_complex(rows.unflatten(-1, (math.prod(shape), 2)))
    return rows.unflatten(-1, shape)
