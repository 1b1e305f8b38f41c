"""Telling from a channel which trained link it is, up to what the operation allows.

A channel is compared twice. At a few probe subcarriers all its antennas tell which link it may be,
and the phase, delay, gain and order of its rows. Then a few antennas at every subcarrier, others
from one line of the cache to the next, tell that it is this link between the probes, too. Both
together read a twentieth of the channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from neumatc_mimo.foundation.probes import (
    ALIKE,
    DEVIATION,
    PEAK,
    STRETCH,
    TIE,
    looks,
    probe_indices,
)
from neumatc_mimo.kernels.lanes import looking, recognising
from neumatc_mimo.kernels.lanes.recognising import Probed
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.tensors.cache import outside_call
from neumatc_mimo.tensors.waves import wave

# Subcarriers of a link whose whole channel is computed at once.
_AT_ONCE = 512


@dataclass(frozen=True)
class Recognised:
    r"""Which links the items are: row i of an item is ``gain`` · e^{-j2πf·delay} · row ``order[i]``
    of the aligned link.

    :param links: [num_items] link index, -1 for unknown
    :param order: [num_items, K] row of the link that each given row is
    :param gain: [num_items, K] complex128
    :param delay: [num_items, K] seconds, float64
    :param num_beyond: unknown ones that are links, at a noise power or a time that was not trained
    """

    links: Tensor
    order: Tensor
    gain: Tensor
    delay: Tensor
    num_beyond: int = 0

    def select(self, items: Tensor) -> Recognised:
        """Those of some items, in ascending order."""
        if len(items) == len(self.links):
            return self
        return Recognised(self.links[items], self.order[items], self.gain[items], self.delay[items])

    def waves(self, frequencies: Tensor) -> Tensor:
        """e^{-j2πf·delay}, [num_items, num_frequencies, K], complex64."""
        return wave(frequencies[:, None], self.delay[:, None], torch.complex64)

    def rows(self, frequencies: Tensor) -> Tensor:
        """gain · e^{-j2πf·delay}, [num_items, num_frequencies, K], complex64."""
        return self.waves(frequencies) * self.gain[:, None].to(torch.complex64)

    def unchanged(self, frequencies: Tensor) -> Tensor:
        """Which items are their aligned links without any factor over a band, bool [num_items]."""
        ends = torch.stack([frequencies.amin(), frequencies.amax()])
        return ((self.rows(ends) - 1).abs() < DEVIATION).flatten(1).all(-1)


class Reference(NamedTuple):
    """What channels are compared with.

    :param links: the links at the probes
    :param adjoint: their aligned channels, [num_probes, M, num_links * K] conjugated
    """

    links: Probed
    adjoint: Tensor

    @classmethod
    def of(
        cls, links: LinkSet, frequencies: Tensor, dtype: torch.dtype, time: float = 0.0
    ) -> Reference:
        """Of trained links on a grid [num_frequencies] in Hz at a time in seconds."""
        probes = probe_subcarriers(len(frequencies)).to(links.device)
        at = frequencies[probes].to(torch.float64)
        channels = links.known_channel(at, aligned=True, time=time).to(dtype).contiguous()
        everyone = torch.arange(links.num_links, device=links.device)
        _, delays = links.row_terms(everyone, time)
        power = torch.view_as_real(channels).square().sum((3, 4))
        norm = power.sum(1).sqrt()
        flat = channels.permute(1, 0, 2, 3).flatten(1, 2)
        probed = Probed(probes, at, _reach(at), channels, power, norm, delays.contiguous())
        return cls(probed, flat.conj().resolve_conj().mT)


def _reach(frequencies: Tensor) -> Tensor:
    """Probes from one of the closest two to the farthest from it."""
    order = frequencies.argsort()
    f = frequencies[order]
    if len(f) < 2:
        return order
    closest = (f[1:] - f[:-1]).argmin()
    return order[(f - f[closest]).abs().argsort()]


def probe_subcarriers(num_frequencies: int) -> Tensor:
    """Indices of the probes, see :func:`~neumatc_mimo.foundation.probes.probe_indices`."""
    return torch.from_numpy(probe_indices(num_frequencies))


def compare(
    a: Tensor, reference: Reference, candidates: Tensor | None, *, any_gain: bool
) -> Recognised:
    """Compare channels with the trained links at the probes.

    :param a: [num_items, num_frequencies, K, M] channels, views
    :param reference: of the links
    :param candidates: [num_items] links that the caller names (-1: unknown), or None
    :param any_gain: whether rows may have different gains (plain inverse) or must share one
    """
    if recognising.recognises(a, reference.links):
        limits = recognising.Limits(ALIKE, DEVIATION, TIE)
        return Recognised(*recognising.recognise(a, reference.links, candidates, any_gain, limits))
    return recognise(a[:, reference.links.probes], reference, candidates, any_gain=any_gain)


def recognise(
    a: Tensor, reference: Reference, candidates: Tensor | None, *, any_gain: bool
) -> Recognised:
    """The same by PyTorch, for channels at the probes alone, [num_items, num_probes, K, M]."""
    num_items, _, num_rows, _ = a.shape
    device = a.device
    given = a.abs().square().sum((1, 3)).sqrt()  # [items, K]
    likeness = _likeness(a, given, reference)
    best = likeness.amax(-1).amin(1)  # [items, L]: the weakest row decides
    chosen = best.argmax(-1) if candidates is None else candidates.clamp_min(0)
    pick = torch.arange(num_items, device=device)
    if not bool((best[pick, chosen] > ALIKE).any()):
        return _strangers(num_items, num_rows, device)
    # Rows that differ in phase and delay only are as good in their own order as in any.
    own_row = TIE * torch.eye(num_rows, dtype=likeness.dtype, device=device)
    order = (likeness[pick, :, chosen] + own_row).argmax(-1)  # [items, K]
    proper = (order.sort(-1).values == torch.arange(num_rows, device=device)).all(-1)

    gain, delay, deviation = _fitted(a, reference.links, chosen, order)
    deviation = deviation / given.clamp_min(1e-30)
    accepted = proper & ((deviation < DEVIATION) & (given > 0)).all(-1)
    if not any_gain:
        size = gain.abs()
        accepted &= size.amax(-1) - size.amin(-1) < DEVIATION * size.amax(-1)
    if candidates is not None:
        accepted &= candidates >= 0
    return Recognised(torch.where(accepted, chosen, -1), order, gain, delay)


def spots(a: Tensor, first: int = 0) -> Tensor:
    """Some antennas of channels at every subcarrier, others from one line of the cache to the next.

    :param a: [num_items, num_frequencies, K, M], a view
    :param first: subcarrier of a grid that the first of these is

    :return: [num_items, K, antennas, num_frequencies]
    """
    num = a.shape[1]
    antennas = _antennas(first + num, a.shape[3], a.device)[first:]
    return a.permute(0, 2, 3, 1)[:, :, antennas.T, torch.arange(num, device=a.device)]


@lru_cache(maxsize=64)
def _antennas(num_frequencies: int, num_antennas: int, device: torch.device) -> Tensor:
    """Which antennas :func:`spots` looks at, [num_frequencies, n]; kept, as a copy to a GPU waits
    for all that it has to do.
    """
    with outside_call():
        return torch.from_numpy(looks(num_frequencies, num_antennas)).to(device)


@lru_cache(maxsize=64)
def _antennas_of_stretches(num_frequencies: int, num_antennas: int, device: torch.device) -> Tensor:
    """The same for each stretch of subcarriers that has them in common."""
    with outside_call():
        return _antennas(num_frequencies, num_antennas, device)[::STRETCH].contiguous()


def spots_of_link(links: LinkSet, link: int, frequencies: Tensor, time: float = 0.0) -> Tensor:
    """The same of a trained link at a time in seconds, aligned: [K, antennas, num_frequencies]."""
    parts = []
    for start in range(0, len(frequencies), _AT_ONCE):
        here = frequencies[start : start + _AT_ONCE]
        parts.append(spots(links.known_channel(here, [link], aligned=True, time=time), start)[0])
    return torch.cat(parts, dim=-1)


def is_link(
    a: Tensor, expected: Sequence[Tensor], found: Recognised, frequencies: Tensor
) -> Tensor:
    """Whether channels are the links they were taken for at every subcarrier, [num_items].

    :param a: the channels, [num_items, num_frequencies, K, M], a view
    :param expected: :func:`spots` of each item's aligned link, [K, antennas, num_frequencies]
    :param found: what they were taken for
    :param frequencies: [num_frequencies] Hz, float64
    """
    if looking.looks(a, expected):
        antennas = _antennas_of_stretches(a.shape[1], a.shape[3], a.device)
        distance, power = looking.look(
            a, antennas, expected, found.order, frequencies, found.gain, found.delay
        )
    else:
        given, rows = spots(a), found.rows(frequencies)
        own = zip(expected, found.order, strict=True)
        same = torch.stack([spots_of_item[order] for spots_of_item, order in own])
        difference = torch.addcmul(given, rows.mT[:, :, None], same, value=-1)
        distance, power = _power(difference).amax(-1), _power(given).mean(-1)
    # NaN is no link either.
    return (distance < PEAK**2 * power).all(-1)


def _power(spots: Tensor) -> Tensor:
    """Over the antennas, [num_items, K, num_frequencies]."""
    # Step by step: one sum over both dimensions takes ten times as long.
    parts = torch.view_as_real(spots).square().sum(2)
    return parts[..., 0] + parts[..., 1]


def _strangers(num_items: int, num_rows: int, device: torch.device) -> Recognised:
    """None of the items is a link."""
    links = torch.full((num_items,), -1, device=device)
    order = torch.arange(num_rows, device=device).expand(num_items, -1)
    delay = torch.zeros(num_items, num_rows, dtype=torch.float64, device=device)
    return Recognised(links, order, torch.ones_like(delay).to(torch.complex128), delay)


def _likeness(a: Tensor, given: Tensor, reference: Reference) -> Tensor:
    """How like every given row is every row of the links, [items, K, L, K']; 1 where they agree.

    :param given: [items, K] norms of the given rows
    """
    num_items, _, num_rows, _ = a.shape
    # [items, probes, K, 1] against [links, probes, K', M]: inner products <reference, given>.
    inner = a.permute(1, 0, 2, 3).flatten(1, 2) @ reference.adjoint  # [P, items * K, L * K']
    inner = inner.unflatten(2, (-1, num_rows)).unflatten(1, (num_items, num_rows))
    # Magnitudes leave out phase and delay.
    return inner.abs().sum(0) / given[:, :, None, None].clamp_min(1e-30) / reference.links.norm


def _fitted(
    a: Tensor, links: Probed, chosen: Tensor, order: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gains and delays of rows that fit the given ones best, and the norms of what is left,
    [items, K] each.

    :param chosen: [items] links
    :param order: [items, K] row of the link that each given row is compared with
    """
    rows = links.channels[chosen].gather(
        2, order[:, None, :, None].expand(-1, a.shape[1], -1, a.shape[3])
    )
    products = (rows.conj() * a).sum(-1).transpose(1, 2).to(torch.complex128)  # [items, K, P]
    weight = links.norm[chosen].gather(1, order).to(torch.float64).square()
    delay = _delays(products, links, links.delays[chosen].gather(1, order))
    waves = wave(links.frequencies, delay[..., None])
    gain = (products * waves.conj()).sum(-1) / weight
    # |a|^2 - |<a, fit>|^2 / |fit|^2 loses digits near zero, so the difference itself is taken.
    fit = rows.to(torch.complex128) * (gain[..., None] * waves).transpose(1, 2)[..., None]
    return gain, delay, (a - fit).abs().square().sum((1, 3)).sqrt()


def _delays(products: Tensor, links: Probed, own: Tensor) -> Tensor:
    """Delay of each row: the link's own, none (normalised delays), or the one that fits best."""
    power = products.abs().sum(-1)

    def score(delay: Tensor) -> Tensor:
        waves = wave(-links.frequencies, delay[..., None])
        return (products * waves).sum(-1).abs() / power.clamp_min(1e-300)

    def certain(delay: Tensor) -> bool:
        # Noise of single precision leaves the score below one by 1e-10 and less.
        return bool((score(delay) > 1 - 1e-7).all())

    def better(delay: Tensor, other: Tensor) -> Tensor:
        return torch.where(score(other) > score(delay), other, delay)

    delay = own
    if not certain(delay):
        delay = better(delay, torch.zeros_like(own))
    if not certain(delay):
        delay = better(delay, _searched(products, links))
    return delay


def _searched(products: Tensor, links: Probed) -> Tensor:
    """Delay by refinement from the closest probes to the farthest apart."""
    f, p = links.frequencies[links.reach], products[..., links.reach]
    unit = p / p.abs().clamp_min(1e-300)
    delay = torch.zeros(products.shape[:-1], dtype=torch.float64, device=products.device)
    for index in range(1, len(f)):
        step = f[index] - f[0]
        turn = unit[..., index] * unit[..., 0].conj()
        predicted = wave(-step, delay)
        delay = delay - torch.angle(turn * predicted) / (2 * torch.pi * step)
    return delay
