"""Which OFDM symbols share their matrices: what differs is computed, what is alike once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from neumatc_mimo.blocks.checks import check_finite
from neumatc_mimo.blocks.tiles import take
from neumatc_mimo.tensors.tracing import is_traced

# Runs of neighbouring subcarriers, and their length, at which a channel is checked to be finite and
# constant over the OFDM symbols: a line of the cache holds eight of them.
_NUM_RUNS, _RUN = 2, 8

# OFDM symbols that share their matrices, in runs of neighbours.
Symbols = tuple[slice, ...]


def sharing(
    h: Tensor,
    other: Tensor | None,
    time_varying: bool | None,
    *,
    trusted: frozenset[int] = frozenset(),
    dim: int = 1,
    time: float | None = None,
) -> list[Symbols]:
    """OFDM symbols that share their matrices, in the order of each group's first symbol.

    Comparing all of h costs more than the block (188 MB for a slot of 14 symbols), so symbols
    are compared bit by bit at probe subcarriers. NaN and infinite entries are refused there.

    :param h: [..., num_ofdm_symbols, num_subcarriers]
    :param other: What the matrices depend on beside h, all of which is compared, likewise; None,
        or of one symbol, where it is constant
    :param time_varying: Whether h differs between symbols; None finds out
    :param trusted: Transmitters or receivers, along ``dim`` of h, that do not depend on h
    :param time: None where their channels are constant
    """
    num = h.shape[-2]
    if trusted and time is not None:
        return each(num)
    rest = [i for i in range(h.shape[dim]) if i not in trusted]
    if trusted and rest:
        h = take(h, dim, rest)
    if not rest or h.stride(-2) == 0:
        h = h[..., :1, :]
    values = [other] if other is not None and other.shape[-2] > 1 else []
    if is_traced():
        unknown = h.shape[-2] > 1 if time_varying is None else time_varying
        return each(num) if unknown or values else [(slice(0, num),)]
    probes = _probes(h)
    check_finite(probes, probes.sum())
    if h.shape[-2] > 1 and time_varying:
        return each(num)
    if h.shape[-2] > 1 and time_varying is None:
        values.append(probes)
    return _alike(values, num)


def each(num: int) -> list[Symbols]:
    """OFDM symbols each on its own."""
    return [(slice(i, i + 1),) for i in range(num)]


def at_symbols(value: Tensor, groups: Sequence[Symbols], num: int) -> Tensor:
    """A value [..., num_groups, n] of each group at each of its symbols; a view if it is one."""
    if len(groups) == 1:
        return value.expand(*value.shape[:-2], num, -1)
    group_of = {symbol: group for group, runs in enumerate(groups) for symbol in members(runs)}
    return take(value, -2, [group_of[symbol] for symbol in range(num)])


def members(runs: Symbols) -> list[int]:
    """All symbols of a group."""
    return [symbol for run in runs for symbol in range(run.start, run.stop)]


def _probes(h: Tensor) -> Tensor:
    """h [..., num_subcarriers] at 16 subcarriers of the whole band, or at all if there are few."""
    num = h.shape[-1]
    if num <= 2 * _NUM_RUNS * _RUN:
        return h.contiguous()
    starts = [(number + 1) * num // (_NUM_RUNS + 1) for number in range(_NUM_RUNS)]
    return torch.cat([h[..., start : start + _RUN] for start in starts], dim=-1)


def _alike(values: Sequence[Tensor], num: int) -> list[Symbols]:
    """Symbols in groups of equal values [..., num_ofdm_symbols, n]."""
    values = [v for v in values if not bool((v[..., 1:, :] == v[..., :1, :]).all())]
    groups: list[list[slice]] = []
    for i in range(num):
        for group in groups:
            first, last = group[0].start, group[-1]
            if all(torch.equal(v.select(-2, i), v.select(-2, first)) for v in values):
                if last.stop == i:
                    group[-1] = slice(last.start, i + 1)
                else:
                    group.append(slice(i, i + 1))
                break
        else:
            groups.append([slice(i, i + 1)])
    return [tuple(group) for group in groups]
