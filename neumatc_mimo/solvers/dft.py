"""Interpolation through the impulse response: inverse DFT of a comb of samples, and DFT back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from neumatc_mimo.operations.base import Components, Operation
from neumatc_mimo.solvers.approximation import Approximation
from neumatc_mimo.solvers.base import Channels
from neumatc_mimo.solvers.checks import check_positive
from neumatc_mimo.solvers.registry import register
from neumatc_mimo.solvers.sampled import Sampled
from neumatc_mimo.tensors.waves import turned


@register(name="dft")
@dataclass(frozen=True)
class DFT(Sampled):
    r"""DFT interpolation of the filter (Kashyap, Mollén, Björnson, Larsson, SPAWC 2016).

    ("Frequency-domain interpolation of the zero-forcing matrix in massive MIMO-OFDM".) The impulse
    response of a filter is short: T taps. Samples on a comb of S of the grid's N points give it by
    an inverse DFT; padded with zeros it goes back by a DFT to all points,

    .. math:: c_t = \frac1S \sum_{s=0}^{S-1} Y(p_{sD}) e^{j 2 \pi s t / S}, \qquad
              \hat Y(p_q) = \sum_{t \in \mathcal T} c_t e^{-j 2 \pi q t / (S D)},

    exact on a grid of N = S D points for an impulse response of at most T and S / 2 taps. The
    filter has taps before and after delay zero (the conjugate of a channel comes before), so the T
    taps lie where most of the energy is, for each item and component; the authors take the first T.
    Where the channel is not periodic over the grid, the jump between its ends leaves an error there
    that more samples hardly reduce.

    The comb is used instead of evenly spread samples that include both ends.

    :param num_samples: Largest number S of samples on the comb; fewer where S does not divide N
    :param num_taps: T; None keeps all S
    """

    # The transform gives the whole grid at once, in ``start``: it is part of the query.
    prepares: ClassVar[bool] = False

    num_taps: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_taps is not None:
            check_positive(self, num_taps=self.num_taps)

    def _points(self, frequencies: Tensor) -> Tensor:
        place = _places(frequencies)
        size = int(place[-1]) + 1
        spacing = -(-size // self.num_samples)
        # A subcarrier that is left out (the carrier's own) must not lie on the comb.
        for offset in range((size - 1) % spacing + 1):
            comb = torch.arange(offset, size, spacing, device=place.device)
            index = torch.searchsorted(place, comb)
            if bool((place[index] == comb).all()):
                return index
        raise ValueError(
            f"No comb of one in {spacing} subcarriers lies on this grid, it has too many gaps; "
            "take another number of samples or a spline."
        )

    def _interpolate(
        self, operation: Operation, channels: Channels, points: Tensor, samples: Components
    ) -> Approximation:
        place = _places(channels.frequencies)
        comb = place[points]
        spacing = int(comb[1] - comb[0]) if len(comb) > 1 else int(place[-1]) + 1
        offset = int(comb[0])

        def filled(values: Tensor) -> Tensor:
            if not len(values):  # the transform refuses to transform nothing
                return values.new_empty(0, len(place), *values.shape[2:])
            taps = torch.fft.ifft(values, dim=1)
            delays = self._window(taps)  # [num_items, T]
            size, period = len(comb), len(comb) * spacing
            shape = (*delays.shape, *(1,) * (values.ndim - 2))
            kept = taps.gather(1, _along(delays % size, taps))
            # The comb starts at an offset, which turns every tap.
            turn = turned(delays.to(torch.float64) * (offset / period))
            kept = kept * turn.to(taps.dtype).view(shape)
            padded = kept.new_zeros(len(values), period, *values.shape[2:])
            padded.scatter_(1, _along(delays % period, kept), kept)
            full = torch.fft.fft(padded, dim=1)[:, place]
            return full if values.is_complex() else full.real

        full = tuple(filled(c) for c in samples)
        return lambda subcarriers: tuple(c[:, subcarriers] for c in full)

    def _window(self, taps: Tensor) -> Tensor:
        """Delays, negative ones included, of the taps to keep, [num_items, T].

        They lie around the half of all taps (or the T taps) that has the most energy; which of the
        delays equal modulo S is meant the samples cannot tell: the window nearest to zero is taken.
        """
        size = taps.shape[1]
        num = min(self.num_taps or size, size)
        core = min(num, (size + 1) // 2)
        energy = taps.abs().square().flatten(2).sum(-1)
        around = torch.cat([energy, energy[:, : core - 1]], dim=1).unfold(1, core, 1).sum(-1)
        start = around.argmax(-1, keepdim=True) - (num - core + 1) // 2
        centre = start + num // 2
        start = start - size * torch.round(centre / size).long()
        return start + torch.arange(num, device=taps.device)


def _places(frequencies: Tensor) -> Tensor:
    """Positions on the regular grid that the frequencies are part of, from zero on.

    :raises ValueError: if they are part of none
    """
    x = frequencies.to(torch.float64) - frequencies[0]
    if len(x) == 1:
        return torch.zeros(1, dtype=torch.int64, device=x.device)
    place = x / x.diff().min()
    if bool(((place - place.round()).abs() > 1e-3).any()):
        raise ValueError("DFT interpolates on regular grids only, these points lie on none.")
    return place.round().long()


def _along(index: Tensor, like: Tensor) -> Tensor:
    """An index [num_items, T] for all entries of ``like`` [num_items, _, ...]."""
    index = index.view(*index.shape, *(1,) * (like.ndim - 2))
    return index.expand(-1, -1, *like.shape[2:])
