"""Several cells: every base station serves its own users and hears those of the other.

Compared with Sionna's blocks, with models as solvers, on drawn and on ray-traced paths.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LMMSEEqualizer, ResourceGrid, RZFPrecoder
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.blocks import (
    BDPrecoder,
    MaxMinPrecoder,
    MMSEEqualizer,
    SLNRPrecoder,
    WMMSEPrecoder,
    ZFPrecoder,
)
from neumatc_mimo.scenario.assembly import build_links
from neumatc_mimo.scenario.deepmimo_data import load_base_stations
from neumatc_mimo.scenario.path_links import PathLinks
from tests.conftest import Trainer

CELLS, OWN, SYMBOLS = 2, 4, 2  # base stations, rows that each serves
ROWS, COLS = CELLS * OWN, 16
FFT_SIZE, SPACING = 128, 240e3
NO = 0.05
# Transmitters take turns, or their users stand side by side.
ORDERS = {"blocks": np.kron(np.eye(CELLS), np.ones([OWN, 1])), "interleaved": np.eye(CELLS)}


class Given(nm.Scenario):
    """A scenario of links that were made elsewhere."""

    def __init__(self, config: Any, links: nm.LinkSet) -> None:
        super().__init__(config)
        self._links = links

    @property
    def multi_user(self) -> nm.LinkSet:
        return self._links

    @property
    def single_user(self) -> None:
        return None


class Cells(NamedTuple):
    """Links of all users with each base station, and models of them.

    :param h: [num_sets, CELLS, FFT_SIZE, ROWS, COLS]
    :param joint: model of all users of a set, link ``set * CELLS + cell``
    :param own: model of the users that a base station serves, the links in the same order
    """

    h: Tensor
    joint: nm.ScenarioModel
    own: nm.ScenarioModel


def _cells(
    trained: Trainer, config: Any, links: nm.LinkSet, rows_of: Callable[[int], list[int]]
) -> Cells:
    """Models for a link set whose links are the cells of one set of users after another."""
    h = links.channel(links.grid_frequencies()).unflatten(0, (-1, CELLS))
    parts = []
    for cell in range(CELLS):
        rows = torch.tensor(rows_of(cell))
        at = links.select(torch.arange(cell, links.num_links, CELLS))
        tensors, values = at.to_tensors()
        for name in ("coefficients", "row_delays", "row_gains", "users", "user_positions"):
            tensors[name] = tensors[name][:, rows]
        if tensors["delays"].shape[1] > 1:
            tensors["delays"] = tensors["delays"][:, rows]
        parts.append((tensors, values | {"source": ""}))
    tensors = {
        name: torch.stack([part[name] for part, _ in parts], 1).flatten(0, 1)
        for name in parts[0][0]
        if name != "base_station_positions"
    }
    tensors["base_station_positions"] = links.base_station_positions
    own = nm.LinkSet.from_tensors(tensors, parts[0][1])
    return Cells(h, *(trained(Given(config, part)) for part in (links, own)))


def _config(write_scenario: Any, **changes: Any) -> Any:
    file = write_scenario(
        array={"bs": [4, 4]},
        grid={"fft_size": FFT_SIZE, "subcarrier_spacing": SPACING},
        multi_user={"users_per_link": ROWS, "num_links": 4},
        single_user=None,
        model={"width": 96, "samples": 64, "collocation": 96},
        **changes,
    )
    return nm.load_scenario(file).config


@pytest.fixture(scope="module")
def drawn(write_scenario: Any, trained: Trainer) -> Cells:
    """Links of drawn paths: two sets of users, each heard by both base stations."""
    g = torch.Generator().manual_seed(0)
    num_links, paths = 2 * CELLS, 3
    coefficients = torch.randn(
        num_links, ROWS, COLS, paths, dtype=torch.complex128, generator=g
    ) * torch.tensor([1.0, 0.3, 0.1])
    coefficients /= coefficients.abs().square().sum((2, 3), keepdim=True).sqrt() / COLS**0.5
    delays = 3e-7 * torch.rand(num_links, ROWS, 1, paths, dtype=torch.float64, generator=g)
    links = PathLinks(
        kind="multi_user",
        coefficients=coefficients,
        delays=delays,
        row_delays=delays.amin((2, 3)),
        row_gains=torch.ones(num_links, ROWS, dtype=torch.float64),
        users=torch.arange(ROWS).repeat(num_links, 1),
        user_positions=torch.zeros(num_links, ROWS, 3, dtype=torch.float64),
        base_station=torch.arange(num_links) % CELLS,
        base_station_positions=torch.zeros(CELLS, 3, dtype=torch.float64),
        carrier_frequency=3.5e9,
        fft_size=FFT_SIZE,
        subcarrier_spacing=SPACING,
        noise_db=(-30.0, 0.0),
    )
    return _cells(trained, _config(write_scenario), links, lambda cell: _served("blocks", cell))


def _served(order: str, cell: int) -> list[int]:
    """Rows, that is streams, of the users that a base station serves."""
    return _association(order)[:, cell].nonzero()[0].tolist()


def _association(order: str) -> Any:
    association = ORDERS[order]
    return np.tile(association, (ROWS // len(association), 1))


def _grid(num_tx: int, num_streams: int) -> ResourceGrid:
    return ResourceGrid(SYMBOLS, FFT_SIZE, SPACING, num_tx=num_tx, num_streams_per_tx=num_streams)


def _noise(*shape: int) -> Tensor:
    return torch.randn(
        *shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(sum(shape))
    )


def _indices(recognised: bool, num_sets: int) -> Tensor | None:
    """Links [num_sets, CELLS], or None to let the model find out."""
    return None if recognised else torch.arange(num_sets * CELLS).view(num_sets, CELLS)


def _close(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    assert ours.shape == theirs.shape
    assert torch.linalg.norm(ours - theirs) < tolerance * torch.linalg.norm(theirs)


def cells_layout(h: Tensor, antennas: int) -> Tensor:
    """Downlink channel [num_sets, num_rx, num_rx_ant, CELLS, COLS, SYMBOLS, FFT_SIZE]."""
    h = h.permute(0, 3, 1, 4, 2).unflatten(1, (-1, antennas))[..., None, :]
    return h.expand(*[-1] * 5, SYMBOLS, -1)


def check_downlink(cells: Cells, recognised: bool, alpha: float, antennas: int) -> None:
    """Each base station precodes to its own users; h_eff has what the others hear of it."""
    num_sets = len(cells.h)
    association = np.kron(np.eye(CELLS), np.ones([OWN // antennas, 1]))
    grid, streams = _grid(CELLS, OWN), StreamManagement(association, OWN)
    h = cells_layout(cells.h, antennas)
    x = _noise(num_sets, CELLS, OWN, SYMBOLS, FFT_SIZE)
    ours = ZFPrecoder(grid, streams, cells.own, return_effective_channel=True)
    theirs = RZFPrecoder(grid, streams, return_effective_channel=True, precision="double")
    found = ours(x, h, alpha, _indices(recognised, num_sets))
    expected = theirs(x.to(torch.complex128), h.to(torch.complex128), torch.tensor(alpha))
    for one, other in zip(found, expected, strict=True):
        _close(one, other, 1e-2)
    assert ours.stats.links_recalled == num_sets * CELLS and ours.stats.links_unknown == 0
    assert ours.stats.queried > 0.5 * num_sets * CELLS * FFT_SIZE


def check_uplink(
    cells: Cells, solver: Any, order: str, recognised: bool, antennas: int, tolerance: float
) -> Any:
    """Each base station detects its own users' streams in the interference of the others'."""
    num_sets, num_tx = len(cells.h), ROWS // antennas
    association = _association(order)[::antennas].T if antennas > 1 else _association(order).T
    grid, streams = _grid(num_tx, antennas), StreamManagement(association, antennas)
    h = cells.h.permute(0, 1, 4, 3, 2).unflatten(3, (num_tx, antennas))[..., None, :]
    h = h.expand(*[-1] * 5, SYMBOLS, -1)
    x = _noise(num_sets, num_tx, antennas, SYMBOLS, FFT_SIZE)
    y = torch.einsum("brmtksf,btksf->brmsf", h, x)
    y = y + NO**0.5 * _noise(*y.shape)
    ours = MMSEEqualizer(grid, streams, solver)
    theirs = LMMSEEqualizer(grid, streams, precision="double")
    found = ours(y, h, 0.0, NO, _indices(recognised, num_sets))
    zero = torch.zeros((), dtype=torch.float64)
    expected = theirs(y.to(torch.complex128), h.to(torch.complex128), zero, zero + NO)
    for one, other in zip(found, expected, strict=True):
        _close(one, other, tolerance)
    return ours.stats


@pytest.mark.parametrize("recognised", [True, False])
@pytest.mark.parametrize("alpha", [0.0, NO])
@pytest.mark.parametrize("antennas", [1, 2])
def test_downlink_of_two_cells(drawn: Cells, recognised: bool, alpha: float, antennas: int) -> None:
    check_downlink(drawn, recognised, alpha, antennas)


@pytest.mark.parametrize("recognised", [True, False])
@pytest.mark.parametrize("antennas", [1, 2])
def test_uplink_of_two_cells_is_queried_from_the_joint_links(
    drawn: Cells, recognised: bool, antennas: int
) -> None:
    stats = check_uplink(drawn, drawn.joint, "blocks", recognised, antennas, 1e-2)
    assert stats.links_recalled == len(drawn.h) * CELLS and stats.links_unknown == 0
    assert stats.queried > 0.5 * len(drawn.h) * CELLS * FFT_SIZE


def test_uplink_of_interleaved_cells(drawn: Cells) -> None:
    stats = check_uplink(drawn, drawn.joint, "interleaved", True, 1, 1e-2)
    assert stats.links_recalled == len(drawn.h) * CELLS


@pytest.mark.parametrize("kind", ["own", "exact", "cached"])
def test_uplink_without_joint_links_is_exact(drawn: Cells, kind: str) -> None:
    """A link of the own users alone tells nothing of the interference."""
    solver = {"own": drawn.own, "exact": nm.Exact(), "cached": nm.Cached(drawn.own)}[kind]
    stats = check_uplink(drawn, solver, "blocks", True, 1, 1e-3)
    assert stats.exact == len(drawn.h) * CELLS * FFT_SIZE and stats.queried == 0


def test_solvers_tell_what_they_know(drawn: Cells) -> None:
    operation = nm.PseudoInverse()
    assert drawn.joint.knows(operation, ROWS, COLS) and drawn.own.knows(operation, OWN, COLS)
    assert not drawn.own.knows(operation, ROWS, COLS)
    assert not drawn.joint.knows(nm.SVD(1), ROWS, COLS)
    assert nm.Exact().knows(operation, 3, 7)


def test_more_streams_than_antennas_are_whitened() -> None:
    """Five desired and five undesired streams on six antennas have no joint inverse."""
    grid, streams = _grid(10, 1), StreamManagement(np.kron(np.eye(2), np.ones([1, 5])), 1)
    h, y = _noise(1, 2, 6, 10, 1, SYMBOLS, FFT_SIZE), _noise(1, 2, 6, SYMBOLS, FFT_SIZE)
    h, y = h.to(torch.complex128), y.to(torch.complex128)
    ours = MMSEEqualizer(grid, streams, nm.Exact(), precision="double")
    theirs = LMMSEEqualizer(grid, streams, precision="double")
    zero = torch.zeros((), dtype=torch.float64)
    for one, other in zip(ours(y, h, 0.0, NO), theirs(y, h, zero, zero + NO), strict=True):
        _close(one, other, 1e-9)


PRECODERS: dict[str, tuple[type, int, tuple[float, ...]]] = {
    "zf": (ZFPrecoder, 1, (NO,)),
    "wmmse": (WMMSEPrecoder, 1, (NO,)),
    "max_min": (MaxMinPrecoder, 1, (NO,)),
    "slnr": (SLNRPrecoder, 2, (NO,)),
    "bd": (BDPrecoder, 2, ()),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("kind", "antennas", "no"), PRECODERS.values(), ids=PRECODERS)
def test_a_precoder_of_two_cells_is_one_of_each(
    drawn: Cells, kind: Any, antennas: int, no: tuple[float, ...], order: str
) -> None:
    """Each transmitter precodes to its own receivers; the effective channel has all of them."""
    users = OWN // antennas
    association = {
        "blocks": np.kron(np.eye(CELLS), np.ones([users, 1])),
        "interleaved": np.tile(np.eye(CELLS), (users, 1)),
    }[order]
    h = cells_layout(drawn.h, antennas)
    x = _noise(len(h), CELLS, OWN, SYMBOLS, FFT_SIZE)
    both = kind(_grid(CELLS, OWN), StreamManagement(association, OWN), nm.Exact(), True)
    precoded, h_eff = both(x, h, *no)
    alone = StreamManagement(np.ones([users, 1]), OWN)
    for cell in range(CELLS):
        own = association[:, cell].nonzero()[0]
        one = kind(_grid(1, OWN), alone, nm.Exact(), True)
        here = slice(cell, cell + 1)
        expected, own_eff = one(x[:, here], h[:, own][:, :, :, here], *no)
        _close(precoded[:, here], expected, 1e-4)
        _close(h_eff[:, own][:, :, :, here], own_eff, 1e-4)
        arriving = torch.einsum("brmnsf,bnsf->brmsf", h[:, :, :, cell], precoded[:, cell])
        through = torch.einsum("brmksf,bksf->brmsf", h_eff[:, :, :, cell], x[:, cell])
        _close(through, arriving, 1e-4)


@pytest.mark.slow
def test_two_base_stations_of_a_city(write_scenario: Any, trained: Trainer, city: Path) -> None:
    """The same, on ray-traced paths of users that both base stations reach."""
    config = _config(write_scenario, deepmimo={"path": str(city), "base_station": [0, 1]})
    assert config.multi_user is not None
    stations = load_base_stations(config)
    both = np.flatnonzero(np.logical_and(*(station.has_path for station in stations)))
    rng = np.random.default_rng(0)
    best: dict[float, nm.LinkSet] = {}
    for _ in range(40):
        users = rng.choice(both, ROWS, replace=False)
        links = build_links(
            config, config.multi_user, stations, [(cell, users) for cell in range(CELLS)]
        )
        h = links.channel(links.grid_frequencies()[::8], dtype=torch.complex128)
        best[float(torch.linalg.cond(h).median(1).values.max())] = links
    links = best[min(best)]
    assert min(best) < 1e3 and set(links.base_station.tolist()) == {0, 1}
    cells = _cells(trained, config, links, lambda cell: _served("blocks", cell))
    for recognised in (True, False):
        check_downlink(cells, recognised, 0.0, 1)
        check_downlink(cells, recognised, NO, 2)
        stats = check_uplink(cells, cells.joint, "blocks", recognised, 2, 1e-2)
        assert stats.links_recalled == CELLS
