"""Constellations by the bits that decide real and imaginary parts, each on its own."""

from __future__ import annotations

import torch
from sionna.phy.mapping import Constellation
from torch import Tensor

from neumatc_mimo.blocks.qam_demapper import QAMDemapper

# Logarithm of a probability that no result of double precision shows.
_TRIFLE = -70.0


class BitAxis:
    """Points that some of a symbol's bits choose; a symbol is the sum of one of each axis.

    :param bits: which ones, first those of the highest value
    :param points: [2**num_bits] complex, in the order of the bits' values
    """

    def __init__(self, bits: slice, points: Tensor) -> None:
        self.bits, self.points = bits, points
        num_bits = (len(points) - 1).bit_length()
        number = torch.arange(len(points))
        shift = torch.arange(num_bits - 1, -1, -1)
        ones = ((number[:, None] >> shift) & 1).bool()
        # [num_bits, num_points / 2] each: where a bit is one, and where it is zero.
        self._with_bit, self._without = (
            torch.stack([bit.nonzero()[:, 0] for bit in part.T]).to(points.device)
            for part in (ones, ~ones)
        )
        # [num_points, 2 num_bits]
        both = torch.cat([ones, ~ones], 1).to(points.device)
        self._chosen = both.to(points.real.dtype)

    def logits(self, llr: Tensor) -> Tensor:
        """Logarithms of the points' probabilities, [num_points, ...], from ratios of all bits
        [num_bits of a symbol, ...].
        """
        own = llr[self.bits].flatten(1)
        both = torch.cat([torch.nn.functional.logsigmoid(s * own) for s in (1, -1)])
        return (self._chosen.to(llr.dtype) @ both).unflatten(1, llr.shape[1:])

    def ratios(self, terms: Tensor, sums: bool) -> Tensor:
        """Log-likelihood ratios of its bits, [num_bits, ...], from terms [num_points, ...].

        :param sums: whether all points count, or the most likely ones alone
        """
        found = []
        for one, zero in zip(self._with_bit, self._without, strict=True):
            with_bit, without = terms.index_select(0, one), terms.index_select(0, zero)
            if sums:
                found.append(with_bit.logsumexp(0) - without.logsumexp(0))
            else:
                found.append(with_bit.amax(0) - without.amax(0))
        return torch.stack(found)


def bit_axes(constellation: Constellation) -> list[BitAxis]:
    """The axes of a constellation: two of square QAM, else one."""
    num_bits, points = int(constellation.num_bits_per_symbol), constellation()
    if not QAMDemapper.suits(constellation):
        return [BitAxis(slice(None), points)]
    half = range(num_bits // 2)
    # Bits take turns, and bits of zero leave the other axis at its first point.
    spread = [
        sum(((label >> bit) & 1) << (2 * bit) for bit in half) for label in range(2 ** len(half))
    ]
    real = points[[2 * label for label in spread]].real
    imag = points[spread].imag
    zero = torch.zeros_like(real)
    return [
        BitAxis(slice(0, None, 2), torch.complex(real, zero)),
        BitAxis(slice(1, None, 2), torch.complex(zero, imag)),
    ]


def shares(logits: Tensor) -> Tensor:
    """Probabilities along the first dimension, from their logarithms and any number.

    What is less than a trifle of the largest is that trifle: numbers too small to be normal take a
    processor a hundred times as long.
    """
    share = (logits - logits.amax(0)).clamp_min(_TRIFLE).exp()
    return share / share.sum(0)
