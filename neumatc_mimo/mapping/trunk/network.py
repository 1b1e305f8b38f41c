"""NeuMatC's trunk: a perceptron with sine activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from neumatc_mimo.mapping.basis import DenseTable, Table
from neumatc_mimo.mapping.trunk.base import Trunk

# Their dimensions where links have a network each: links, outputs, inputs.
_OWN = 3


@dataclass(frozen=True)
class NetworkTrunk(Trunk):
    r"""φ(x; θ), a perceptron of sines with a linear last layer (NeuMatC, Section 2.1):

    .. math:: h_0 = x, \quad h_i = \sin(\omega_0 (W_i h_{i-1} + b_i)), \quad
              \varphi = W_{d+1} h_d + b_{d+1}.

    Its values are computed in double precision: a phase of many turns keeps its digits, and what
    is served is what was certified, however many links are evaluated at once.

    :param omega0: ω₀
    :param weights: W_i, [num_links, outputs, inputs], or [outputs, inputs] where links share them
    :param biases: b_i, likewise [num_links, outputs] or [outputs]
    """

    kind: ClassVar[str] = "mlp"

    omega0: float
    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    @property
    def rank(self) -> int:
        return self.weights[-1].shape[-2]

    @property
    def is_shared(self) -> bool:
        return self.weights[0].ndim < _OWN

    def table(self, x: Tensor, dtype: torch.dtype = torch.float32) -> Table:
        *hidden, readout = zip(self.weights, self.biases, strict=True)
        values = x.to(torch.float64)[:, None]
        for weight, bias in hidden:
            values = torch.sin(self.omega0 * _linear(values, weight, bias))
        return DenseTable(_linear(values, *readout).to(dtype))

    def select(self, links: slice | Tensor) -> NetworkTrunk:
        return self if self.is_shared else self._each(lambda t: t[links])

    def to(self, other: torch.device | str | torch.dtype) -> NetworkTrunk:
        return self._each(lambda t: t.to(other))

    def joined(self, others: Sequence[NetworkTrunk]) -> NetworkTrunk:
        if self.is_shared:
            return self
        parts = (self, *others)
        return replace(
            self,
            weights=tuple(map(torch.cat, zip(*(p.weights for p in parts), strict=True))),
            biases=tuple(map(torch.cat, zip(*(p.biases for p in parts), strict=True))),
        )

    def tensors(self) -> dict[str, Tensor]:
        named = {f"weight.{i}": weight for i, weight in enumerate(self.weights)}
        return named | {f"bias.{i}": bias for i, bias in enumerate(self.biases)}

    def settings(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "omega0": self.omega0,
            "depth": len(self.weights) - 1,
            "shared": self.is_shared,
        }

    @classmethod
    def stored(cls, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> NetworkTrunk:
        """From what :meth:`settings` and :meth:`tensors` gave."""
        layers = range(settings["depth"] + 1)
        return cls(
            settings["omega0"],
            tuple(tensors[f"weight.{i}"] for i in layers),
            tuple(tensors[f"bias.{i}"] for i in layers),
        )

    def _each(self, change: Any) -> NetworkTrunk:
        weights, biases = (tuple(map(change, ts)) for ts in (self.weights, self.biases))
        return replace(self, weights=weights, biases=biases)


def _linear(values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """W h + b of h [B, inputs] or [num_links, B, inputs]."""
    return values @ weight.to(values).mT + bias.to(values)[..., None, :]
