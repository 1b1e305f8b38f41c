"""The links that a model was trained on: their channels, at fixed frequencies, with NumPy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neumatc_mimo.foundation.waves import wave

Floats = NDArray[np.floating[Any]]
Complexes = NDArray[np.complexfloating[Any, Any]]

# Distance from a subcarrier, in subcarriers, below which a frequency is that subcarrier.
_SAME = 1e-6


@dataclass(frozen=True, eq=False, kw_only=True)
class Links(ABC):
    """Channels of links at rest.

    :param row_delays: delay that alignment takes out of each row in seconds, [num_links, K],
        float64
    :param fft_size: number of subcarriers of the trained grid
    :param subcarrier_spacing: Hz
    """

    row_delays: Floats
    fft_size: int
    subcarrier_spacing: float

    @property
    @abstractmethod
    def num_cols(self) -> int:
        """Number M of columns: base-station antennas."""

    @property
    def num_links(self) -> int:
        """Number of links."""
        return self.row_delays.shape[0]

    @property
    def num_rows(self) -> int:
        """Number K of rows: antennas of all users of a link."""
        return self.row_delays.shape[1]

    def grid_frequencies(self) -> Floats:
        r"""The trained subcarriers :math:`f_i = (i - \lfloor N/2 \rfloor) \Delta f`, Hz."""
        return (np.arange(self.fft_size) - self.fft_size // 2) * self.subcarrier_spacing

    def channel(
        self, frequencies: Floats, links: Sequence[int] | None = None, *, aligned: bool = False
    ) -> Complexes:
        """Evaluate the channels; phases are computed in float64.

        :param frequencies: Hz relative to the carrier, [num_frequencies]
        :param links: indices of the links, [num_selected]; None means all
        :param aligned: whether to take the row delays out

        :return: [num_selected, num_frequencies, K, M], complex64
        """
        chosen = range(self.num_links) if links is None else links
        if any(not 0 <= link < self.num_links for link in chosen):
            raise ValueError(f"links is {links}, there are links 0 to {self.num_links - 1}.")
        frequencies = np.asarray(frequencies, np.float64)
        shape = (len(chosen), len(frequencies), self.num_rows, self.num_cols)
        channel = np.empty(shape, np.complex64)
        for into, link in zip(channel, chosen, strict=True):
            into[:] = self._one(frequencies, link, aligned)
        return channel

    @abstractmethod
    def _one(self, frequencies: Floats, link: int, aligned: bool) -> Complexes:
        """The channel of one link, [num_frequencies, K, M]."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PathLinks(Links):
    r"""Links as paths, :math:`H_l(f)_{km} = \sum_p a_{lkmp} e^{-j 2\pi f \tau_{lkmp}}`.

    :param coefficients: a, [num_links, K, M, P], complex128
    :param delays: :math:`\tau` in seconds, [num_links, 1 or K, 1 or M, P], float64
    """

    coefficients: Complexes
    delays: Floats

    @property
    def num_cols(self) -> int:
        return self.coefficients.shape[2]

    def _one(self, frequencies: Floats, link: int, aligned: bool) -> Complexes:
        delays = self.delays[link]
        if aligned:
            # One row stands for all where the rows share their paths.
            delays = delays - self.row_delays[link, : len(delays), None, None]
        waves = wave(frequencies[:, None, None, None], delays).astype(np.complex64)
        coefficients = self.coefficients[link].astype(np.complex64)
        if delays.shape[1] > 1:
            channel: Complexes = (waves * coefficients).sum(-1)
            return channel
        # [1 or K, F, P] times [K, P, M]
        per_row = waves[:, :, 0].transpose(1, 0, 2) @ coefficients.transpose(0, 2, 1)
        return per_row.transpose(1, 0, 2)


@dataclass(frozen=True, eq=False, kw_only=True)
class SampledLinks(Links):
    """Links as samples on the trained grid.

    :param samples: [num_links, fft_size, K, M], complex
    """

    samples: Complexes

    @property
    def num_cols(self) -> int:
        return self.samples.shape[3]

    def _one(self, frequencies: Floats, link: int, aligned: bool) -> Complexes:
        """:raises ValueError: if a frequency is none of the grid's"""
        place = frequencies / self.subcarrier_spacing + self.fft_size // 2
        nearest = np.clip(np.round(place).astype(int), 0, self.fft_size - 1)
        if (np.abs(place - nearest) > _SAME).any():
            raise ValueError(
                "Links without paths are known at the subcarriers that they were trained on alone."
            )
        channel = self.samples[link][nearest]
        if aligned:
            turns = wave(-frequencies[:, None], self.row_delays[link])
            channel = channel * turns[..., None]
        return channel.astype(np.complex64)


def unpacked(
    tensors: Mapping[str, NDArray[Any]], values: Mapping[str, Any], complexes: Sequence[str]
) -> Links:
    """The links of a model.

    :param tensors: those of the links, by name
    :param values: of the manifest
    :param complexes: names of tensors that are pairs of reals
    """

    def of(name: str) -> NDArray[Any]:
        # safetensors has no complex128: such tensors are pairs of reals.
        tensor = tensors[name]
        return tensor[..., 0] + 1j * tensor[..., 1] if name in complexes else tensor

    common: dict[str, Any] = {name: values[name] for name in ("fft_size", "subcarrier_spacing")} | {
        "row_delays": tensors["row_delays"]
    }
    if "samples" in tensors:
        return SampledLinks(samples=of("samples"), **common)
    return PathLinks(coefficients=of("coefficients"), delays=tensors["delays"], **common)
