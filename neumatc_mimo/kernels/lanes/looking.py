"""Looks at channels at every subcarrier, which tell whether they are the links they seem to be."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from neumatc_mimo.kernels.lanes.coverage import covers
from neumatc_mimo.kernels.lanes.emitters import along
from neumatc_mimo.kernels.lanes.library import loaded


def looks(a: Tensor, expected: Sequence[Tensor]) -> bool:
    """Whether there is a kernel for these, see :func:`look`."""
    return covers(a, *expected) and a.dtype == torch.complex64


def look(
    a: Tensor,
    antennas: Tensor,
    expected: Sequence[Tensor],
    order: Tensor,
    frequencies: Tensor,
    gain: Tensor,
    delay: Tensor,
) -> tuple[Tensor, Tensor]:
    """Compare some antennas of channels at every subcarrier with what links have there.

    :param a: [num_items, num_frequencies, K, M] complex64
    :param antennas: that are looked at in each stretch of eight subcarriers, [num_stretches, n]
        int64
    :param expected: of each item's link, [K, n, num_frequencies] complex64
    :param order: row of the link that each row of an item is, [num_items, K] int64
    :param frequencies: [num_frequencies] Hz, float64
    :param gain: of the rows, [num_items, K] complex128
    :param delay: likewise, seconds, float64

    :return: the largest square of a distance at a subcarrier, infinite where it is no number, and
        the mean power of the channel there, [num_items, K] each
    """
    library = loaded()
    assert library is not None
    h = along(a.permute(0, 2, 3, 1))
    expected = [e.resolve_conj().contiguous() for e in expected]
    order, gain, delay = order.contiguous(), gain.contiguous(), delay.contiguous()
    frequencies = frequencies.to(torch.float64).contiguous()
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
            order=order[item],
            frequency=frequencies,
            gain=gain[item],
            delay=delay[item],
            distance=distance[item],
            power=power[item],
        )
    return distance, power / num
