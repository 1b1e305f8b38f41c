"""Constellations by the bits that decide real and imaginary parts, each on its own."""

from __future__ import annotations

from typing import NamedTuple

import torch
from sionna.phy.mapping import Constellation
from torch import Tensor

from neumatc_mimo.blocks.qam_demapper import QAMDemapper


class BitAxis(NamedTuple):
    """Points that some of a symbol's bits choose; a symbol is the sum of one of each axis.

    :param bits: which ones, first those of the highest value
    :param points: [2**len(bits)] complex, in the order of the bits' values
    """

    bits: tuple[int, ...]
    points: Tensor

    @property
    def labels(self) -> Tensor:
        """Which bits are one in the points, [2**len(bits), len(bits)] bool."""
        number = torch.arange(len(self.points), device=self.points.device)
        shift = torch.arange(len(self.bits) - 1, -1, -1, device=self.points.device)
        return ((number[:, None] >> shift) & 1).bool()

    def logits(self, llr: Tensor) -> Tensor:
        """Logarithms of the points' probabilities, [num_points, ...], from ratios of all bits
        [num_bits, ...].
        """
        own = llr[list(self.bits)].flatten(1)
        both = torch.cat([torch.nn.functional.logsigmoid(s * own) for s in (1, -1)])
        one = self.labels.to(llr.dtype)
        chosen = torch.cat([one, 1 - one], 1)
        return (chosen @ both).unflatten(1, llr.shape[1:])

    def ratios(self, terms: Tensor, sums: bool) -> Tensor:
        """Log-likelihood ratios of its bits, [len(bits), ...], from terms [num_points, ...].

        :param sums: whether all points count, or the most likely ones alone
        """
        found = []
        for one in self.labels.T:
            with_bit, without = terms[one], terms[~one]
            if sums:
                found.append(with_bit.logsumexp(0) - without.logsumexp(0))
            else:
                found.append(with_bit.amax(0) - without.amax(0))
        return torch.stack(found)


def bit_axes(constellation: Constellation) -> list[BitAxis]:
    """The axes of a constellation: two of square QAM, else one."""
    num_bits, points = int(constellation.num_bits_per_symbol), constellation.points
    points = points.detach()
    if not QAMDemapper.suits(constellation):
        return [BitAxis(tuple(range(num_bits)), points)]
    half = range(num_bits // 2)
    # Bits take turns, and bits of zero leave the other axis at its first point.
    spread = [
        sum(((label >> bit) & 1) << (2 * bit) for bit in half) for label in range(2 ** len(half))
    ]
    real = points[[2 * label for label in spread]].real
    imag = points[spread].imag
    zero = torch.zeros_like(real)
    return [
        BitAxis(tuple(range(0, num_bits, 2)), torch.complex(real, zero)),
        BitAxis(tuple(range(1, num_bits, 2)), torch.complex(zero, imag)),
    ]
