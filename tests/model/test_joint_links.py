"""Joint links: users of all base stations, heard by each; drawn, trained, queried.

On two base stations made of Munich's one, and on those of a city.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LMMSEEqualizer, ResourceGrid
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.blocks import MMSEDetector, MMSEEqualizer
from neumatc_mimo.scenario.deepmimo_data import load_base_stations
from neumatc_mimo.scenario.links import LinkSet
from tests.conftest import Trainer
from tests.docs.common import ROOT

CELLS, OWN, SYMBOLS = 2, 3, 2
FFT_SIZE, SPACING = 128, 60e3
ROWS = CELLS * OWN


def _file(write_scenario: Any, folder: Path, bs: Sequence[int] = (4, 4), **changes: Any) -> Path:
    groups = {"users_per_link": ROWS, "num_links": 4, "joint": True, "max_condition": 1e5}
    file: Path = write_scenario(
        deepmimo={"path": str(folder), "base_station": [0, 1]},
        array={"bs": list(bs)},
        grid={"fft_size": FFT_SIZE, "subcarrier_spacing": SPACING},
        multi_user=groups | changes,
        single_user=None,
        model={"width": 96, "samples": 64, "collocation": 96},
    )
    return file


@pytest.fixture(scope="module")
def scenario(write_scenario: Any, two_stations: Path) -> nm.Scenario:
    return nm.load_scenario(_file(write_scenario, two_stations))


@pytest.fixture(scope="module")
def model(scenario: nm.Scenario, trained: Trainer) -> nm.ScenarioModel:
    return trained(scenario)


def test_all_base_stations_have_links_of_the_same_users(
    scenario: nm.Scenario, links: LinkSet
) -> None:
    assert (links.num_links, links.num_rows) == (4, ROWS)
    assert links.base_station.tolist() == [0, 1, 0, 1]
    assert torch.equal(links.users[::2], links.users[1::2])
    assert not torch.equal(links.users[0], links.users[2])
    powers = np.array([station.powers for station in load_base_stations(scenario.config)])
    best = powers.argmax(0)[links.users]
    assert (best == np.repeat(np.arange(CELLS), OWN)).all()
    assert 0 <= scenario.skipped["multi_user"] < 1


def test_a_user_sends_with_the_power_that_its_base_station_asks_for(links: LinkSet) -> None:
    assert torch.equal(links.row_gains[::2], links.row_gains[1::2])
    h = links.channel(links.grid_frequencies(), dtype=torch.complex128)
    power = h.abs().square().mean((1, 3)).unflatten(0, (-1, CELLS)).unflatten(-1, (CELLS, OWN))
    for cell in range(CELLS):
        torch.testing.assert_close(power[:, cell, cell], torch.ones_like(power[:, 0, 0]))
        # Others are better off elsewhere, up to what fading adds.
        assert power[:, cell, 1 - cell].median() < 1 and power[:, cell, 1 - cell].max() < 4


def test_users_keep_their_own_scale_without_row_scaling(
    write_scenario: Any, two_stations: Path
) -> None:
    links = nm.load_scenario(_file(write_scenario, two_stations, row_scaling="none")).multi_user
    assert links is not None and bool((links.row_gains == 1).all())


def test_the_seed_decides(write_scenario: Any, two_stations: Path, links: LinkSet) -> None:
    file = _file(write_scenario, two_stations)
    again, other = nm.load_scenario(file).multi_user, nm.load_scenario(file, seed=1).multi_user
    assert again is not None and other is not None
    assert torch.equal(again.users, links.users) and not torch.equal(other.users, links.users)
    assert again.fingerprint() == links.fingerprint() != other.fingerprint()


def _received(links: LinkSet, antennas: int, no: float) -> tuple[Tensor, Tensor, StreamManagement]:
    """Channels and what base stations receive, [num_groups, CELLS, num_rx_ant, ...] each."""
    num_tx = ROWS // antennas
    h = links.channel(links.grid_frequencies()).unflatten(0, (-1, CELLS))
    h = h.permute(0, 1, 4, 3, 2).unflatten(3, (num_tx, antennas))[..., None, :]
    h = h.expand(*[-1] * 5, SYMBOLS, -1)
    x = _noise(len(h), num_tx, antennas, SYMBOLS, FFT_SIZE)
    y = torch.einsum("brmtksf,btksf->brmsf", h, x)
    y = y + no**0.5 * _noise(*y.shape)
    association = np.kron(np.eye(CELLS), np.ones([1, OWN // antennas]))
    return h, y, StreamManagement(association, antennas)


def _grid(num_tx: int, num_streams: int) -> ResourceGrid:
    return ResourceGrid(SYMBOLS, FFT_SIZE, SPACING, num_tx=num_tx, num_streams_per_tx=num_streams)


def _noise(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, dtype=torch.complex64, generator=generator)


@pytest.mark.parametrize("no", [1e-4, 0.05, 1.0])
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("antennas", [1, 3])
def test_uplink_in_interference_is_queried(
    model: nm.ScenarioModel, links: LinkSet, antennas: int, named: bool, no: float
) -> None:
    """Users of one antenna, or of three, against Sionna's equalizer."""
    h, y, streams = _received(links, antennas, no)
    grid = _grid(ROWS // antennas, antennas)
    block = MMSEEqualizer(grid, streams, model)
    which = torch.arange(links.num_links).unflatten(0, (-1, CELLS)) if named else None
    found = block(y, h, 0.0, no, which)
    zero = torch.zeros((), dtype=torch.float64)
    theirs = LMMSEEqualizer(grid, streams, precision="double")
    expected = theirs(y.to(torch.complex128), h.to(torch.complex128), zero, zero + no)
    for ours, other in zip(found, expected, strict=True):
        assert ours.shape == other.shape
        assert torch.linalg.norm(ours - other) < 1e-2 * torch.linalg.norm(other)
    stats = block.stats
    assert (stats.links_recalled, stats.links_unknown) == (links.num_links, 0)
    whole = links.num_links * FFT_SIZE
    assert stats.queried + stats.corrected + stats.patched + stats.exact == whole
    assert stats.queried > 0.9 * whole and stats.exact == 0


def test_detector_of_trusted_joint_links(model: nm.ScenarioModel, links: LinkSet) -> None:
    """Side information of interfering streams, too: an estimate does not matter."""
    h, y, streams = _received(links, 1, 0.05)
    which = torch.arange(links.num_links).unflatten(0, (-1, CELLS))
    settings = ("bit", "maxlog", _grid(ROWS, 1), streams)
    trusting = MMSEDetector(*settings, model, "qam", 4, trust="model")
    exact = MMSEDetector(*settings, nm.Exact(), "qam", 4)
    found = trusting(y, h + 0.3 * _noise(*h.shape), 0.1, 0.05, links=which)
    expected = exact(y, h, 0.0, 0.05)
    assert torch.linalg.norm(found - expected) < 1e-2 * torch.linalg.norm(expected)
    assert trusting.stats.links_trusted == links.num_links


@pytest.mark.parametrize(
    ("stations", "changes", "message"),
    [
        ([0], {}, r"joint = true in \[multi_user\], but base_station = \[0\] in \[deepmimo\]"),
        ([0, 1], {"users_per_link": 5}, "users_per_link = 5 .* a multiple of the 2 base stations"),
        ([0, 1], {"num_links": 3}, "num_links = 3 .* a multiple of the 2 base stations"),
        ([0, 1], {"wmmse_db": -20.0}, r"\[multi_user\] has wmmse_db and joint = true"),
        ([0, 1], {"slnr_db": 0.0}, r"\[multi_user\] has slnr_db and joint = true"),
        ([0, 1], {"block_diagonalization": True}, "has block_diagonalization and joint = true"),
        ([0, 1], {"joint": "yes"}, r"joint in \[multi_user\] is 'yes'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    write_scenario: Any, stations: list[int], changes: dict[str, Any], message: str
) -> None:
    groups = {"users_per_link": 4, "joint": True} | changes
    file = write_scenario(deepmimo={"base_station": stations}, multi_user=groups)
    with pytest.raises(ValueError, match=message) as caught:
        nm.load_scenario(file)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_condition": 1.0}, r"base stations \[0, 1\] have only 0 of 4 links within max_cond"),
        (
            {"users_per_link": 600, "bs": [30, 20]},
            r"needs 300 users of base station 0 that all of \[0, 1\] reach",
        ),
    ],
)
def test_too_few_users(
    write_scenario: Any, two_stations: Path, changes: dict[str, Any], message: str
) -> None:
    scenario = nm.load_scenario(_file(write_scenario, two_stations, **changes))
    with pytest.raises(ValueError, match=message):
        _ = scenario.multi_user


def test_base_stations_with_other_users_are_refused(
    write_scenario: Any, two_stations: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(two_stations, tmp_path / "moved"))
    file = next(folder.glob("rx_pos_t002*"))
    np.savez_compressed(file, rx_pos=np.load(file)["rx_pos"] + 1)
    with pytest.raises(ValueError, match="base stations 0 and 1 have different users"):
        _ = nm.load_scenario(_file(write_scenario, folder)).multi_user


@pytest.mark.slow
def test_base_stations_of_a_city(
    write_scenario: Any, city: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the documentation shows, with a scenario of this city."""
    page = (ROOT / "docs/guarantees.md").read_text(encoding="utf-8")
    (text,) = re.findall(r'^```python title="cells.py"\n(.*?)^```$', page, re.M | re.S)
    file = _file(write_scenario, city, (8, 8), users_per_link=8, max_condition=1e6)
    shutil.copy(file, tmp_path / "cells.toml")
    monkeypatch.chdir(tmp_path)
    exec(compile(text, "docs/guarantees.md", "exec"), {"__name__": "cells"})
