"""Perceptrons of sines, one for each link, and where their frequencies begin."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from neumatc_mimo.mapping.trunk import NetworkTrunk

# Share of the samples' power whose frequencies the first layer begins with, and the fewest turns
# over the band that it reaches to.
_SPECTRUM = 0.995
_FEWEST_TURNS = 8.0


@dataclass(frozen=True)
class Perceptrons:
    r"""φ(x; θ) of several links, :class:`~neumatc_mimo.mapping.trunk.NetworkTrunk` with gradients.

    :param omega0: ω₀
    :param weights: [num_links or 1, outputs, inputs] each
    :param biases: [num_links or 1, outputs] each
    """

    omega0: float
    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    @classmethod
    def drawn(
        cls,
        depth: int,
        width: int,
        rank: int,
        omega0: float,
        highest: Tensor,
        generator: torch.Generator,
    ) -> Perceptrons:
        r"""At random, every link the same but for the frequencies of the first layer.

        Hidden layers are initialised as SIREN, W uniform within √(6/inputs)/ω₀ (Sitzmann et al.,
        2020), the first one within the highest angular frequency over ω₀: whatever ω₀ is, its sines
        turn as often as what is learned. Biases spread the phases over a whole turn.

        :param highest: turns over the band, [num_links or 1]
        """
        sizes = [1] + [width] * depth + [rank]
        weights, biases = [], []
        for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            weight = 2 * torch.rand(outputs, inputs, generator=generator) - 1
            bias = (2 * torch.rand(outputs, generator=generator) - 1) * math.pi / omega0
            bound = torch.full_like(highest, math.sqrt(6 / inputs))
            if number == 0:
                bound = math.pi * highest / omega0
            elif number < depth:
                bound = bound / omega0
            else:
                bias = torch.zeros_like(bias)
            weights.append((bound[:, None, None] * weight.to(bound)).float())
            biases.append(bias.to(bound).repeat(len(highest), 1).float())
        whole = cls(omega0, tuple(weights), tuple(biases))
        for parameter in whole.parameters():
            parameter.requires_grad_(True)
        return whole

    def parameters(self) -> list[Tensor]:
        """θ."""
        return [*self.weights, *self.biases]

    def __call__(self, x: Tensor) -> Tensor:
        """φ at x [B], or [num_links, C] of each its own: [num_links or 1, B, rank], float32."""
        # The phase of the first layer has many turns.
        (weight, bias), *others = zip(self.weights, self.biases, strict=True)
        values = x.float()[..., None] * weight.mT + bias[:, None]
        for weight, bias in others:
            values = torch.sin(self.omega0 * values) @ weight.mT + bias[:, None]
        return values

    def trunk(self, shared: bool) -> NetworkTrunk:
        """As a mapping has them; one of all links where it is shared."""
        parts = ([t.detach() for t in tensors] for tensors in (self.weights, self.biases))
        if shared:
            parts = ([t[0] for t in tensors] for tensors in parts)
        weights, biases = (tuple(t.contiguous() for t in tensors) for tensors in parts)
        return NetworkTrunk(self.omega0, weights, biases)


def turns(rows: Tensor) -> Tensor:
    """How often evenly spread samples [num_links, S, n] turn over the band, [num_links]: the
    frequency up to which most of their power lies.
    """
    num = rows.shape[1]
    window = torch.hann_window(num, periodic=False, dtype=rows.dtype, device=rows.device)
    power = torch.fft.rfft(rows * window[:, None], dim=1).abs().square().sum(-1)
    share = power.double().cumsum(1) / power.double().sum(1, keepdim=True)
    return (share < _SPECTRUM).sum(1).double().clamp_min(_FEWEST_TURNS)
