"""Looks at channels at every subcarrier, which tell whether they are the links they seem to be."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from neumatc_mimo.kernels.lanes.coverage import covers
from neumatc_mimo.kernels.lanes.emitters import along
from neumatc_mimo.kernels.lanes.library import Look, loaded


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
    (items, rows, _, num), (item, row, antenna, _) = h.shape, h.stride()
    expected = [e.resolve_conj().contiguous() for e in expected]
    order, gain, delay = order.contiguous(), gain.contiguous(), delay.contiguous()
    frequencies = frequencies.to(torch.float64).contiguous()
    distance, power = found = torch.empty(2, items, rows)
    for i in range(items):
        place = i * rows
        given = Look(
            rows=rows,
            subcarriers=num,
            looks=antennas.shape[1],
            channel=h.data_ptr() + i * item * h.element_size(),
            channel_row=row,
            channel_antenna=antenna,
            antenna=antennas.data_ptr(),
            expected=expected[i].data_ptr(),
            order=order.data_ptr() + place * order.element_size(),
            frequency=frequencies.data_ptr(),
            gain=gain.data_ptr() + place * gain.element_size(),
            delay=delay.data_ptr() + place * delay.element_size(),
            distance=distance.data_ptr() + place * found.element_size(),
            power=power.data_ptr() + place * found.element_size(),
        )
        library.tell("look", given)
    return distance, power / num
