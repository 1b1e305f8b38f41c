"""Drawing the users of each link, with the scenario's seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neumatc_mimo.progress import Callback, Callbacks, Event, reported
from neumatc_mimo.scenario.assembly import Group, build_links, link_kind
from neumatc_mimo.scenario.base_station import BaseStation
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.scenario.schema import MultiUserConfig, ScenarioConfig, SingleUserConfig
from neumatc_mimo.scenario.selection import SELECTIONS

# Subcarriers, spread over the grid, on which groups are judged.
_PROBES = 64
# Times of a burst at which they are judged, if users move.
_MOMENTS = 5

# Groups that are tried for each link that is asked for, and how many of them at once.
_TRIES = 50
# Users that a group is selected from, for each user of it.
_POOL = 4
_BATCH = 32


@dataclass(frozen=True)
class Limit:
    """What groups have to keep to be drawn.

    :param key: of the scenario file
    :param value: that it has there
    :param what: is limited, in words
    :param measure: of links, [num_links]
    :param larger_is_better: whether ``value`` is the least, not the most
    """

    key: str
    value: float
    what: str
    measure: Callable[[LinkSet], Tensor]
    larger_is_better: bool = False

    def keeps(self, found: float) -> bool:
        """Whether what was measured is within the limit."""
        return found >= self.value if self.larger_is_better else found <= self.value

    def worst(self, found: Tensor) -> Tensor:
        """Of links that are kept together or not at all: [n, size] to [n]."""
        return found.amin(1) if self.larger_is_better else found.amax(1)

    def told(self, found: Sequence[float], number: int) -> str:
        """A limit, of two digits, that as many of what was measured keep."""
        value = sorted(found, reverse=self.larger_is_better)[number - 1]
        if not math.isfinite(value) or value == 0:
            return f"{value:g}"
        unit = 10.0 ** (math.floor(math.log10(value)) - 1)
        rounded = math.floor if self.larger_is_better else math.ceil
        return f"{unit * rounded(value / unit):g}"


def draw_multi_user(
    config: ScenarioConfig, stations: Sequence[BaseStation], callback: Callbacks = None
) -> tuple[LinkSet, float]:
    r"""Draw links of ``users_per_link`` distinct users each.

    A group is skipped if the median of cond(:math:`H H^H`) over the grid is above
    ``max_condition``, with rows scaled as the scenario says, at any time of a burst.

    With ``joint``, a group has as many users of each base station, of those that receive them
    better than the others do, and a link with every base station, in their order: link
    ``group * num_base_stations + b``. Its rows are the users of the first base station, then those
    of the second one, and so on. A group is skipped where any of its links exceeds the limit.

    With a ``selection`` other than "random", users are drawn for each group, of whom it takes some,
    see :mod:`~neumatc_mimo.scenario.selection`.

    :param callback: Told of the links that are drawn

    :return: The links, and the share of the groups tried that was skipped
    :raises ValueError: If too few users have a path, or too few groups keep the limit
    """
    section = config.multi_user
    if section is None:
        raise ValueError(f"{config.file} has no section [multi_user], add one.")
    if section.groups is not None:
        return build_links(config, section, stations, _given(config, section, stations)), 0.0
    limit, size = section.max_condition, section.users_per_link

    judge = Limit("max_condition", limit, "the median of cond(H H^H)", _median_condition)
    if section.joint:
        return _draw_joint(config, section, stations, judge, callback)
    for index, station in zip(config.base_stations, stations, strict=True):
        if station.able.sum() < size:
            raise ValueError(
                f"{config.file}: users_per_link in [multi_user] is {size}, only "
                f"{station.able.sum()} users have a path from base station {index}."
            )
    select = SELECTIONS.get(section.selection)
    if select is None:
        return _draw(config, section, stations, size, judge, callback)
    pool = section.pool or _POOL * size
    choose = partial(_selected, config, section, stations, select)
    return _draw(config, section, stations, pool, judge, callback, choose)


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
    if section.groups is not None:
        return build_links(config, section, stations, _given(config, section, stations)), 0.0
    limit, streams = section.min_singular_ratio, section.num_streams

    def ratios(links: LinkSet) -> Tensor:
        return _least_singular_ratio(links, streams)

    judge = Limit("min_singular_ratio", limit, "the least ratio", ratios, larger_is_better=True)
    return _draw(config, section, stations, 1, judge, callback)


def _given(
    config: ScenarioConfig,
    section: MultiUserConfig | SingleUserConfig,
    stations: Sequence[BaseStation],
) -> list[Group]:
    """The groups that a scenario names, each of the next base station."""
    groups: list[Group] = []
    for number, members in enumerate(section.groups or ()):
        index = number % len(stations)
        able = stations[index].able
        for user in members:
            if user >= len(able) or not able[user]:
                why = f"there are users 0 to {len(able) - 1}"
                if user < len(able):
                    why = "it has no path, or other keys leave it out"
                raise ValueError(
                    f"{config.file}: groups in [{link_kind(section)}] names user {user} of base "
                    f"station {config.base_stations[index]}, {why}."
                )
        groups.append((index, np.array(members)))
    return groups


def _draw(
    config: ScenarioConfig,
    section: MultiUserConfig | SingleUserConfig,
    stations: Sequence[BaseStation],
    size: int,
    limit: Limit,
    callback: Callbacks,
    choose: Callable[[int, Iterator[NDArray[np.int64]]], Iterator[NDArray[np.int64]]] | None = None,
) -> tuple[LinkSet, float]:
    """Draw groups until there are enough, the base stations taking turns.

    :param size: Users that are drawn at once
    :param choose: Makes groups of a base station's drawn users; None takes all of these
    """
    tried = done = 0
    drawn: list[list[Group]] = []
    kind = link_kind(section)
    with reported(callback) as tell:
        for index, station in enumerate(stations):
            wanted = len(range(index, section.num_links, len(stations)))
            # Each kind and each base station draws for itself, so that none disturbs another.
            rng = np.random.default_rng([config.seed, kind == "single_user", index])
            users = np.flatnonzero(station.able)
            most = size if choose is None else min(size, len(users))
            candidates = _candidates(rng, users, most, _TRIES * wanted)
            if choose is not None:
                candidates = choose(index, candidates)
            links = ([(index, group)] for group in candidates)
            progress = partial(_tell_drawn, tell, section, done)
            kept, judged = _keep(config, section, stations, links, wanted, limit, progress)
            if len(kept) < wanted:
                who = f"base station {config.base_stations[index]} has"
                raise ValueError(_too_few(config, section, who, wanted, limit, judged))
            drawn.append(kept)
            done += len(kept)
            tried += len(judged)
        _tell_drawn(tell, section, done, 0)
    turns = range(math.ceil(section.num_links / len(stations)))
    groups = [kept[turn] for turn in turns for kept in drawn if turn < len(kept)]
    return build_links(config, section, stations, groups), 1 - len(groups) / tried


def _selected(
    config: ScenarioConfig,
    section: MultiUserConfig,
    stations: Sequence[BaseStation],
    select: Callable[[Tensor, int, float], Tensor],
    station: int,
    pools: Iterator[NDArray[np.int64]],
) -> Iterator[NDArray[np.int64]]:
    """Yield a group of each pool of users, no group twice.

    :param select: Gives the places of a group in a pool, see
        :data:`~neumatc_mimo.scenario.selection.SELECTIONS`
    """
    no = float(10 ** (sum(section.noise_db) / 20))
    seen = set()
    for users in pools:
        links = build_links(config, section, stations, [(station, users)])
        # At all times of a burst together, [num_users, num_probes, num_rx_ant, num_tx_ant].
        h = torch.cat([h[0] for h in _probes(links)]).unflatten(1, (len(users), -1)).transpose(0, 1)
        group = users[select(h, section.users_per_link, no).numpy()]
        key = frozenset(group.tolist())
        if len(key) == section.users_per_link and key not in seen:
            seen.add(key)
            yield group


def _draw_joint(
    config: ScenarioConfig,
    section: MultiUserConfig,
    stations: Sequence[BaseStation],
    limit: Limit,
    callback: Callbacks,
) -> tuple[LinkSet, float]:
    """Draw groups with users of all base stations until there are enough."""
    num_cells, wanted = len(stations), section.num_links
    size = section.users_per_link // num_cells
    served = _served(config, stations, size)
    # Other numbers than those of one base station's groups and of the users' headings.
    rng = np.random.default_rng([config.seed, 3])
    num_groups = _TRIES * wanted // num_cells
    shares = [_candidates(rng, users, size, num_groups) for users in served]
    users_of = (np.concatenate(share) for share in zip(*shares, strict=False))
    links = ([(index, users) for index in range(num_cells)] for users in users_of)
    with reported(callback) as tell:
        progress = partial(_tell_drawn, tell, section, 0)
        groups, judged = _keep(config, section, stations, links, wanted, limit, progress)
        progress(len(groups))
    if len(groups) < wanted:
        who = f"base stations {list(config.base_stations)} have"
        raise ValueError(_too_few(config, section, who, wanted, limit, judged))
    return build_links(config, section, stations, groups), 1 - len(groups) / len(judged)


def _served(
    config: ScenarioConfig, stations: Sequence[BaseStation], size: int
) -> list[NDArray[np.int64]]:
    """Users of each base station: all base stations reach them, this one with most power."""
    names = config.base_stations
    for index, station in zip(names, stations, strict=True):
        if not np.array_equal(station.user_positions, stations[0].user_positions):
            raise ValueError(
                f"{config.file}: base stations {names[0]} and {index} have different users, "
                "joint = true in [multi_user] needs the same users."
            )
    heard = np.logical_and.reduce([station.able for station in stations])
    best = np.argmax([station.powers for station in stations], axis=0)
    served = [np.flatnonzero(heard & (best == index)) for index in range(len(stations))]
    for index, users in zip(names, served, strict=True):
        if len(users) < size:
            raise ValueError(
                f"{config.file}: joint = true in [multi_user] needs {size} users of base station "
                f"{index} that all of {list(names)} reach, it has {len(users)}."
            )
    return served


def _keep(
    config: ScenarioConfig,
    section: MultiUserConfig | SingleUserConfig,
    stations: Sequence[BaseStation],
    candidates: Iterator[list[Group]],
    wanted: int,
    limit: Limit,
    progress: Callable[[int], None],
) -> tuple[list[Group], list[float]]:
    """Of candidates, each the groups of one link or more, the first whose links are all good.

    :param progress: Called with the number of links so far

    :return: Groups, of ``wanted`` links if there are as many, and what the limit is set on of each
        that was tried; links of one candidate share that of the worst
    """
    kept: list[Group] = []
    judged: list[float] = []
    while len(kept) < wanted and (batch := list(islice(candidates, _BATCH))):
        progress(len(kept))
        size = len(batch[0])
        groups = [group for candidate in batch for group in candidate]
        found = limit.measure(build_links(config, section, stations, groups)).unflatten(
            0, (-1, size)
        )
        for candidate, worst in zip(batch, limit.worst(found).tolist(), strict=True):
            if len(kept) < wanted:
                judged += [worst] * size
                kept += candidate if limit.keeps(worst) else []
    return kept, judged


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


def _tell_drawn(
    tell: Callback, section: MultiUserConfig | SingleUserConfig, before: int, found: int
) -> None:
    """Tell how many links are drawn, after those before."""
    tell(Event(f"drawing {link_kind(section)} links", before + found, section.num_links, "links"))


def _too_few(
    config: ScenarioConfig,
    section: MultiUserConfig | SingleUserConfig,
    who: str,
    wanted: int,
    limit: Limit,
    judged: Sequence[float],
) -> str:
    kept = sum(map(limit.keeps, judged))
    best, tenth, half = (limit.told(judged, -(-len(judged) // n)) for n in (len(judged), 10, 2))
    if len(judged) < wanted:
        advice = f"lower num_links to {len(judged)} at most"
    else:
        advice = f"{limit.key} = {limit.told(judged, wanted)} would keep {wanted}"
    return (
        f"{config.file}: {who} only {kept} of {wanted} links within {limit.key} = "
        f"{limit.value:g} in [{link_kind(section)}]; of {len(judged)} tried links, {limit.what} is "
        f"{best} for the best, {tenth} or better for a tenth and {half} or better for half of "
        f"them: {advice}."
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
