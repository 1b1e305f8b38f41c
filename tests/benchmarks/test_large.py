"""Large arrays in small: users with many streams are Sionna's, and every way makes a row."""

from __future__ import annotations

from pathlib import Path

import torch
from sionna.phy import config

from benchmarks import large
from benchmarks.clusters import clustered_users
from benchmarks.paper.sheet import Settings
from neumatc_mimo.bench.blocks import Point
from neumatc_mimo.scenario.sampled_links import SampledLinks

POINT = Point(16, 64, 48, bs=(8, 8), ue=(4, 4), num_streams=8)


def test_clustered_users_have_their_streams_and_leave_the_seed_alone() -> None:
    before = config.seed
    links = clustered_users(POINT, 3, 40e-9).single_user
    assert config.seed == before
    assert isinstance(links, SampledLinks) and links.num_streams == 8
    assert links.samples.shape == (3, 48, 16, 64)
    sizes = torch.linalg.svdvals(links.samples.to(torch.complex128))
    assert bool((sizes[..., 7] > 1e-2 * sizes[..., 0]).all())


def test_clustered_users_depend_on_their_seed_alone() -> None:
    one, again, other = (clustered_users(POINT, 2, 40e-9, seed) for seed in (0, 0, 1))
    assert one.fingerprint == again.fingerprint != other.fingerprint


def test_quick_table_has_all_ways(tmp_path: Path) -> None:
    settings = Settings(True, tmp_path, ("3_streams",))
    (sheet,) = large.sheets(settings)
    ways = [str(row["way"]).split(",")[0] for row in sheet.rows]
    assert sorted(ways) == ["DFT", "exact", "queried", "randomised SVD", "spline"]
    queried = next(row for row in sheet.rows if row["way"] == "queried")
    assert float(queried["error, dB"]) < -40 and queried["patched"] == 0
