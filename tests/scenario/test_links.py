"""Link sets: refusals, round trip, fingerprint."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from neumatc_mimo.operations import Dimensions
from neumatc_mimo.scenario import LinkSet, load_scenario


@pytest.fixture(scope="module")
def links(write_scenario) -> LinkSet:
    links = load_scenario(write_scenario()).multi_user
    assert links is not None
    return links


def spoilt(tensor: torch.Tensor, value: float) -> torch.Tensor:
    tensor = tensor.clone()
    tensor.view(-1)[-1] = value
    return tensor


@pytest.mark.parametrize("name", ["coefficients", "delays", "row_delays", "row_gains"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_refuses_numbers_that_are_not_finite(links: LinkSet, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} has NaN or infinite entries"):
        replace(links, **{name: spoilt(getattr(links, name), value)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "uplink"}, 'kind is "uplink"'),
        ({"coefficients": torch.zeros(3, 4)}, "coefficients has the shape"),
        ({"delays": torch.zeros(1, 1, 1, 1)}, "delays has the shape"),
        ({"row_delays": torch.zeros(1, 1)}, "row_delays has the shape"),
        ({"users": torch.zeros(1, 1)}, "users has the shape"),
        ({"users": torch.zeros(4, 2)}, "a number of users that divides the 3 rows is needed"),
        ({"users": torch.zeros(4, 0)}, "a number of users that divides the 3 rows is needed"),
    ],
)
def test_refuses_wrong_shapes(links: LinkSet, changes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(links, **changes)


@pytest.mark.parametrize(
    ("frequencies", "message"),
    [
        (torch.zeros(2, 2), "a real, non-empty vector in Hz is needed"),
        (torch.tensor(0.0), "a real, non-empty vector in Hz is needed"),
        (torch.zeros(0), "a real, non-empty vector in Hz is needed"),
        (torch.zeros(2, dtype=torch.complex64), "a real, non-empty vector in Hz is needed"),
        (torch.tensor([0.0, float("nan")]), "NaN or infinite"),
    ],
)
def test_refuses_frequencies(links: LinkSet, frequencies: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        links.channel(frequencies)


def test_the_band_reaches_half_a_subcarrier_beyond_the_grid(links: LinkSet) -> None:
    low, high = links.band
    grid = links.grid_frequencies()
    assert (low, high) == (grid[0].item(), grid[-1].item())
    half = links.subcarrier_spacing / 2
    edges = torch.tensor([low - half, high + half], dtype=torch.float64)
    torch.testing.assert_close(links.check_frequencies(edges), edges)
    for outside in ([low - 2 * half], [0.0, high + 2 * half]):
        with pytest.raises(ValueError, match="the band is"):
            links.check_frequencies(torch.tensor(outside))
        assert links.channel(torch.tensor(outside)).isfinite().all()


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ([4], "there are links 0 to 3"),
        ([-1, 0], "there are links 0 to 3"),
        (torch.tensor([0.5]), "a vector of link indices"),
        (torch.tensor(0), "a vector of link indices"),
        (torch.ones(4, dtype=torch.bool), "links is a mask"),
    ],
)
def test_refuses_links(links: LinkSet, chosen, message: str) -> None:
    for use in (lambda: links.channel(torch.zeros(1), chosen), lambda: links.select(chosen)):
        with pytest.raises(ValueError, match=message):
            use()


def test_refuses_other_dtypes(links: LinkSet) -> None:
    with pytest.raises(ValueError, match="must be torch.complex64 or torch.complex128"):
        links.channel(torch.zeros(1), dtype=torch.float32)


@pytest.mark.parametrize("kind", ["multi_user", "single_user"])
def test_round_trip(write_scenario, kind: str) -> None:
    links: LinkSet = getattr(load_scenario(write_scenario()), kind)
    tensors, metadata = links.to_tensors()
    again = LinkSet.from_tensors(tensors, json.loads(json.dumps(metadata)))
    f = links.grid_frequencies()[::9]
    assert torch.equal(again.channel(f), links.channel(f))
    assert again.fingerprint() == links.fingerprint()
    assert repr(again) == repr(links)
    assert (again.noise_db, again.num_streams) == (links.noise_db, links.num_streams)
    del tensors["delays"]
    with pytest.raises(ValueError, match=r"lacks \['delays'\]"):
        LinkSet.from_tensors(tensors, metadata)


def test_fingerprint_tells_data_apart(links: LinkSet, write_scenario) -> None:
    bare = replace(links, source="")
    others = [
        load_scenario(write_scenario(), seed=1).multi_user,
        load_scenario(write_scenario(array={"rotation": [0.0, 0.0, 1.0]})).multi_user,
        load_scenario(write_scenario(grid={"fft_size": 127})).multi_user,
        links.select([0, 1]),
        links.select([0, 2]),
        bare,
        replace(bare, coefficients=bare.coefficients * (1 + 1e-9)),
    ]
    prints = [x.fingerprint() for x in [links, *others] if x is not None]
    assert len(set(prints)) == len(others) + 1
    again = load_scenario(write_scenario()).multi_user
    assert again is not None and again.fingerprint() == links.fingerprint()


def test_select_and_move(links: LinkSet) -> None:
    f = links.grid_frequencies()[:5]
    chosen = links.select(torch.tensor([2, 0])).to("cpu")
    assert chosen.num_links == 2 and chosen.device == torch.device("cpu")
    torch.testing.assert_close(chosen.channel(f), links.channel(f, [2, 0]))


def test_repr_says_what_there_is(links: LinkSet) -> None:
    assert "PathLinks(multi_user; links: 4 of 3 x 8" in repr(links)


@pytest.mark.parametrize("beam_squint", [False, True])
def test_users_with_arrays_have_their_antennas_side_by_side(
    write_scenario, beam_squint: bool
) -> None:
    array = {"beam_squint": beam_squint}
    section = {"users_per_link": 3, "ue": [2, 1], "max_condition": 1e12}
    links = load_scenario(write_scenario(array=array, multi_user=section)).multi_user
    assert links is not None
    assert (links.num_rows, links.num_users, links.antennas_per_user) == (6, 3, 2)
    tensors, metadata = links.to_tensors()
    assert LinkSet.from_tensors(tensors, metadata).antennas_per_user == 2
    # The users' first antennas are those of single-antenna users, but for their rows' gains.
    one = {**section, "ue": [1, 1]}
    single = load_scenario(write_scenario(array=array, multi_user=one)).multi_user
    assert single is not None and torch.equal(single.users, links.users)
    assert single.antennas_per_user == 1 and single.fingerprint() != links.fingerprint()
    f = links.grid_frequencies()[::7]
    for aligned in (False, True):
        first = links.channel(f, aligned=aligned)[:, :, ::2] / links.row_gains[:, None, ::2, None]
        expected = single.channel(f, aligned=aligned) / single.row_gains[:, None, :, None]
        torch.testing.assert_close(first, expected, rtol=1e-4, atol=1e-9)
    # A user's antennas share the first arrival and the gain, which is that of their mean power.
    for shared in (links.row_delays, links.row_gains):
        pairs = shared.unflatten(-1, (3, 2))
        assert torch.equal(pairs[..., 0], pairs[..., 1])
    assert torch.equal(links.row_delays[:, ::2], single.row_delays)
    power = links.channel(links.grid_frequencies()).abs().square().mean((1, 3))
    mean = power.unflatten(-1, (3, 2)).mean(-1)
    torch.testing.assert_close(mean, torch.ones_like(mean), rtol=1e-4, atol=1e-4)
    assert (power - 1).abs().max() > 1e-3


@pytest.mark.parametrize("moving", [False, True])
def test_unaligned_links_are_aligned_as_they_are(write_scenario, moving: bool) -> None:
    motion = {"speed": 3.0, "num_slots": 2} if moving else {}
    file = write_scenario(**({"motion": motion} if moving else {}))
    links = load_scenario(file).multi_user
    plain, frequencies = links.unaligned(), links.grid_frequencies()[::9]
    time = 1e-3 if moving else 0.0
    for dtype in (torch.complex64, torch.complex128):
        expected = links.channel(frequencies, dtype=dtype, time=time)
        for aligned in (False, True):
            found = plain.channel(frequencies, aligned=aligned, dtype=dtype, time=time)
            torch.testing.assert_close(found, expected)
    assert bool((plain.row_factors(frequencies, time=time) == 1).all())
    assert plain.fingerprint() != links.fingerprint() and plain.dimensions == links.dimensions


def test_dimensions(write_scenario) -> None:
    scenario = load_scenario(write_scenario(multi_user={"users_per_link": 2, "ue": [2, 1]}))
    assert scenario.multi_user.dimensions == Dimensions(4, 8, 2)
    assert scenario.single_user.dimensions == Dimensions(4, 8, 4, 2)
    for kind in ("multi_user", "single_user"):
        links, section = getattr(scenario, kind), getattr(scenario.config, kind)
        assert section.dimensions(links.num_cols) == links.dimensions


@pytest.mark.parametrize("changes", [{}, {"array": {"beam_squint": True}}])
def test_timing_advance_takes_the_first_arrival_out(write_scenario, changes) -> None:
    links = load_scenario(write_scenario(**changes)).multi_user
    assert links is not None
    advanced, frequencies = links.timing_advanced(), links.grid_frequencies()[::9]
    aligned = links.channel(frequencies, aligned=True)
    for same in (advanced.channel(frequencies), advanced.channel(frequencies, aligned=True)):
        torch.testing.assert_close(same, aligned)
    assert not advanced.row_delays.any()
    assert advanced.fingerprint() != links.fingerprint()
    assert advanced.timing_advanced().row_delays.shape == links.row_delays.shape
