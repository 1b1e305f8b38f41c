"""Looks at channels at every subcarrier, which tell whether they are the links they seem to be."""

from __future__ import annotations

import torch
from torch import Tensor

from neumatc_mimo.kernels.lanes.coverage import covers
from neumatc_mimo.kernels.lanes.library import loaded


def looks(a: Tensor, expected: Tensor, rows: Tensor) -> bool:
    """Whether there is a kernel for these, see :func:`look`."""
    tensors = (a, expected, rows)
    return covers(*tensors) and all(t.dtype == torch.complex64 for t in tensors)


def look(a: Tensor, antennas: Tensor, expected: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Compare some antennas of channels at every subcarrier with what links have there.

    :param a: [num_items, num_frequencies, K, M] complex64
    :param antennas: that are looked at, [num_frequencies, n] int64
    :param expected: of the links, [num_items, K, n, num_frequencies] complex64
    :param rows: factors of the links' rows, [num_items, num_frequencies, K] complex64

    :return: the largest square of a distance at a subcarrier, infinite where it is no number, and
        the mean power of the channel there, [num_items, K] each
    """
    library = loaded()
    assert library is not None
    expected, rows, antennas = (t.resolve_conj().contiguous() for t in (expected, rows, antennas))
    h = a.permute(0, 2, 3, 1).resolve_conj()
    h = h if h.shape[-1] == 1 or h.stride(-1) == 1 else h.contiguous()
    num = h.shape[-1]
    distance, power = h.real.new_empty(2, len(h), h.shape[1])
    for item in range(len(h)):
        library.look(
            rows=h.shape[1],
            subcarriers=num,
            looks=antennas.shape[1],
            channel=h[item],
            channel_row=h.stride(1),
            channel_antenna=h.stride(2),
            antenna=antennas,
            expected=expected[item],
            factor=rows[item],
            distance=distance[item],
            power=power[item],
        )
    return distance, power / num
