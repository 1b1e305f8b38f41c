"""The trunk and the latent tensors that gradient steps learn, as modules of PyTorch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from neumatc_mimo.foundation.coordinate import coordinate
from neumatc_mimo.mapping.layout import Layout
from neumatc_mimo.operations.base import Components

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sine": torch.sin,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "gelu": nn.functional.gelu,
    "sigmoid": torch.sigmoid,
}


class MLPTrunk(nn.Module):
    r"""φ(x; θ), a multilayer perceptron with a linear last layer (NeuMatC, Section 2.1).

    Hidden layers are sin(ω₀ (W h + b)), initialised as SIREN: W uniform within 1/d in the first
    layer and within √(6/width)/ω₀ in the others (Sitzmann et al., 2020), so that ω₀ is the highest
    angular frequency of the first layer over x. Other activations, for comparison, take W h + b
    itself, W and b uniform within 1/√fan-in. With sines the functions φ have about unit
    variance at first.

    :param dimension: d
    :param depth: number of hidden layers
    :param width: functions of each
    :param rank: number r of functions
    :param omega0: ω₀ of the sines
    :param activation: "sine", "tanh", "relu", "gelu" or "sigmoid"
    :param generator: source of θ; None for PyTorch's own

    :raises ValueError: if a number is out of its range or the activation unknown
    """

    def __init__(
        self,
        dimension: int,
        depth: int,
        width: int,
        rank: int,
        omega0: float = 5.0,
        activation: str = "sine",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_positive(dimension=dimension, depth=depth, width=width, rank=rank, omega0=omega0)
        check_activation(activation)
        self.omega0 = omega0
        self.activation = activation
        sizes = [dimension] + [width] * depth
        self.hidden = nn.ModuleList(
            nn.utils.skip_init(nn.Linear, fan_in, fan_out)
            for fan_in, fan_out in itertools.pairwise(sizes)
        )
        self.readout: nn.Linear = nn.utils.skip_init(nn.Linear, width, rank)
        for number, layer in enumerate([*self.hidden, self.readout]):
            bound = 1 / math.sqrt(layer.in_features)
            scale = bound
            if layer is self.readout:
                scale *= math.sqrt(6)
            elif activation == "sine":
                scale = 1 / dimension if number == 0 else scale * math.sqrt(6) / omega0
            with torch.no_grad():
                layer.weight.uniform_(-scale, scale, generator=generator)
                layer.bias.uniform_(-bound, bound, generator=generator)

    @property
    def rank(self) -> int:
        """Number r of functions."""
        return self.readout.out_features

    def forward(self, x: Tensor) -> Tensor:
        """φ at x [B, d] in [-1, 1]^d, float32: [B, rank]."""
        activate = ACTIVATIONS[self.activation]
        gain = self.omega0 if self.activation == "sine" else 1.0
        for layer in self.hidden:
            x = activate(gain * layer(x))
        return self.readout(x)


class NeuMatC(nn.Module):
    r"""Ŷ_i(p) = C_i ×₃ φ(p; θ) for every component i (NeuMatC, Eq. (1)), over any domain.

    A complex component stands in twice as many real numbers, see
    :class:`~neumatc_mimo.mapping.layout.Layout`. Latent tensors are kept in units of the
    component's root-mean-square entry, so that one learning rate suits all of them.

    :param trunk: φ
    :param domain: [d, 2] bounds of p in its own units
    :param layouts: how each component is stored
    :param scales: what each component is divided by
    :param generator: source of the first latent tensors; None for PyTorch's own
    """

    domain: Tensor

    def __init__(
        self,
        trunk: MLPTrunk,
        domain: Tensor,
        layouts: Sequence[Layout],
        scales: Sequence[float],
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.layouts = tuple(layouts)
        self.scales = tuple(scales)
        self.register_buffer("domain", domain.to(torch.float64))
        # Close to zero: what random latent tensors of the results' size add would first have to be
        # unlearned, which takes plain Adam longer than all the rest.
        deviation = 0.01 / math.sqrt(trunk.rank)
        self.latents = nn.ParameterList(
            deviation * torch.randn(trunk.rank, layout.size, generator=generator)
            for layout in layouts
        )

    def coordinate(self, p: Tensor) -> Tensor:
        """p [B, d] in its own units as x in [-1, 1]^d, float32.

        :raises ValueError: if p has another shape
        """
        if p.ndim != 2 or p.shape[1] != len(self.domain):
            raise ValueError(
                f"Parameters are [batch, {len(self.domain)}] here, not {list(p.shape)}."
            )
        low, high = self.domain.unbind(-1)
        # Positions in the domain, not p itself, are small enough for single precision.
        return coordinate(p.to(low), (low, high)).float()

    def rows(self, basis: Tensor, latents: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Components in real rows [B, size] in units of their scales, from φ [B, rank].

        :param latents: others than the mapping's own
        """
        return [basis @ latent for latent in (self.latents if latents is None else latents)]

    def components(self, rows: Sequence[Tensor]) -> Components:
        """Components [B, *shape] in their own units, from the rows of :meth:`rows`."""
        return tuple(
            layout.unpack(scale * part)
            for layout, scale, part in zip(self.layouts, self.scales, rows, strict=True)
        )

    def forward(self, p: Tensor) -> Components:
        """Components at p [B, d] in the domain's own units: [B, *shape] float32 or complex64."""
        return self.components(self.rows(self.trunk(self.coordinate(p))))

    @torch.no_grad()
    def keep(self, latents: Sequence[Tensor]) -> None:
        """Take other latent tensors, [rank, size] for every component."""
        for own, latent in zip(self.latents, latents, strict=True):
            own.copy_(latent)


def check_positive(**values: float) -> None:
    """Refuse settings that are not positive."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} is {value}, it has to be positive.")


def check_activation(name: str) -> None:
    """Refuse an activation that is not known."""
    if name not in ACTIVATIONS:
        raise ValueError(f'There is no activation "{name}", known are {", ".join(ACTIVATIONS)}.')
