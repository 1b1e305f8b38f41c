"""Which OFDM symbols share their matrices: what differs is computed, what is alike once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from neumatc_mimo.blocks.checks import check_finite
from neumatc_mimo.blocks.tiles import take
from neumatc_mimo.kernels.lanes import comparing
from neumatc_mimo.tensors.differentiated import is_differentiated
from neumatc_mimo.tensors.tracing import is_traced

# Antennas of a row that take turns along the band where symbols are compared: more of them leave
# stretches of memory too short to be read at speed (8 users, 64 antennas, a slot: 8 take 0.8 ms, 64
# 2.5).
_ANTENNAS = 8
# Entries of a channel that are compared one and all: that takes 50 µs.
_FEW = 2**15

# OFDM symbols that share their matrices, in runs of neighbours.
Symbols = tuple[slice, ...]


def sharing(
    h: Tensor,
    other: Tensor | Sequence[Tensor] | None,
    time_varying: bool | None,
    *,
    trusted: frozenset[int] = frozenset(),
    dim: int = 1,
    antennas: int = 4,
    time: float | None = None,
) -> list[Symbols]:
    """OFDM symbols that share their matrices, in the order of each group's first symbol.

    Comparing all of h costs more than the block (188 MB for a slot of 14 symbols), so symbols are
    compared bit by bit in every row at every subcarrier, each by one antenna, another one in each
    stretch of the band and in the next row: what happens to a user, a resource block or a symbol is
    seen, whatever it is, and so is what happens to an antenna of all rows, where there are enough
    of them. What happens to a single entry may not be. NaN and infinite entries are refused there.
    What a gradient is asked of is shared only if it is a view that repeats one symbol.

    :param h: [..., num_ofdm_symbols, num_subcarriers]
    :param other: What the matrices depend on beside h, all of which is compared, likewise, one or
        several; None, or of one symbol, where it is constant
    :param time_varying: Whether h differs between symbols; None finds out
    :param trusted: Transmitters or receivers, along ``dim`` of h, that do not depend on h
    :param antennas: Dimension of h along which antennas of a row lie
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
    others = [] if other is None else [other] if isinstance(other, Tensor) else other
    values = [value for value in others if value.shape[-2] > 1]
    if is_differentiated(*values, h if h.shape[-2] > 1 else None):
        # Equal symbols have gradients of their own.
        return each(num)
    if is_traced():
        unknown = h.shape[-2] > 1 if time_varying is None else time_varying
        return each(num) if unknown or values else [(slice(0, num),)]
    looks = _looks(h.detach(), antennas)
    for look in looks:
        first = look[..., :1, :]
        check_finite(first, first.sum())
    if h.shape[-2] > 1 and time_varying:
        return each(num)
    if h.shape[-2] > 1 and time_varying is None:
        values += looks
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


def _looks(h: Tensor, dim: int) -> list[Tensor]:
    """h [..., num_ofdm_symbols, num_subcarriers] at every subcarrier of one antenna of each row, as
    views [..., num_ofdm_symbols, n] that together have all rows and subcarriers; all of a small h.

    :param dim: along which the antennas lie
    """
    if h.numel() <= _FEW:
        return [h]
    num_antennas, num = h.shape[dim], h.shape[-1]
    turns = min(_ANTENNAS, num_antennas, num)
    length, step = num // turns, num_antennas // turns
    rows = max(set(range(h.dim() - 2)) - {dim}, key=lambda axis: h.shape[axis])
    looks = []
    for number, part in enumerate(h.split(step, rows)):
        # Antenna i * step + k in row k on stretch i: one step along the band and the antennas at
        # once, another one along the rows and the antennas; in every second part up to the last.
        unused = num_antennas - (turns - 1) * step - part.shape[rows]
        first = unused if number % 2 else 0
        size, stride = list(part.shape), list(part.stride())
        size[dim], size[-1] = turns, length
        along = stride[dim]
        stride[dim] = step * along + length * stride[-1]
        stride[rows] += along
        looks.append(part.as_strided(size, stride, part.storage_offset() + first * along))
    if turns * length < num:
        looks.append(h.select(dim, num_antennas - 1)[..., turns * length :])
    return looks


def _alike(values: Sequence[Tensor], num: int) -> list[Symbols]:
    """Symbols in groups of equal values [..., num_ofdm_symbols, n]."""
    values = [v for v in values if not _is_constant(v)]
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


def _is_constant(value: Tensor) -> bool:
    """Whether all symbols of a value [..., num_ofdm_symbols, n] are equal, bit by bit."""
    if comparing.compares(value):
        return comparing.is_constant(value)
    if value.dtype == torch.complex64:
        # Bits are compared more than twice as fast as numbers.
        value = value.resolve_conj().view(torch.int64)
        return not bool((value[..., 1:, :] ^ value[..., :1, :]).any())
    rest = value[..., 1:, :]
    return torch.equal(rest, value[..., :1, :].expand_as(rest))
