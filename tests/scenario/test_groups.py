"""Drawing of user groups: reproducible, within the limits, fair to the base stations."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from neumatc_mimo.scenario import load_scenario


def test_the_seed_decides(write_scenario) -> None:
    first, again = load_scenario(write_scenario()), load_scenario(write_scenario())
    other = load_scenario(write_scenario(), seed=1)
    # The order in which the kinds are drawn does not matter.
    assert again.single_user is not None
    for kind in ("multi_user", "single_user"):
        users = [getattr(scenario, kind).users for scenario in (first, again, other)]
        assert torch.equal(users[0], users[1])
        assert not torch.equal(users[0], users[2])
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_limits_are_kept(write_scenario) -> None:
    scenario = load_scenario(
        write_scenario(
            multi_user={"max_condition": 30.0, "num_links": 8, "users_per_link": 4},
            single_user={"min_singular_ratio": 0.05, "num_links": 8},
        )
    )
    multi_user, single_user = scenario.multi_user, scenario.single_user
    assert multi_user is not None and single_user is not None
    f = multi_user.grid_frequencies()
    h = multi_user.channel(f, dtype=torch.complex128)
    # Every second subcarrier is judged when drawing, hence the margin on all of them.
    condition = torch.linalg.cond(h @ h.mH).median(dim=1).values
    assert (condition < 30 * 1.1).all()
    s = torch.linalg.svdvals(single_user.channel(f, dtype=torch.complex128))
    assert (s[..., 1] / s[..., 0] > 0.05 * 0.9).all()
    assert all(0 < share < 1 for share in scenario.skipped.values())
    for users in multi_user.users:
        assert len(users.unique()) == 4
    assert len(single_user.users.unique()) == 8


def test_only_users_with_a_path_are_drawn(write_scenario) -> None:
    scenario = load_scenario(write_scenario(single_user={"num_links": 60}))
    positions = scenario.positions
    reached = {tuple(p) for p in positions.users[positions.has_path].tolist()}
    assert 0 < len(reached) < len(positions.users)
    for links in (scenario.multi_user, scenario.single_user):
        assert links is not None
        assert {tuple(p) for p in links.user_positions.reshape(-1, 3).tolist()} <= reached


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"multi_user": {"max_condition": 1.0}}, r"0 of 4 links within max_condition = 1 "),
        ({"single_user": {"num_links": 700}}, r"of 700 links within min_singular_ratio"),
        (
            {"multi_user": {"users_per_link": 600}, "array": {"bs": [30, 20]}},
            "users_per_link in .* is 600, only .* users have a path",
        ),
    ],
)
def test_too_few_groups(write_scenario, changes, message: str) -> None:
    scenario = load_scenario(write_scenario(**changes))
    with pytest.raises(ValueError, match=message):
        _ = scenario.skipped


@pytest.mark.parametrize(
    ("section", "strict"),
    [
        ("multi_user", {"max_condition": 1.0, "num_links": 3}),
        ("single_user", {"min_singular_ratio": 1.0, "num_links": 3}),
    ],
)
def test_a_refusal_names_the_limit_that_keeps_enough(write_scenario, section, strict) -> None:
    with pytest.raises(ValueError, match=r"the best, .* a tenth and .* half") as refused:
        _ = load_scenario(write_scenario(**{section: strict})).skipped
    advised = re.search(r": (\w+) = (\S+) would keep 3\.$", str(refused.value))
    assert advised is not None
    relaxed = {section: strict | {advised[1]: float(advised[2])}}
    scenario = load_scenario(write_scenario(**relaxed))
    assert getattr(scenario, section).num_links == 3
    assert scenario.skipped[section] > 0.5


def test_base_stations_take_turns(write_scenario, city: Path) -> None:
    sources = {"path": str(city), "base_station": [2, 0]}
    scenario = load_scenario(
        write_scenario(deepmimo=sources, single_user=None, multi_user={"num_links": 5})
    )
    links = scenario.multi_user
    assert links is not None
    assert links.base_station.tolist() == [0, 1, 0, 1, 0]
    # The links of one base station do not depend on the other one.
    alone = load_scenario(
        write_scenario(
            deepmimo={**sources, "base_station": 2}, single_user=None, multi_user={"num_links": 3}
        )
    ).multi_user
    assert alone is not None
    assert torch.equal(links.users[::2], alone.users)
    f = links.grid_frequencies()
    torch.testing.assert_close(links.channel(f, [0, 2, 4]), alone.channel(f))
    assert len(scenario.positions.base_stations) == 2


def test_repr_needs_no_data(write_scenario) -> None:
    scenario = load_scenario(write_scenario(deepmimo={"path": "nowhere"}))
    assert "4 links of 3 users" in repr(scenario)
