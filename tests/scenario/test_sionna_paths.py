"""Paths of Sionna RT as scenarios: a stand-in with its attributes, and its own where LLVM is."""

from __future__ import annotations

import ctypes.util
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

import neumatc_mimo as nm

GRID = {"fft_size": 96, "subcarrier_spacing": 240e3}
RX, TX, UE, BS, P = 6, 2, 2, 4, 5
CARRIER = 3.5e9
MODEL = {"width": 64, "samples": 64, "collocation": 64}


@dataclass
class StandIn:
    """The attributes of ``sionna.rt.Paths`` that scenarios take, as NumPy arrays."""

    a: tuple[Any, Any]
    tau: Any
    valid: Any
    doppler: Any
    theta_r: Any
    phi_r: Any
    interactions: Any
    targets: Any
    sources: Any
    _frequency: Any


def stand_in(synthetic: bool, moving: bool = False) -> StandIn:
    """The first receiver has no path, the second one no line of sight."""
    rng = np.random.default_rng(0)
    antennas = (RX, UE, TX, BS, P)
    shape = (RX, TX, P) if synthetic else antennas
    valid = np.ones(shape, np.bool_)
    valid[..., -1] = rng.random(shape[:-1]) < 0.5
    valid[0] = False
    tau = np.where(valid, 1e-7 + 4e-7 * rng.random(shape), -1.0)
    interactions = np.ones((2, *shape), np.int64)
    interactions[:, 2:, ..., 0] = 0
    ends = [(RX, 1) if synthetic else (RX, UE), (TX, 1) if synthetic else (TX, BS)]
    targets, sources = (rng.normal(size=(3, n * m)) for n, m in ends)
    return StandIn(
        a=(rng.normal(size=antennas), rng.normal(size=antennas)),
        tau=tau,
        valid=valid,
        doppler=50 * rng.normal(size=shape) if moving else np.zeros(shape),
        theta_r=np.pi * rng.random(shape),
        phi_r=np.pi * rng.random(shape),
        interactions=interactions,
        targets=targets,
        sources=sources,
        _frequency=np.array([CARRIER]),
    )


def made(paths: Any, **sections: Any) -> nm.Scenario:
    sections = {
        "grid": GRID,
        "multi_user": {"users_per_link": 2, "num_links": 4, "max_condition": 1e12},
        "sionna_rt": {"base_station": [0, 1]},
        **sections,
    }
    return nm.Scenario.from_sionna_rt(paths, progress=False, **sections)


def expected(paths: Any, links: nm.LinkSet, frequencies: Any, time: float = 0.0) -> torch.Tensor:
    r"""h = sum_i a_i e^{-j2π(f_c + f)τ_i} e^{j2πν_i t} in double precision."""
    a = np.asarray(paths.a[0], np.float64) + 1j * np.asarray(paths.a[1], np.float64)
    tau, valid = np.asarray(paths.tau, np.float64), np.asarray(paths.valid)
    doppler = np.asarray(paths.doppler, np.float64)
    if tau.ndim == 3:
        tau, valid, doppler = (x[:, None, :, None] for x in (tau, valid, doppler))
    carrier = float(np.asarray(paths._frequency).reshape(-1)[0])
    phase = doppler[..., None] * time - (carrier + np.asarray(frequencies)) * tau[..., None]
    h = (np.where(valid, a, 0)[..., None] * np.exp(2j * np.pi * phase)).sum(-2)
    rows = []
    for users, station in zip(links.users.numpy(), links.base_station.numpy(), strict=True):
        own = h[users][:, :, station]  # [users, ue, bs, F]
        rows.append(own.reshape(-1, *own.shape[2:]).transpose(2, 0, 1))
    return torch.from_numpy(np.stack(rows)) * links.row_gains[:, None, :, None]


@pytest.mark.parametrize("synthetic", [True, False])
@pytest.mark.parametrize("row_scaling", ["unit", "none"])
def test_channels_are_those_of_the_paths(synthetic: bool, row_scaling: str) -> None:
    paths = stand_in(synthetic)
    users = {"users_per_link": 2, "num_links": 4, "max_condition": 1e12}
    scenario = made(
        paths,
        multi_user={**users, "row_scaling": row_scaling},
        single_user={"num_links": 4, "num_streams": 1, "row_scaling": row_scaling},
    )
    assert scenario.positions is not None
    assert scenario.positions.has_path.sum() == RX - 1
    for links in (scenario.multi_user, scenario.single_user):
        assert links is not None and 0 not in links.users
        assert set(links.base_station.tolist()) == {0, 1}
        f = links.grid_frequencies()
        h = links.channel(f, dtype=torch.complex128)
        reference = expected(paths, links, f)
        assert (h - reference).norm() < 1e-9 * reference.norm()


def test_trained_saved_and_loaded(tmp_path) -> None:
    users = {"users_per_link": 1, "num_links": 4}
    scenario = made(stand_in(True), multi_user=users, model=MODEL)
    nm.train(scenario, progress=False).save(tmp_path / "model")
    model = nm.ScenarioModel.load(tmp_path / "model")
    model.check(made(stand_in(True), multi_user=users).fingerprint)
    links = scenario.multi_user
    assert links is not None
    (w,) = model.query("pseudo_inverse", links.grid_frequencies())
    product = links.channel(links.grid_frequencies()) @ w
    assert (product - torch.eye(links.num_rows)).abs().max() < 0.05


def test_moving_users_turn_as_sionna_turns_them() -> None:
    paths = stand_in(True, moving=True)
    scenario = made(paths, motion={"source": "sionna_rt", "num_slots": 4})
    links = scenario.multi_user
    assert links is not None and links.doppler is not None and not links.delays_drift
    f = links.grid_frequencies()[::7]
    h = links.channel(f, dtype=torch.complex128, time=links.duration)
    reference = expected(paths, links, f, links.duration)
    assert (h - reference).norm() < 1e-9 * reference.norm()


def test_users_that_are_taken() -> None:
    paths = stand_in(True)

    def able(**keys: Any) -> set[int]:
        scenario = made(paths, sionna_rt=keys, multi_user={"users_per_link": 1, "num_links": 1})
        return set(np.flatnonzero(scenario._opened.stations[0].able).tolist())  # type: ignore[attr-defined]

    assert able() == {1, 2, 3, 4, 5}
    assert able(users=[0, 2, 4]) == {2, 4}
    assert able(line_of_sight=True) == {2, 3, 4, 5} and able(line_of_sight=False) == {1}
    x, y = np.asarray(paths.targets)[:2]
    inside = set(np.flatnonzero((x > 0) & (y > -1)).tolist()) - {0}
    assert able(box=[[0.0, 9.0], [-1.0, 9.0]]) == inside
    given = made(paths, multi_user={"groups": [[1, 3], [2, 5]]}).multi_user
    assert given is not None and given.users.tolist() == [[1, 3], [2, 5]]
    assert given.base_station.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"array": {"bs": [8, 1]}}, "traced transmitters have 4 antennas"),
        ({"array": {"rotation": [0.0, 0.0, 9.0]}}, "rotation in .* comes from the traced scene"),
        ({"multi_user": {"ue": [1, 1], "users_per_link": 2}}, "traced receivers have 2"),
        ({"sionna_rt": {"base_station": 2}}, "transmitters 0 to 1"),
        ({"sionna_rt": {"rows": [0]}}, "needs users on a grid"),
        ({"sionna_rt": {"users": [0]}}, "has a path from transmitter 0"),
        ({"sionna_rt": {"users": [6]}}, "there are users 0 to 5"),
        ({"motion": {"source": "sionna_rt"}}, "nothing moves in the paths"),
        ({"motion": {"source": "deepmimo"}}, r"its data come from \[sionna_rt\]"),
        ({"multi_user": {"groups": [[0, 1]]}}, "names user 0 of base station 0, it has no path"),
    ],
)
def test_refusals(sections: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _ = made(stand_in(True), **sections).multi_user


def test_what_are_no_paths_is_refused() -> None:
    with pytest.raises(ValueError, match="no Paths of Sionna RT"):
        made(np.zeros(3))
    nowhere = stand_in(True)
    nowhere.valid[:] = False
    with pytest.raises(ValueError, match="no path reaches any receiver"):
        made(nowhere)


@pytest.mark.slow
@pytest.mark.parametrize("synthetic", [True, False])
@pytest.mark.parametrize("polarization", ["V", "cross"])
def test_equals_sionna_rt(synthetic: bool, polarization: str) -> None:
    if not any(ctypes.util.find_library(f"LLVM-{n}") for n in range(14, 25)):
        pytest.skip("Sionna RT needs LLVM, such as libllvm19")
    rt = pytest.importorskip("sionna.rt")
    scene = rt.load_scene(rt.scene.simple_street_canyon)
    scene.frequency = CARRIER
    scene.tx_array = rt.PlanarArray(
        num_rows=2, num_cols=2, pattern="iso", polarization=polarization
    )
    scene.rx_array = rt.PlanarArray(num_rows=1, num_cols=2, pattern="iso", polarization="V")
    for name, place in (("a", [-20, 0, 20]), ("b", [20, 2, 20])):
        scene.add(rt.Transmitter(name, place))
    for i, (x, y) in enumerate([(0, 5), (10, -3), (-15, 4), (5, 1), (25, -4), (-30, 2)]):
        scene.add(rt.Receiver(f"user_{i}", [x, y, 1.5]))
    paths = rt.PathSolver()(
        scene, max_depth=2, samples_per_src=10**5, synthetic_array=synthetic, seed=1
    )
    scenario = made(paths)
    links = scenario.multi_user
    assert links is not None and links.num_cols == (8 if polarization == "cross" else 4)
    f = links.grid_frequencies()
    theirs = paths.cfr(
        frequencies=f.numpy().astype(np.float32),
        normalize_delays=False,
        normalize=False,
        out_type="numpy",
    )
    h = links.channel(f) / links.row_gains[:, None, :, None]
    for own, users, station in zip(h, links.users, links.base_station, strict=True):
        part = theirs[users.numpy()][:, :, int(station), :, 0]
        part = torch.from_numpy(part.reshape(-1, *part.shape[2:]).transpose(2, 0, 1))
        # Sionna RT turns carriers in single precision.
        assert (own - part).norm() < 1e-3 * part.norm()
