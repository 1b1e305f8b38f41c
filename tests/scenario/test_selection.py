"""Selection of users: the algorithms against their definitions, and the groups of scenarios."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from neumatc_mimo.scenario import load_scenario, semi_orthogonal_users, sum_rate_users
from neumatc_mimo.scenario.links import LinkSet

NO = 0.05


def channels(users: int = 12, frequencies: int = 4, antennas: int = 1, seed: int = 0) -> Tensor:
    """[users, frequencies, antennas, 6], some users much stronger than others."""
    g = torch.Generator().manual_seed(seed)
    shape = (users, frequencies, antennas, 6)
    h = torch.randn(shape, dtype=torch.complex128, generator=g)
    return h * torch.rand(users, 1, 1, 1, dtype=torch.float64, generator=g)


def yoo_and_goldsmith(h: np.ndarray, num_users: int, alpha: float) -> list[int]:
    """Steps 1 to 4 of their algorithm, for rows h [num_candidates, num_tx_ant]."""
    left, chosen, basis = list(range(len(h))), [], []
    while left and len(chosen) < num_users:
        g = {
            k: h[k]
            - sum((h[k] @ b.conj() / (b @ b.conj()) * b for b in basis), np.zeros_like(h[k]))
            for k in left
        }
        best = max(left, key=lambda k: np.linalg.norm(g[k]))
        chosen.append(best)
        basis.append(g[best])
        size = np.linalg.norm(g[best])
        left = [
            k
            for k in left
            if k != best and abs(h[k] @ g[best].conj()) / (np.linalg.norm(h[k]) * size) < alpha
        ]
    return chosen


@pytest.mark.parametrize("alpha", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_semi_orthogonal_users_are_those_of_the_paper(alpha: float, seed: int) -> None:
    h = channels(frequencies=1, seed=seed)
    found = semi_orthogonal_users(h, 5, alpha)
    assert found.tolist() == yoo_and_goldsmith(h[:, 0, 0].numpy(), 5, alpha)


@pytest.mark.parametrize("antennas", [1, 2])
def test_semi_orthogonal_users_along_the_band(antennas: int) -> None:
    h = channels(antennas=antennas)
    found = semi_orthogonal_users(h, 3)
    assert len(set(found.tolist())) == 3
    # The strongest first, and who has most beside those before.
    assert found[0] == h.abs().square().sum((1, 2, 3)).argmax()
    before = h[found[:2]].transpose(0, 1).flatten(1, 2)  # [frequencies, rows, 6]
    _, _, vh = torch.linalg.svd(before, full_matrices=False)
    left = (h - h @ vh.mH @ vh).abs().square().sum((1, 2, 3))
    assert found[2] == left.argmax()
    # The order of the candidates does not count.
    order = torch.randperm(len(h), generator=torch.Generator().manual_seed(1))
    assert torch.equal(order[semi_orthogonal_users(h[order], 3)], found)


def test_nobody_beyond_the_antennas_is_selected() -> None:
    assert len(semi_orthogonal_users(channels(), 12)) == 6
    assert len(semi_orthogonal_users(channels(antennas=2), 12)) == 3
    assert len(sum_rate_users(channels(antennas=4), 12, NO, stop=False)) == 1
    # Twice the same channel, and none at all.
    h = channels(users=2)[[0, 0, 1]]
    h[2] = 0
    assert semi_orthogonal_users(h, 3).tolist() in ([0], [1])


def sum_rate(h: Tensor, users: tuple[int, ...], total: int) -> float:
    """Of zero forcing with columns of unit norm and equal powers, from the precoder itself."""
    rows = h[list(users)].transpose(0, 1).flatten(1, 2)
    v = torch.linalg.pinv(rows)
    v = v / torch.linalg.vector_norm(v, dim=-2, keepdim=True)
    gain = (rows @ v).diagonal(dim1=-2, dim2=-1).abs().square()
    return float(torch.log2(1 + total / rows.shape[-2] * gain / NO).sum())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("antennas", [1, 2])
def test_each_step_raises_the_sum_rate_most(antennas: int, seed: int) -> None:
    h = channels(users=8, antennas=antennas, seed=seed)
    num = 6 // antennas
    total = num * antennas
    found = sum_rate_users(h, num, NO).tolist()
    reached = 0.0
    for step in range(1, len(found) + 1):
        before = tuple(found[: step - 1])
        rates = {k: sum_rate(h, (*before, k), total) for k in range(8) if k not in before}
        assert found[step - 1] == max(rates, key=rates.__getitem__)
        assert rates[found[step - 1]] > reached
        reached = rates[found[step - 1]]
    if len(found) < num:
        others = [k for k in range(8) if k not in found]
        assert all(sum_rate(h, (*found, k), total) <= reached for k in others)


def test_greedy_comes_near_the_best_group() -> None:
    h = channels(users=8, seed=5)
    found = sum_rate_users(h, 3, NO, stop=False)
    rates = [sum_rate(h, group, 3) for group in itertools.combinations(range(8), 3)]
    assert sum_rate(h, tuple(found.tolist()), 3) > 0.95 * max(rates)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: semi_orthogonal_users(channels()[0], 2), "h has the shape"),
        (lambda: semi_orthogonal_users(channels(), 13), "num_users is 13, 1 to the 12"),
        (lambda: semi_orthogonal_users(channels(), 0), "num_users is 0"),
        (lambda: semi_orthogonal_users(channels(), 2, 0.0), "alpha is 0.0"),
        (lambda: sum_rate_users(channels(), 2, 0.0), "no is 0.0"),
    ],
)
def test_what_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# Groups of scenarios.


def groups(write_scenario: Any, **section: Any) -> LinkSet:
    changes = {"users_per_link": 4, "num_links": 6, "max_condition": 1e9} | section
    links = load_scenario(write_scenario(multi_user=changes, single_user=None)).multi_user
    assert links is not None
    return links


def condition(links: LinkSet) -> float:
    h = links.channel(links.grid_frequencies(), dtype=torch.complex128)
    return float(torch.linalg.cond(h).median())


def test_selected_groups_are_better_conditioned(write_scenario: Any) -> None:
    drawn = groups(write_scenario)
    for selection in ("semi_orthogonal", "sum_rate"):
        links = groups(write_scenario, selection=selection)
        again = groups(write_scenario, selection=selection)
        assert torch.equal(links.users, again.users)
        assert not torch.equal(links.users, drawn.users)
        assert len({frozenset(group.tolist()) for group in links.users}) == 6
        assert condition(links) < 0.5 * condition(drawn)


def test_an_old_file_keeps_its_meaning(write_scenario: Any) -> None:
    """Its groups, and the fingerprint that models were trained by."""
    plain, said = groups(write_scenario), groups(write_scenario, selection="random")
    assert torch.equal(plain.users, said.users) and plain.source == said.source
    config = load_scenario(write_scenario(single_user=None)).config.multi_user
    assert config is not None and "selection" not in config.drawn()
    chosen = groups(write_scenario, selection="semi_orthogonal")
    assert chosen.source != plain.source


def test_a_pool_of_the_group_alone_is_drawn(write_scenario: Any) -> None:
    drawn = groups(write_scenario)
    links = groups(write_scenario, selection="sum_rate", pool=4)
    for group, other in zip(links.users, drawn.users, strict=True):
        assert set(group.tolist()) == set(other.tolist())


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"selection": "best"}, "selection in .multi_user. is"),
        ({"pool": 8}, 'has pool and selection = "random"'),
        ({"selection": "sum_rate", "pool": 2}, "has pool = 2, at least users_per_link = 4"),
        ({"selection": "sum_rate", "joint": True}, 'selection = "sum_rate" and joint = true'),
    ],
)
def test_what_files_are_refused(write_scenario: Any, section: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        groups(write_scenario, **section)
