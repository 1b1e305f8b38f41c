"""The links that a model was trained on: their channels, at fixed frequencies, with NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neumatc_mimo.foundation.waves import wave

Floats = NDArray[np.floating[Any]]
Complexes = NDArray[np.complexfloating[Any, Any]]


@dataclass(frozen=True, eq=False)
class Links:
    r"""Channels :math:`H_l(f)_{km} = \sum_p a_{lkmp} e^{-j 2\pi f \tau_{lkmp}}` of links at rest.

    :param coefficients: a, [num_links, K, M, P], complex128
    :param delays: :math:`\tau` in seconds, [num_links, 1 or K, 1 or M, P], float64
    :param row_delays: first-arrival delay of each row in seconds, [num_links, K], float64
    :param fft_size: number of subcarriers of the trained grid
    :param subcarrier_spacing: Hz
    """

    coefficients: Complexes
    delays: Floats
    row_delays: Floats
    fft_size: int
    subcarrier_spacing: float

    @property
    def num_links(self) -> int:
        """Number of links."""
        return self.coefficients.shape[0]

    @property
    def num_rows(self) -> int:
        """Number K of rows: antennas of all users of a link."""
        return self.coefficients.shape[1]

    @property
    def num_cols(self) -> int:
        """Number M of columns: base-station antennas."""
        return self.coefficients.shape[2]

    def grid_frequencies(self) -> Floats:
        r"""The trained subcarriers :math:`f_i = (i - \lfloor N/2 \rfloor) \Delta f`, Hz."""
        return (np.arange(self.fft_size) - self.fft_size // 2) * self.subcarrier_spacing

    def channel(
        self, frequencies: Floats, links: Sequence[int] | None = None, *, aligned: bool = False
    ) -> Complexes:
        """Evaluate the channels; phases are computed in float64.

        :param frequencies: Hz relative to the carrier, [num_frequencies]
        :param links: indices of the links, [num_selected]; None means all
        :param aligned: whether to take the first-arrival delay out of each row

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

    def _one(self, frequencies: Floats, link: int, aligned: bool) -> Complexes:
        """The channel of one link, [num_frequencies, K, M]."""
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
