"""Channels of one's own: from tensors, functions and files to links, models and blocks."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.blocks import ZFPrecoder
from neumatc_mimo.scenario.sampled_links import SampledLinks
from tests.warned import strangers

LINKS, SIZE, USERS, ANTENNAS, SPACING = 3, 96, 3, 8, 240e3
GRID = {"fft_size": SIZE, "subcarrier_spacing": SPACING}
MODEL = {"width": 64, "samples": 64, "collocation": 64}


class Room:
    """A channel family of a few paths, h(f) [LINKS, num_frequencies, USERS, ANTENNAS]."""

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(0)
        self.delays = 1e-7 + 3e-7 * torch.rand(LINKS, USERS, 1, 4, dtype=torch.float64, generator=g)
        shape = (LINKS, USERS, ANTENNAS, 4)
        self.coefficients = torch.randn(shape, dtype=torch.complex128, generator=g)

    def __call__(self, frequencies: Tensor) -> Tensor:
        turns = frequencies[None, :, None, None, None] * self.delays[:, None]
        return (self.coefficients[:, None] * torch.exp(-2j * torch.pi * turns)).sum(-1)


@pytest.fixture(scope="module")
def room() -> Room:
    return Room()


@pytest.fixture(scope="module")
def scenario(room: Room) -> nm.Scenario:
    sections = {"grid": GRID, "multi_user": {}, "model": MODEL}
    return nm.Scenario.from_channel(room, progress=False, **sections)


def grid() -> Tensor:
    return (torch.arange(SIZE, dtype=torch.float64) - SIZE // 2) * SPACING


def test_links_are_the_channels_with_unit_power(scenario: nm.Scenario, room: Room) -> None:
    links = scenario.multi_user
    assert isinstance(links, SampledLinks) and scenario.single_user is None
    assert (links.num_links, links.num_rows, links.num_cols) == (LINKS, USERS, ANTENNAS)
    h = links.channel(links.grid_frequencies(), dtype=torch.complex128)
    power = h.abs().square().mean((1, 3))
    torch.testing.assert_close(power, torch.ones_like(power))
    given = room(grid()) * links.row_gains[:, None, :, None]
    torch.testing.assert_close(h, given)
    # Between subcarriers, away from the ends of the band.
    between = grid()[8:-9] + 0.4 * SPACING
    expected = room(between) * links.row_gains[:, None, :, None]
    found = links.channel(between, dtype=torch.complex128)
    assert (found - expected).norm() < 1e-6 * expected.norm()


@pytest.mark.parametrize("form", ["function", "tensor", "array", "one link", "single precision"])
def test_forms_of_a_channel(room: Room, form: str) -> None:
    h = room(grid())
    forms = {
        "function": room,
        "tensor": h,
        "array": h.numpy(),
        "one link": h[0],
        "single precision": h.to(torch.complex64),
    }
    made = nm.Scenario.from_channel(
        forms[form], grid=GRID, multi_user={"row_scaling": "none"}, progress=False
    )
    links = made.multi_user
    assert links is not None and links.num_links == (1 if form == "one link" else LINKS)
    expected = h[: links.num_links].to(torch.complex64)
    torch.testing.assert_close(links.channel(grid()), expected)


def test_what_the_caller_writes_later_changes_nothing(room: Room) -> None:
    h = room(grid())
    made = nm.Scenario.from_channel(h, grid=GRID, multi_user={}, progress=False)
    before = made.fingerprint
    h.zero_()
    again = nm.Scenario.from_channel(room, grid=GRID, multi_user={}, progress=False)
    assert made.fingerprint == before == again.fingerprint
    other = nm.Scenario.from_channel(room(grid()) * 1.1, grid=GRID, multi_user={}, progress=False)
    assert other.fingerprint != before


def test_round_trip_and_time_advance(scenario: nm.Scenario) -> None:
    links = scenario.multi_user
    assert links is not None
    tensors, values = links.to_tensors()
    again = nm.LinkSet.from_tensors(tensors, values)
    assert isinstance(again, SampledLinks) and again.fingerprint() == links.fingerprint()
    f = grid()[:-1] + 0.3 * SPACING
    h = links.channel(f, dtype=torch.complex128)
    aligned = links.channel(f, aligned=True, dtype=torch.complex128)
    torch.testing.assert_close(aligned * links.row_factors(f)[..., None], h)
    advanced = links.timing_advanced()
    torch.testing.assert_close(advanced.channel(f, dtype=torch.complex128), aligned)
    torch.testing.assert_close(
        links.unaligned().channel(f, aligned=True, dtype=torch.complex128), h
    )
    chosen = links.select([2, 0])
    torch.testing.assert_close(chosen.channel(f), links.channel(f, [2, 0]))
    with pytest.raises(ValueError, match="the band is"):
        links.channel(torch.tensor([2 * SIZE * SPACING]))


def test_trained_saved_loaded_and_recognised(scenario: nm.Scenario, room: Room, tmp_path) -> None:
    nm.train(scenario, progress=False).save(tmp_path / "model")
    model = nm.ScenarioModel.load(tmp_path / "model")
    model.check(scenario.fingerprint)
    links = scenario.multi_user
    assert links is not None
    (w,) = model.query("pseudo_inverse", grid())
    product = links.channel(grid()) @ w
    assert (product - torch.eye(USERS)).abs().max() < 1e-2
    # As they were given, without the rows' gains.
    h = room(grid()).to(torch.complex64).permute(0, 2, 3, 1)[:, :, None, None, :, None]
    resource_grid = ResourceGrid(2, SIZE, SPACING, num_tx=1, num_streams_per_tx=USERS)
    management = StreamManagement(np.ones((USERS, 1)), USERS)
    block = ZFPrecoder(resource_grid, management, model)
    exact = ZFPrecoder(resource_grid, management, nm.Exact())
    x = torch.ones(LINKS, 1, USERS, 2, SIZE, dtype=torch.complex64)
    h = h.expand(-1, -1, -1, -1, -1, 2, -1)
    y, expected = block(x, h), exact(x, h)
    assert (y - expected).norm() < 1e-2 * expected.norm()
    assert block.stats.links_recalled == LINKS and block.stats.links_unknown == 0


@pytest.mark.parametrize(
    ("size", "spacing", "recalled"),
    [(SIZE // 2, 2 * SPACING, LINKS), (2 * SIZE, SPACING / 2, LINKS), (2 * SIZE, SPACING, 0)],
)
def test_grids_other_than_the_samples(
    scenario: nm.Scenario, room: Room, trained, size: int, spacing: float, recalled: int
) -> None:
    model = trained(scenario)
    frequencies = (torch.arange(size, dtype=torch.float64) - size // 2) * spacing
    h = room(frequencies).to(torch.complex64).permute(0, 2, 3, 1)[:, :, None, None, :, None]
    resource_grid = ResourceGrid(1, size, spacing, num_tx=1, num_streams_per_tx=USERS)
    management = StreamManagement(np.ones((USERS, 1)), USERS)
    block = ZFPrecoder(resource_grid, management, model)
    x = torch.ones(LINKS, 1, USERS, 1, size, dtype=torch.complex64)
    with strangers(not recalled):
        y = block(x, h)
    expected = ZFPrecoder(resource_grid, management, nm.Exact())(x, h)
    assert (y - expected).norm() < 1e-2 * expected.norm()
    assert block.stats.links_recalled == recalled


def test_single_users(room: Room, trained) -> None:
    made = nm.Scenario.from_channel(
        room, grid=GRID, single_user={"num_streams": 2}, model=MODEL, progress=False
    )
    links = made.single_user
    assert links is not None and links.num_rows == USERS and made.multi_user is None
    assert torch.equal(links.row_gains[:, :1].expand(-1, USERS), links.row_gains)
    model = trained(made)
    _, s, _ = model.query("svd", grid())
    expected = torch.linalg.svdvals(links.channel(grid()))[..., :2]
    torch.testing.assert_close(s, expected, rtol=1e-2, atol=1e-2)


def test_from_a_file(room: Room, tmp_path: Path) -> None:
    np.save(tmp_path / "h.npy", room(grid()).numpy())
    file = tmp_path / "mine.toml"
    file.write_text(
        f'name = "mine"\n[channel]\nfile = "h.npy"\n[grid]\nfft_size = {SIZE}\n'
        f"subcarrier_spacing = {SPACING}\n[multi_user]\n"
    )
    made, given = nm.load_scenario(file), nm.Scenario.from_channel(room, grid=GRID, multi_user={})
    assert made.multi_user is not None and given.multi_user is not None
    assert made.fingerprint == given.fingerprint and made.positions is None
    assert "h.npy" in repr(made)
    (tmp_path / "h.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no file .*h.npy, correct it in \[chan"):
        nm.load_scenario(file)


def test_files_run_nothing(tmp_path: Path) -> None:
    raw = io.BytesIO()
    np.save(raw, np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "h.npy").write_bytes(raw.getvalue())
    file = tmp_path / "mine.toml"
    file.write_text(
        'name = "mine"\n[channel]\nfile = "h.npy"\n[grid]\nfft_size = 4\n'
        "subcarrier_spacing = 30e3\n[multi_user]\n"
    )
    with pytest.raises(ValueError, match="is no NumPy file"):
        nm.load_scenario(file)


@pytest.mark.parametrize(
    ("channel", "sections", "message"),
    [
        (torch.zeros(2, 3), {}, r"a complex \[num_links, fft_size, K, M\]"),
        (torch.zeros(2, 4, 2, 4), {}, "The channel is torch.float32"),
        (torch.full((2, 4, 2, 4), torch.nan + 0j), {}, "NaN or infinite"),
        (torch.ones(2, 5, 2, 4) + 0j, {}, "second size must be fft_size = 4"),
        (torch.zeros(2, 4, 2, 4) + 0j, {}, "a user of link 0 has a channel of zeros"),
        (torch.ones(2, 4, 2, 4) + 0j, {"multi_user": {"users_per_link": 3}}, "the scenario needs"),
        (torch.ones(2, 4, 2, 4) + 0j, {"multi_user": {"num_links": 3}}, "the scenario needs"),
        (torch.ones(2, 4, 5, 4) + 0j, {}, "serves at most 4"),
        (torch.ones(2, 4, 2, 4) + 0j, {"motion": {"speed": 3.0}}, "cannot move"),
        (torch.ones(2, 4, 2, 4) + 0j, {"mult_user": {}}, 'unknown key "mult_user"'),
        (lambda f: f, {"grid": {"subcarrier_spacing": 1e3}}, "needs fft_size in grid"),
    ],
)
def test_refusals(channel, sections, message: str) -> None:
    sections = {"grid": {"fft_size": 4, "subcarrier_spacing": 30e3}, "multi_user": {}, **sections}
    with pytest.raises(ValueError, match=message) as caught:
        _ = nm.Scenario.from_channel(channel, progress=False, **sections).multi_user
    assert "\n" not in str(caught.value)
