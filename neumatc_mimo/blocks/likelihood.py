"""Likelihoods of all vectors of constellation points, and what they tell of each stream."""

from __future__ import annotations

import torch
from sionna.phy import Block
from torch import Tensor

from neumatc_mimo.blocks.detector import Part


class Likelihood:
    """What a maximum-likelihood detector makes of statistics.

    :param detector: Sionna's, with all vectors and the conversion to bits
    :param output: "bit" or "symbol"
    :param demapping_method: "app" or "maxlog"
    :param hard_out: whether it decides
    """

    def __init__(self, detector: Block, output: str, demapping_method: str, hard_out: bool) -> None:
        self._detector, self._output, self._hard = detector, output, hard_out
        self._sums = demapping_method == "app"

    def __call__(self, part: Part) -> Tensor:
        """[num_values, num_streams, symbols, subcarriers]"""
        logits = self._logits(part)
        if self._output == "bit":
            ratios: Tensor = self._detector._logits2llr(logits.movedim(0, -1).contiguous())
            return ratios.movedim(-1, 0)
        return logits.argmax(0, keepdim=True).to(torch.int32) if self._hard else logits

    def _logits(self, part: Part) -> Tensor:
        """Of the points of each stream, [num_points, num_streams, symbols, subcarriers]."""
        r, y = part.m, part.y
        # [num_vectors, num_streams], the first stream's points change last
        vectors = self._detector._vecs
        num_streams, num_points = r.shape[1], int(self._detector.constellation.num_points)
        exponents = y.real.new_zeros(len(vectors), *y.shape[1:])
        for row in range(len(r)):
            # [num_vectors, symbols or 1, subcarriers], once for all symbols
            sent = (vectors @ r[row].flatten(1)).unflatten(1, r.shape[2:])
            away = y[row] - sent
            exponents = exponents - away.real.square() - away.imag.square()
        if len(y) > len(r):
            exponents = exponents - y[len(r)].real
        if part.prior is not None:
            exponents = exponents + self._known(part.prior)
        every = exponents.unflatten(0, (num_points,) * num_streams)
        found = []
        for stream in range(num_streams):
            others = [dim for dim in range(num_streams) if dim != stream]
            if not others:
                found.append(every)
            elif self._sums:
                found.append(every.logsumexp(others))
            else:
                found.append(every.amax(others))
        return torch.stack(found, 1)

    def _known(self, prior: Tensor) -> Tensor:
        """Logarithms of the vectors' probabilities, [num_vectors, symbols, subcarriers], from a
        prior [num_values, num_streams, symbols, subcarriers].
        """
        if self._output == "bit":
            ratios = prior.movedim(0, -1).contiguous()
            prior = self._detector._llrs2logits(ratios).movedim(-1, 0)
        streams = prior.unbind(1)
        total = streams[0]
        for one in streams[1:]:
            total = (total[:, None] + one).flatten(0, 1)
        return total
