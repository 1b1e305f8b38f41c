"""Drawing the users of each link, with the scenario's seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neumatc_mimo.progress import Callbacks, Event, reported

from .assembly import Group, build_links, link_kind
from .deepmimo_data import BaseStation
from .links import LinkSet
from .schema import MultiUserConfig, ScenarioConfig, SingleUserConfig

# Subcarriers, spread over the grid, on which groups are judged.
_PROBES = 64
# Times of a burst at which they are judged, if users move.
_MOMENTS = 5

# Groups that are tried for each link that is asked for, and how many of them at once.
_TRIES = 50
_BATCH = 32


def draw_multi_user(
    config: ScenarioConfig, stations: Sequence[BaseStation], callback: Callbacks = None
) -> tuple[LinkSet, float]:
    r"""Draw links of ``users_per_link`` distinct users each.

    A group is skipped if the median of cond(:math:`H H^H`) over the grid is above
    ``max_condition``, with rows scaled as the scenario says, at any time of a burst.

    :param callback: Told of the links that are drawn

    :return: The links, and the share of the groups tried that was skipped
    :raises ValueError: If too few users have a path, or too few groups keep the limit
    """
    section = config.multi_user
    if section is None:
        raise ValueError(f"{config.file} has no section [multi_user], add one.")
    limit, size = section.max_condition, section.users_per_link
    for index, station in zip(config.deepmimo.base_station, stations, strict=True):
        if station.has_path.sum() < size:
            raise ValueError(
                f"{config.file}: users_per_link in [multi_user] is {size}, only "
                f"{station.has_path.sum()} users have a path from base station {index}."
            )

    def accept(links: LinkSet) -> Tensor:
        return _median_condition(links) <= limit

    return _draw(config, section, stations, size, accept, callback)


def draw_single_user(
    config: ScenarioConfig, stations: Sequence[BaseStation], callback: Callbacks = None
) -> tuple[LinkSet, float]:
    r"""Draw links of one user with an antenna array each.

    A user is skipped if :math:`\sigma_L/\sigma_1`, L streams, falls below ``min_singular_ratio``
    anywhere on the grid, at any time of a burst.

    :param callback: Told of the links that are drawn

    :return: The links, and the share of the users tried that was skipped
    :raises ValueError: If too few users keep the limit
    """
    section = config.single_user
    if section is None:
        raise ValueError(f"{config.file} has no section [single_user], add one.")
    limit, streams = section.min_singular_ratio, section.num_streams

    def accept(links: LinkSet) -> Tensor:
        return _least_singular_ratio(links, streams) >= limit

    return _draw(config, section, stations, 1, accept, callback)


def _draw(
    config: ScenarioConfig,
    section: MultiUserConfig | SingleUserConfig,
    stations: Sequence[BaseStation],
    size: int,
    accept: Callable[[LinkSet], Tensor],
    callback: Callbacks,
) -> tuple[LinkSet, float]:
    """Draw groups until there are enough, the base stations taking turns."""
    tried = done = 0
    drawn: list[list[Group]] = []
    kind = link_kind(section)
    with reported(callback) as tell:
        for index, station in enumerate(stations):
            wanted = len(range(index, section.num_links, len(stations)))
            kept: list[Group] = []
            # Each kind and each base station draws for itself, so that none disturbs another.
            rng = np.random.default_rng([config.seed, kind == "single_user", index])
            candidates = _candidates(rng, np.flatnonzero(station.has_path), size, _TRIES * wanted)
            while len(kept) < wanted:
                batch: list[Group] = [
                    (index, users) for users, _ in zip(candidates, range(_BATCH), strict=False)
                ]
                if not batch:
                    raise ValueError(_too_few(config, section, index, len(kept), wanted))
                tell(Event(f"drawing {kind} links", done + len(kept), section.num_links, "links"))
                good = accept(build_links(config, section, stations, batch)).tolist()
                for group, is_good in zip(batch, good, strict=True):
                    if len(kept) < wanted:
                        tried += 1
                        kept += [group] if is_good else []
            drawn.append(kept)
            done += len(kept)
        tell(Event(f"drawing {kind} links", done, section.num_links, "links"))
    turns = range(math.ceil(section.num_links / len(stations)))
    groups = [kept[turn] for turn in turns for kept in drawn if turn < len(kept)]
    return build_links(config, section, stations, groups), 1 - len(groups) / tried


def _candidates(
    rng: np.random.Generator, users: NDArray[np.int64], size: int, most: int
) -> Iterator[NDArray[np.int64]]:
    """Yield groups of distinct users, no group twice."""
    if size == 1:
        yield from rng.permutation(users)[:, None]
        return
    seen = set()
    for _ in range(most):
        group = rng.choice(users, size, replace=False)
        if (key := frozenset(group.tolist())) not in seen:
            seen.add(key)
            yield group


def _too_few(
    config: ScenarioConfig,
    section: MultiUserConfig | SingleUserConfig,
    index: int,
    found: int,
    wanted: int,
) -> str:
    limit = (
        f"max_condition = {section.max_condition:g}"
        if isinstance(section, MultiUserConfig)
        else f"min_singular_ratio = {section.min_singular_ratio:g}"
    )
    return (
        f"{config.file}: base station {config.deepmimo.base_station[index]} has only {found} of "
        f"{wanted} links within {limit} in [{link_kind(section)}], relax it or lower num_links."
    )


def _probes(links: LinkSet) -> Iterator[Tensor]:
    """Yield the channels on a few subcarriers at a few times of a burst, one if users stand still.

    [num_links, num_probes, K, M] each, complex128.
    """
    index = np.unique(np.linspace(0, links.fft_size - 1, _PROBES).round().astype(np.int64))
    frequencies = links.grid_frequencies()[index]
    for time in np.linspace(0.0, links.duration, _MOMENTS if links.duration else 1).tolist():
        yield links.channel(frequencies, dtype=torch.complex128, time=time)


def _median_condition(links: LinkSet) -> Tensor:
    """Median over the grid of cond(H H^H), the largest of all times, [num_links]."""
    medians = []
    for h in _probes(links):
        eigenvalues = torch.linalg.eigvalsh(h @ h.mH)
        smallest = eigenvalues[..., 0].clamp(min=torch.finfo(eigenvalues.dtype).tiny)
        medians.append((eigenvalues[..., -1] / smallest).median(dim=1).values)
    return torch.stack(medians).amax(0)


def _least_singular_ratio(links: LinkSet, streams: int) -> Tensor:
    """Smallest ratio of the last stream's to the first singular value, [num_links]."""
    values = (torch.linalg.svdvals(h) for h in _probes(links))
    return torch.stack([(s[..., streams - 1] / s[..., 0]).amin(dim=1) for s in values]).amin(0)
