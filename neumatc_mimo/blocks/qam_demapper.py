"""Demapping of square QAM, each bit from the axis that carries it."""

from __future__ import annotations

from typing import Literal

import torch
from sionna.phy import Block
from sionna.phy.mapping import Constellation
from torch import Tensor

from neumatc_mimo.kernels.lanes import SquareQAM
from neumatc_mimo.tensors.results import new_result


class QAMDemapper(Block):
    r"""Log-likelihood ratios of the bits of a square QAM symbol.

    A :class:`~sionna.phy.mapping.Demapper` for constellations whose bits lie on one axis each, as
    those of 5G NR do: with the real part :math:`r` of y, levels :math:`l_j` and the sets
    :math:`\mathcal{L}_{i,b}` of those whose bit i is b

    .. math::
        \mathrm{LLR}(i) = \ln\sum_{j\in\mathcal{L}_{i,1}} e^{(2 r l_j - l_j^2)/N_0}
            - \ln\sum_{j\in\mathcal{L}_{i,0}} e^{(2 r l_j - l_j^2)/N_0}

    and alike for the imaginary part, "maxlog" with the largest term for each sum: the other axis
    and :math:`r^2` cancel. That takes :math:`\sqrt{M}` terms instead of M.

    :param demapping_method: "app" or "maxlog"
    :param constellation: Constellation of an even number of bits, see :meth:`suits`
    :param hard_out: If `True`, hard decisions instead of log-likelihood ratios
    :param precision: Precision used for internal calculations and outputs
    :param device: Device for computation

    :input y: [..., n], `torch.complex`. Received symbols.
    :input no: [..., n] or broadcastable to it, `torch.float`. Noise variance.

    :output llr: [..., n * num_bits_per_symbol], `torch.float`

    :raises ValueError: If the bits of the constellation do not lie on one axis each
    """

    def __init__(
        self,
        demapping_method: Literal["app", "maxlog"],
        constellation: Constellation,
        hard_out: bool = False,
        precision: str | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__(precision=precision, device=device)
        if not self.suits(constellation):
            raise ValueError("Each bit of the constellation must belong to one axis only.")
        self._method = demapping_method
        self._hard_out = hard_out
        self._num_bits = num_bits = int(constellation.num_bits_per_symbol) // 2
        # Bits take turns: the real axis has the first, the imaginary one the second.
        points = constellation.points.to(self.device)
        labels = _spread(torch.arange(2**num_bits, device=points.device), num_bits)
        # Complex, as Sionna's points are: halving a block takes digits from what is real.
        levels = torch.complex(points[2 * labels].real, points[labels].imag).to(self.cdtype)
        self.register_buffer("_levels", levels, persistent=False)
        self._tiny = float(torch.finfo(self.dtype).tiny)

    @staticmethod
    def suits(constellation: Constellation) -> bool:
        """Whether even bits give the real part of a point, odd ones the imaginary part."""
        num_bits = int(constellation.num_bits_per_symbol)
        if constellation.constellation_type != "qam" or num_bits % 2:
            return False
        points = constellation.points.cpu()
        labels = _spread(torch.arange(2 ** (num_bits // 2)), num_bits // 2)
        grid = points[(2 * labels)[:, None] + labels]
        real, imag = grid.real[:, :1].expand_as(grid), grid.imag[:1].expand_as(grid)
        return torch.equal(grid.real, real) and torch.equal(grid.imag, imag)

    @property
    def qam(self) -> SquareQAM:
        """What kernels are told."""
        return SquareQAM(self._levels, self._method, self._hard_out)

    def call(self, y: Tensor, no: Tensor) -> Tensor:
        """Demap; input and output as in the class's description."""
        if self.qam.covers(y, no):
            return self.qam.demap(y, no)
        no = no.clamp_min(self._tiny).expand(y.shape)
        llr = new_result(no, *y.shape, self._num_bits, 2)
        for axis, (part, levels) in enumerate(
            ((y.real, self._levels.real), (y.imag, self._levels.imag))
        ):
            part = part.contiguous()
            terms = [part * (2 * level) - level.square() for level in levels]
            if self._method == "app":
                terms = [term / no for term in terms]
            for bit in range(self._num_bits):
                one, zero = (self._total(terms, bit, value) for value in (1, 0))
                ratio = one - zero
                llr[..., bit, axis] = ratio if self._method == "app" else ratio / no
        llr = llr.flatten(-3)
        return (llr > 0).to(llr.dtype) if self._hard_out else llr

    def _total(self, terms: list[Tensor], bit: int, value: int) -> Tensor:
        """Logarithm of the sum of the terms whose bit has a value, or the largest of them."""
        shift = self._num_bits - 1 - bit
        chosen = [term for j, term in enumerate(terms) if (j >> shift) & 1 == value]
        if self._method == "app":
            return torch.logsumexp(torch.stack(chosen), dim=0)
        total = chosen[0]
        for term in chosen[1:]:
            total = torch.maximum(total, term)
        return total


def _spread(labels: Tensor, num_bits: int) -> Tensor:
    """Labels with their bits moved to every second place."""
    spread = torch.zeros_like(labels)
    for bit in range(num_bits):
        spread |= ((labels >> bit) & 1) << (2 * bit)
    return spread
