"""NeuMatC's activations: sines of delays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from neumatc_mimo.mapping.basis.base import BASES, Basis
from neumatc_mimo.mapping.basis.tables import DenseTable, Table


@BASES.register
@dataclass(frozen=True)
class SineBasis(Basis):
    r"""sin(ω_i x + b_i), NeuMatC's activations, at evenly spread delays.

    ω = π B τ for the delay τ and the band B, as x covers the band from -1 to 1; every delay has a
    sine and a cosine. A prior lets the coefficients decay with the delay: few samples leave the far
    delays open, the prior closes them.

    :param num_functions: number of functions, two for every delay
    :param spacing: spacing of the delays in 1/B
    :param decay: delay in 1/B over which the prior amplitude falls by e
    """

    kind: ClassVar[str] = "sine"
    num_functions: int
    spacing: float = 0.9
    decay: float = 45.0

    @property
    def width(self) -> int:
        return self.num_functions

    def table(self, x: Tensor, dtype: torch.dtype = torch.float64) -> Table:
        count = (self.num_functions + 1) // 2
        delays = (torch.arange(count, dtype=torch.float64, device=x.device) + 0.5) * self.spacing
        delays = torch.cat([delays, delays])[: self.num_functions]
        phase = torch.zeros_like(delays)
        phase[count:] = math.pi / 2
        # The prior is a scale of the functions, so that the ridge stays a multiple of the identity.
        amplitude = torch.exp(-delays / self.decay).clamp_min(1e-5)
        angle = x.to(torch.float64)[:, None] * (math.pi * delays) + phase
        return DenseTable(amplitude.to(dtype) * torch.sin(angle.to(dtype)))

    def penalty(self) -> Tensor:
        return 1e-10 * torch.eye(self.num_functions, dtype=torch.float64)

    def settings(self) -> dict[str, Any]:
        return {"kind": self.kind} | vars(self)
