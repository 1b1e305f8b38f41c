"""Hold: every grid point takes the exact result of the nearest sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neumatc_mimo.operations.base import Components, Operation
from neumatc_mimo.solvers.approximation import Approximation
from neumatc_mimo.solvers.base import Channels
from neumatc_mimo.solvers.registry import register
from neumatc_mimo.solvers.sampled import Sampled


@register(name="hold")
@dataclass(frozen=True)
class Hold(Sampled):
    r"""Piecewise constant: :math:`\hat Y(p) = Y(p_s)`, p_s the sample nearest to p.

    This is what base stations do: ``Hold(block=12)`` has one filter for a resource block of 12
    subcarriers, computed at its centre. The error falls linearly with the distance of the samples.

    :param num_samples: Number of samples, evenly spread, both ends included; 0 with a block
    :param block: Instead of ``num_samples``: the number of consecutive grid points that share a
        result
    """

    num_samples: int = 0
    block: int = 0

    def __post_init__(self) -> None:
        if min(self.num_samples, self.block) != 0 or max(self.num_samples, self.block) < 1:
            raise ValueError(
                f"Hold takes either num_samples or block, not {self.num_samples} and {self.block}."
            )

    def _points(self, frequencies: Tensor) -> Tensor:
        if not self.block:
            return super()._points(frequencies)
        starts = torch.arange(0, len(frequencies), self.block)
        stops = (starts + self.block).clamp_max(len(frequencies))
        return (starts + stops) // 2

    def _interpolate(
        self, operation: Operation, channels: Channels, points: Tensor, samples: Components
    ) -> Approximation:
        if self.block:
            nearest = torch.arange(channels.a.shape[1], device=points.device) // self.block
        else:
            places = channels.frequencies[points]
            nearest = torch.bucketize(channels.frequencies, (places[1:] + places[:-1]) / 2)
        return lambda subcarriers: tuple(c[:, nearest[subcarriers]] for c in samples)
