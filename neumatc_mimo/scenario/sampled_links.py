"""Links that are given by their channels on a grid of subcarriers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.tensors.waves import wave

# Samples that a value between subcarriers is interpolated from.
_POINTS = 8

# Distance from a subcarrier, in subcarriers, below which a frequency is that subcarrier.
_SAME = 1e-6

# Numbers of the samples that a step of `mean_delays` or of an interpolation takes.
_STEP = 2**21


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SampledLinks(LinkSet):
    r"""Links as samples :math:`H_l(f_i)` on the grid, for channels that come without paths.

    Between two subcarriers the samples, with the delay of their rows taken out, are interpolated by
    polynomials of degree seven through eight neighbours; on a subcarrier a channel is its sample.
    Users stand still.

    :param samples: [num_links, fft_size, K, M], complex64 or complex128, row scaling applied
    :param mean_delays: Mean delay of each row in seconds, about which samples are interpolated,
        [num_links, K], float64; see :func:`mean_delays`

    The other fields are those of :class:`~neumatc_mimo.scenario.links.LinkSet`.

    :raises ValueError: If shapes do not fit, or an entry is NaN or infinite
    """

    told_by: ClassVar[str] = "samples"

    samples: Tensor
    mean_delays: Tensor

    def __post_init__(self) -> None:
        if self.samples.dim() != 4 or 0 in self.samples.shape:
            raise ValueError(
                f"samples has the shape {list(self.samples.shape)}, a non-empty "
                "[num_links, fft_size, K, M] is needed."
            )
        links, size, rows, _ = self.samples.shape
        if size != self.fft_size:
            raise ValueError(f"samples has {size} subcarriers, fft_size is {self.fft_size}.")
        if self.mean_delays.shape != (links, rows):
            raise ValueError(
                f"mean_delays has the shape {list(self.mean_delays.shape)}, {[links, rows]} is "
                "needed."
            )
        if self.doppler is not None:
            raise ValueError("doppler is given, users of links without paths stand still.")
        super().__post_init__()
        self._check_finite("samples", "mean_delays")

    @property
    def num_links(self) -> int:
        return self.samples.shape[0]

    @property
    def num_rows(self) -> int:
        return self.samples.shape[2]

    @property
    def num_cols(self) -> int:
        return self.samples.shape[3]

    def row_power(self) -> Tensor:
        """Mean of all samples."""
        return self.samples.abs().square().mean((1, 3)).to(torch.float64)

    def latest_delays(self, within_db: float) -> Tensor:
        """Of impulse responses through a Hann window, which keeps the ends of the band from leaking
        into all delays.
        """
        f, num = self.grid_frequencies(), self.fft_size
        window = torch.hann_window(num, periodic=False, dtype=torch.float64, device=self.device)
        taps = torch.arange(num, device=self.device)
        taps = torch.minimum(taps, num - taps)  # before or after zero
        order = taps.argsort(descending=True)
        latest = []
        for one in range(self.num_links):
            h = self.channel(f, [one], aligned=True)[0] * window.to(torch.float32)[:, None, None]
            power = torch.fft.ifft(h, dim=0).abs().square().mean(-1)[order].double()  # [N, K]
            beyond = power.cumsum(0) < 10 ** (-within_db / 10) * power.sum(0)
            last = beyond.sum(0).clamp_max(num - 1)
            latest.append(taps[order][last].double() / (num * self.subcarrier_spacing))
        return torch.stack(latest)

    def column_gram(self) -> Tensor:
        power = self.samples.abs().square().sum((1, 3), keepdim=True)
        rows = (self.samples / power.sqrt()).flatten(1, 2).to(torch.complex128)
        return rows.mH @ rows

    def in_columns(self, basis: Tensor) -> SampledLinks:
        return replace(self, samples=self.samples @ basis[:, None].to(self.samples.dtype))

    def known_channel(
        self,
        frequencies: Tensor,
        links: Tensor | Sequence[int] | None = None,
        *,
        aligned: bool = False,
        time: float = 0.0,
    ) -> Tensor:
        frequencies = self.check_frequencies(frequencies, in_band=False)
        (low, high), margin = self.band, self.subcarrier_spacing / 2
        inside = (low - margin <= frequencies) & (frequencies <= high + margin)
        links = self.check_links(links)
        shape = (len(links), len(frequencies), self.num_rows, self.num_cols)
        channel = torch.zeros(shape, dtype=torch.complex64, device=self.device)
        if bool(inside.any()):
            known = frequencies[inside]
            channel[:, inside] = self.channel(known, links, aligned=aligned, time=time)
        return channel

    def timing_advanced(self) -> SampledLinks:
        f = self.grid_frequencies()
        turn = wave(-f[:, None], self.row_delays[:, None], self.samples.dtype)
        return replace(
            self,
            samples=self.samples * turn[..., None],
            mean_delays=self.mean_delays - self.row_delays,
            row_delays=torch.zeros_like(self.row_delays),
            source=self._derived("advanced"),
        )

    def _evaluate(
        self, frequencies: Tensor, links: Tensor, aligned: bool, dtype: torch.dtype, time: float
    ) -> Tensor:
        """:raises ValueError: If a frequency lies outside the band"""
        self.check_frequencies(frequencies)
        place = frequencies / self.subcarrier_spacing + self.fft_size // 2
        nearest = place.round().clamp(0, self.fft_size - 1).long()
        if bool(((place - nearest).abs() < _SAME).all()):
            channel = self.samples[links][:, nearest].to(dtype)
        else:
            channel = self._between(frequencies, place, links, dtype)
        if aligned:
            delays = self.row_delays[links][:, None]
            channel = channel * wave(-frequencies[:, None], delays, dtype)[..., None]
        return channel

    def _between(
        self, frequencies: Tensor, place: Tensor, links: Tensor, dtype: torch.dtype
    ) -> Tensor:
        """Interpolated samples at places in subcarriers, [num_selected, num_frequencies, K, M]."""
        num_points = min(_POINTS, self.fft_size)
        first = (place.floor().long() - (num_points - 1) // 2).clamp(0, self.fft_size - num_points)
        points = first[:, None] + torch.arange(num_points, device=self.device)  # [F, points]
        weights = _lagrange(place[:, None] - points).to(torch.float64)
        delays = self.mean_delays[links]
        shape = (len(links), len(frequencies), self.num_rows, self.num_cols)
        channel = torch.empty(shape, dtype=dtype, device=self.device)
        step = max(1, _STEP // max(num_points * math.prod(shape[2:]) * len(links), 1))
        for part in torch.arange(len(frequencies), device=self.device).split(step):
            # A sample's own delay is taken out, and put back at the frequency that is asked for.
            away = (points[part] - place[part, None]) * self.subcarrier_spacing
            turns = wave(-away[..., None], delays[:, None, None])  # [L, F, points, K]
            factors = weights[part][..., None] * turns
            near = self.samples[links][:, points[part]].to(torch.complex128)
            channel[:, part] = torch.einsum("lfpk,lfpkm->lfkm", factors, near).to(dtype)
        return channel

    def _own_facts(self) -> dict[str, Any]:
        return {"channels": "samples on the grid"}


def mean_delays(samples: Tensor, subcarrier_spacing: float, antennas_per_user: int = 1) -> Tensor:
    r"""Mean delays of users' channels, from the mean turn between neighbouring subcarriers,

    .. math::
        \tau_u = -\frac{1}{2\pi\Delta f}
                 \arg\sum_{i,k,m} H(f_{i+1})_{km} H(f_i)_{km}^*,

    over the rows k of a user; they are known up to multiples of :math:`1/\Delta f`.

    :param samples: [num_links, fft_size, K, M], complex
    :param subcarrier_spacing: Hz
    :param antennas_per_user: Rows that share a delay, side by side

    :return: Seconds, [num_links, K], float64; rows of a user share one
    """
    turns = (samples[:, 1:] * samples[:, :-1].conj()).sum((1, 3)).to(torch.complex128)
    turns = turns.unflatten(1, (-1, antennas_per_user)).sum(2)
    delays = -torch.angle(turns) / (2 * torch.pi * subcarrier_spacing)
    return delays.repeat_interleave(antennas_per_user, 1)


def _lagrange(distance: Tensor) -> Tensor:
    r""":math:`\prod_{j \ne p} d_j / (d_j - d_p)` of distances d to points [..., num_points]."""
    num_points = distance.shape[-1]
    weights = torch.ones_like(distance)
    for p in range(num_points):
        for j in range(num_points):
            if j != p:
                weights[..., p] *= distance[..., j] / (distance[..., j] - distance[..., p])
    return weights
