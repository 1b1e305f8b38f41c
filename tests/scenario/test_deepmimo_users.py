"""Users, arrays, patterns and views of DeepMIMO's data, against DeepMIMO itself."""

from __future__ import annotations

import contextlib
import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import deepmimo
import numpy as np
import pytest
import torch
from deepmimo import consts

import neumatc_mimo as nm
from neumatc_mimo.scenario.deepmimo_data import load_base_stations

GRID = {"fft_size": 128, "subcarrier_spacing": 120e3}


def loaded(folder: Path, **options: Any) -> Any:
    """What a user loads."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        before = deepmimo.config.get("scenarios_folder")
        deepmimo.config.set("scenarios_folder", str(folder.parent))
        try:
            return deepmimo.load(folder.name, max_paths=25, **options)
        finally:
            deepmimo.config.set("scenarios_folder", before)


@pytest.fixture(scope="module")
def dataset(munich: Path) -> Any:
    return loaded(munich)


def made(dataset: Any, **sections: Any) -> nm.Scenario:
    sections = {
        "grid": GRID,
        "array": {"bs": [4, 2]},
        "multi_user": {"users_per_link": 2, "num_links": 4, "max_condition": 1e12},
        **sections,
    }
    return nm.Scenario.from_deepmimo(dataset, progress=False, **sections)


def able(dataset: Any, **keys: Any) -> set[int]:
    (station,) = load_base_stations(made(dataset, deepmimo=keys).config, dataset)
    return set(np.flatnonzero(station.able).tolist())


def theirs(
    dataset: Any, links: nm.LinkSet, bs: dict[str, Any], ue: dict[str, Any], view: Any = None
) -> torch.Tensor:
    """DeepMIMO's channels of the links' users, [num_links, fft_size, K, M]."""
    size = links.fft_size
    rotation = ue.get("rotation")
    rows = []
    for user in links.users.reshape(-1).tolist():
        own = dataset.trim(idxs=np.array([user]))
        antennas = dict(ue)
        if rotation is not None and np.ndim(rotation) == 2:
            antennas["rotation"] = np.asarray(rotation)[user]
        parameters = deepmimo.ChannelParameters(
            bs_antenna=bs,
            ue_antenna=antennas,
            num_paths=25,
            ofdm={
                "subcarriers": size,
                "bandwidth": size * links.subcarrier_spacing,
                "selected_subcarriers": np.arange(size),
            },
        )
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            own.set_channel_params(parameters)
            if view is not None:
                own = own.trim(**view)
            rows.append(own.compute_channels(parameters)[0])
    h = torch.from_numpy(np.stack(rows)).to(torch.complex128) * math.sqrt(size)
    h = h.reshape(links.num_links, -1, *h.shape[1:])  # [L, users, ue, bs, F]
    return h.flatten(1, 2).movedim(-1, 1) * links.row_gains[:, None, :, None]


def from_zero(links: nm.LinkSet) -> torch.Tensor:
    """Channels at DeepMIMO's subcarriers, which run from 0 to N - 1."""
    index = torch.arange(links.fft_size, dtype=torch.float64)
    return links.channel(index * links.subcarrier_spacing)


def test_a_loaded_data_set_is_the_folder(dataset: Any, munich: Path, write_scenario) -> None:
    changes = {"grid": GRID, "multi_user": {"users_per_link": 2, "max_condition": 1e12}}
    file = write_scenario(deepmimo={"path": str(munich)}, single_user=None, **changes)
    from_file, given = nm.load_scenario(file), made(dataset)
    assert from_file.fingerprint == given.fingerprint
    assert nm.Scenario(file, dataset).fingerprint == given.fingerprint
    assert nm.Scenario(str(file)).fingerprint == given.fingerprint
    assert "a DeepMIMO data set" in repr(given)


def test_subcarriers_from_the_carrier_upwards_are_those_of_compute_channels(dataset: Any) -> None:
    scenario = made(dataset, grid={**GRID, "centred": False})
    links, centred = scenario.multi_user, made(dataset).multi_user
    assert links is not None and centred is not None
    h = links.channel(links.grid_frequencies())
    expected = theirs(dataset, links, {"shape": [4, 2]}, {"shape": [1, 1]})
    assert (h - expected).norm() < 1e-5 * expected.norm()
    assert links.fingerprint() != centred.fingerprint()


def test_what_compute_channels_returns_is_recognised(dataset: Any, trained) -> None:
    from sionna.phy.mimo import StreamManagement
    from sionna.phy.ofdm import ResourceGrid

    from neumatc_mimo.blocks import ZFPrecoder

    scenario = made(
        dataset,
        grid={**GRID, "centred": False},
        array={"bs": [4, 4]},
        multi_user={"users_per_link": 2, "num_links": 4},
        model={"width": 64, "samples": 64, "collocation": 64},
    )
    links = scenario.multi_user
    assert links is not None
    # With DeepMIMO's factor, and without the rows' gains.
    h = theirs(dataset, links, {"shape": [4, 4]}, {"shape": [1, 1]})
    h = h / links.row_gains[:, None, :, None] / math.sqrt(links.fft_size)
    h = h.to(torch.complex64).permute(0, 2, 3, 1)[:, :, None, None, :, None]
    grid = ResourceGrid(1, links.fft_size, links.subcarrier_spacing, num_streams_per_tx=2)
    block = ZFPrecoder(grid, StreamManagement(np.ones((2, 1)), 2), trained(scenario))
    block(torch.ones(4, 1, 2, 1, links.fft_size, dtype=torch.complex64), h)
    assert block.stats.links_recalled == 4


@pytest.mark.parametrize(
    ("keys", "mode"),
    [
        ({"rows": [0, 3, 4]}, ("row", {"row_idxs": [0, 3, 4]})),
        ({"columns": 5}, ("col", {"col_idxs": [5]})),
        ({"every": [3, 2]}, ("uniform", {"steps": [3, 2]})),
        (
            {"box": [[-20.0, 40.0], [40.0, 90.0]]},
            ("limits", {"x_min": -20.0, "x_max": 40.0, "y_min": 40.0, "y_max": 90.0}),
        ),
    ],
)
def test_users_are_those_of_deepmimos_modes(dataset: Any, keys: Any, mode: Any) -> None:
    expected = set(dataset.get_idxs(mode[0], **mode[1]).tolist()) & able(dataset)
    assert able(dataset, **keys) == expected and 0 < len(expected) < len(able(dataset))


def test_users_of_several_keys_pass_all_of_them(dataset: Any) -> None:
    every = able(dataset)
    seen = able(dataset, line_of_sight=True)
    assert seen == set(np.flatnonzero(dataset.los == 1).tolist())
    assert able(dataset, line_of_sight=False) == every - seen
    few = sorted(every)[:20]
    assert able(dataset, users=few, line_of_sight=True) == seen & set(few)


def test_files_read_interactions_where_sight_is_asked_for(
    write_scenario, munich: Path, dataset: Any
) -> None:
    file = write_scenario(deepmimo={"path": str(munich), "line_of_sight": True}, single_user=None)
    links = nm.load_scenario(file).multi_user
    assert links is not None
    assert set(links.users.reshape(-1).tolist()) <= able(dataset, line_of_sight=True)


def test_groups_of_ones_own(dataset: Any) -> None:
    users = sorted(able(dataset))[:6]
    groups = [users[:2], users[2:4], users[4:]]
    links = made(dataset, multi_user={"groups": groups}).multi_user
    assert links is not None and links.users.tolist() == groups
    one = made(dataset, multi_user=None, single_user={"groups": [[users[3]]], "ue": [2, 1]})
    assert one.single_user is not None and one.single_user.users.tolist() == [[users[3]]]


@pytest.mark.parametrize(
    ("array", "bs", "ue", "view"),
    [
        (
            {"pattern": "halfwave-dipole", "ue_pattern": "halfwave-dipole"},
            {"radiation_pattern": "halfwave-dipole"},
            {"radiation_pattern": "halfwave-dipole"},
            None,
        ),
        (
            {"ue_rotation": [0.0, 20.0, 70.0], "rotation": [0.0, 10.0, 30.0]},
            {"rotation": [0, 10, 30]},
            {"rotation": [0, 20, 70]},
            None,
        ),
        (
            {"field_of_view": [120.0, 90.0], "ue_field_of_view": [200.0, 120.0]},
            {},
            {},
            {"bs_fov": [120, 90], "ue_fov": [200, 120]},
        ),
    ],
)
def test_arrays_are_those_of_deepmimo(
    dataset: Any, array: Any, bs: Any, ue: Any, view: Any
) -> None:
    scenario = made(
        dataset,
        array={"bs": [4, 2], **array},
        multi_user={"users_per_link": 2, "num_links": 4, "max_condition": 1e30, "ue": [2, 1]},
    )
    links = scenario.multi_user
    assert links is not None
    expected = theirs(dataset, links, {"shape": [4, 2], **bs}, {"shape": [2, 1], **ue}, view)
    assert (from_zero(links) - expected).norm() < 1e-5 * expected.norm()
    plain = made(dataset, multi_user={"users_per_link": 2, "num_links": 4, "ue": [2, 1]})
    assert plain.fingerprint != scenario.fingerprint


def test_drawn_rotations_are_a_users_own(dataset: Any) -> None:
    ranges = [[0.0, 0.0], [-10.0, 10.0], [-180.0, 180.0]]
    scenario = made(
        dataset,
        array={"bs": [4, 2], "ue_rotation_range": ranges},
        multi_user={"users_per_link": 2, "num_links": 3, "max_condition": 1e30, "ue": [2, 1]},
    )
    links = scenario.multi_user
    assert links is not None
    rotation = np.zeros((len(dataset.rx_pos), 3))
    for user in links.users.reshape(-1).tolist():
        low, high = np.array(ranges).T
        rotation[user] = low + np.random.default_rng([0, 4, user]).random(3) * (high - low)
    expected = theirs(dataset, links, {"shape": [4, 2]}, {"shape": [2, 1], "rotation": rotation})
    assert (from_zero(links) - expected).norm() < 1e-5 * expected.norm()
    other = made(dataset, array={"bs": [4, 2], "ue_rotation_range": ranges}, seed=1)
    assert other.fingerprint != scenario.fingerprint


def test_an_array_for_each_base_station(two_stations: Path) -> None:
    dataset = loaded(two_stations)
    scenario = made(
        dataset,
        deepmimo={"base_station": [0, 1]},
        array={
            "bs": [4, 2],
            "bs_each": [[4, 2], [2, 4]],
            "rotation_each": [[0.0, 0.0, 0.0], [0.0, 0.0, 120.0]],
        },
    )
    links = scenario.multi_user
    assert links is not None
    for station, bs in enumerate(({"shape": [4, 2]}, {"shape": [2, 4], "rotation": [0, 0, 120]})):
        own = links.select((links.base_station == station).nonzero()[:, 0])
        expected = theirs(dataset[station], own, bs, {"shape": [1, 1]})
        assert (from_zero(own) - expected).norm() < 1e-5 * expected.norm()


@pytest.fixture(scope="module")
def two_grids(tmp_path_factory: pytest.TempPathFactory, munich: Path) -> Path:
    """Munich with a second set of receivers: every user again, 500 metres away, in reverse."""
    folder = tmp_path_factory.mktemp("deepmimo") / "two_grids"
    shutil.copytree(munich, folder)
    for file in folder.glob("*_t000_*.npz"):
        name = file.name.split("_t0")[0]
        values = np.load(file)[name]
        if name == "rx_pos":
            values = values + np.array([500, 0, 0], values.dtype)
        elif name != "tx_pos":
            values = values[::-1]
        np.savez_compressed(file.with_name(file.name.replace("_r001", "_r002")), **{name: values})
    parameters = json.loads((folder / "params.json").read_text())
    sets = parameters["txrx_sets"]
    sets["txrx_set_2"] = sets["txrx_set_1"] | {"id": 2, "id_orig": 2}
    (folder / "params.json").write_text(json.dumps(parameters))
    return folder


def test_receiver_sets(two_grids: Path, munich: Path, write_scenario) -> None:
    first, second = (
        nm.load_scenario(
            write_scenario(deepmimo={"path": str(two_grids), "rx_sets": one}, single_user=None)
        )
        for one in (1, [2])
    )
    plain = nm.load_scenario(write_scenario(deepmimo={"path": str(munich)}, single_user=None))
    assert first.fingerprint == plain.fingerprint != second.fingerprint
    assert second.positions is not None and second.positions.users[:, 0].min() > 400
    given = nm.Scenario.from_deepmimo(
        loaded(two_grids),
        deepmimo={"rx_sets": 2},
        grid=GRID,
        multi_user={"users_per_link": 2, "num_links": 2},
    )
    assert given.positions is not None and given.positions.users[:, 0].min() > 400
    with pytest.raises(ValueError, match=r"rx_sets in \[deepmimo\] names 3, there are \[1, 2\]"):
        _ = nm.Scenario.from_deepmimo(
            loaded(two_grids), deepmimo={"rx_sets": 3}, grid=GRID, multi_user={}
        ).multi_user
    with pytest.raises(ValueError, match=r"rx_sets in \[deepmimo\] names 3"):
        file = write_scenario(deepmimo={"path": str(two_grids), "rx_sets": 3})
        _ = nm.load_scenario(file).multi_user


def test_users_of_several_grids(two_grids: Path) -> None:
    dataset = loaded(two_grids)
    number = len(dataset[0].rx_pos)
    users = {"users_per_link": 4, "num_links": 6, "max_condition": 1e12}
    joined = made(dataset, deepmimo={"join_grids": True}, multi_user=users)
    links = joined.multi_user
    assert links is not None and joined.positions is not None
    assert len(joined.positions.users) == 2 * number
    far = links.users >= number
    assert far.any() and not far.all()
    # A user of the second grid has the paths of the one in its mirror image.
    mirrored = torch.where(far, 2 * number - 1 - links.users, links.users)
    same = made(dataset[0], multi_user={"groups": mirrored.tolist()}).multi_user
    assert same is not None
    torch.testing.assert_close(from_zero(links), from_zero(same))
    rows = able(dataset[0], rows=[0])
    (station,) = load_base_stations(
        made(dataset, deepmimo={"join_grids": True, "rows": [0]}).config, dataset
    )
    assert set(np.flatnonzero(station.able).tolist()) == rows


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"deepmimo": {"rows": [99]}}, r"rows in \[deepmimo\] is \[99\], there are rows 0 to 24"),
        ({"deepmimo": {"users": [10**5]}}, "there are users 0 to"),
        ({"deepmimo": {"box": [[9.0, 0.0], [0.0, 1.0]]}}, "first must be the lower one"),
        ({"deepmimo": {"box": [[0.0, 1e-3], [0.0, 1e-3]]}}, r"no user that \[deepmimo\] selects"),
        ({"array": {"bs": [4, 2], "bs_each": [[4, 2], [2, 4]]}}, "2 entries in bs_each"),
        ({"array": {"bs": [4, 2], "bs_each": [[4, 4]]}}, "all base stations need as many"),
        ({"array": {"pattern": "patch"}}, "'isotropic' or 'halfwave-dipole'"),
        ({"multi_user": {"groups": [[1, 2], [3]]}}, "all groups need the same number"),
        ({"multi_user": {"groups": [[1, 1]]}}, "a user twice"),
        ({"multi_user": {"groups": [[1, 2]], "num_links": 3}}, "but the groups have 1"),
        ({"multi_user": {"groups": [[10**5, 1]]}}, "there are users 0 to 749"),
        ({"deepmimo": {"path": "x", "scenario": "y"}}, "both path and scenario"),
    ],
)
def test_refusals(dataset: Any, sections: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        _ = made(dataset, **sections).multi_user
    assert "\n" not in str(caught.value)


def test_consts_that_are_relied_on() -> None:
    assert consts.INTERACTION_LOS == 0
