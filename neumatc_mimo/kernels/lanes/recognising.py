"""Which trained links channels are, by a few probe subcarriers."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from neumatc_mimo.kernels.lanes.coverage import covers
from neumatc_mimo.kernels.lanes.library import loaded


class Limits(NamedTuple):
    """What makes a channel a link.

    :param alike: likeness above which a link is looked at closely
    :param deviation: of a row, relative
    :param tie: likenesses that rounding may tell apart
    """

    alike: float
    deviation: float
    tie: float


class Probed(NamedTuple):
    """Links as they are at the probes, contiguous tensors.

    :param probes: subcarriers, [num_probes] int64
    :param frequencies: theirs, Hz, float64
    :param reach: the probes by their distance from one of the closest two, that one first, int64
    :param channels: aligned, [num_links, num_probes, K, M] complex64
    :param power: of each row there, [num_links, num_probes, K] float32
    :param norm: of each row over all probes, [num_links, K] float32
    :param delays: of each row in seconds, float64
    """

    probes: Tensor
    frequencies: Tensor
    reach: Tensor
    channels: Tensor
    power: Tensor
    norm: Tensor
    delays: Tensor


def recognises(a: Tensor, links: Probed) -> bool:
    """Whether there is a kernel for these, see :func:`recognise`."""
    plain = not (a.is_conj() or a.is_neg())
    return plain and a.dtype == torch.complex64 and covers(a, links.channels)


def recognise(
    a: Tensor, links: Probed, candidates: Tensor | None, any_gain: bool, limits: Limits
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compare channels with trained links at the probes.

    :param a: [num_items, num_frequencies, K, M] complex64
    :param candidates: [num_items] links that the caller names (-1: unknown), or None
    :param any_gain: whether rows may have different gains or must share one

    :return: links [num_items], -1 where it is none; of the rows, [num_items, K] each, which row of
        the link they are, their gains, complex128, and delays in seconds, float64
    """
    library = loaded()
    assert library is not None
    num_items, _, rows, antennas = a.shape
    _, subcarrier, row, antenna = a.stride()
    order = torch.empty(num_items, rows, dtype=torch.int64)
    gain = torch.empty(num_items, rows, dtype=torch.complex128)
    delay = torch.empty(num_items, rows, dtype=torch.float64)
    named = None if candidates is None else candidates.tolist()
    same: dict[str, Any] = {
        "rows": rows,
        "antennas": antennas,
        "probes": len(links.probes),
        "links": len(links.channels),
        "channel_row": row,
        "channel_antenna": antenna,
        "channel_subcarrier": subcarrier,
        "probe": links.probes,
        "frequency": links.frequencies,
        "reach": links.reach,
        "reference": links.channels,
        "power": links.power,
        "norm": links.norm,
        "delays": links.delays,
        "named": named is not None,
        "any_gain": any_gain,
        "alike": limits.alike,
        "deviation": limits.deviation,
        "tie": limits.tie,
    }
    found = []
    for i in range(num_items):
        link = library.recognise(
            channel=a[i],
            candidate=-1 if named is None else named[i],
            order=order[i],
            gain=gain[i],
            delay=delay[i],
            **same,
        )
        if link < 0:
            order[i], gain[i], delay[i] = torch.arange(rows), 1, 0
        found.append(link)
    return torch.tensor(found, dtype=torch.int64), order, gain, delay
