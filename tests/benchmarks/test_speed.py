"""The table of speeds, at a tiny size."""

from __future__ import annotations

import pytest

import neumatc_mimo as nm
from benchmarks import speed
from benchmarks.kernels import settings
from neumatc_mimo.bench.bandwidth import copied_per_second, num_bytes
from neumatc_mimo.bench.blocks import Point
from neumatc_mimo.bench.tasks import RECEIVERS, Slot
from tests.conftest import Trainer

POINT = Point(num_users=2, num_antennas=8, fft_size=48, num_streams=1, slot=Slot(2, 2))

# Sionna's lists of candidates are compiled otherwise.
pytestmark = pytest.mark.usefixtures("eager")


@pytest.mark.slow
def test_every_block_is_timed_with_and_without_kernels(trained: Trainer) -> None:
    scenario = POINT.scenario(nm.load_scenario("munich"), 2)
    rows = list(speed._rows(scenario, POINT, trained(scenario), 0.0, theirs=True))
    variants = list(settings())
    blocks = dict.fromkeys(row["block"] for row in rows)
    assert {"ZFPrecoder", "MMSEDetector", "WMMSEPrecoder", "SVDCombiner"} < set(blocks)
    plain = {task.title for task in RECEIVERS}
    for block in blocks:
        # What asks no solver has nothing that could be kept.
        for way in ("exact", "limit", *([] if block in plain else ["exact, cached", "queried"])):
            own = [row for row in rows if (row["block"], row["way"]) == (block, way)]
            assert [row["kernels"] for row in own] == variants
            assert all(row["bandwidth"] > 0 for row in own)
    assert [r["kernels"] for r in rows if r["way"] == "Sionna"] == variants[:1] * (
        6 + len(RECEIVERS)
    )


def test_bytes_that_repeat_count_once() -> None:
    h = nm.load_scenario("munich").multi_user
    assert h is not None
    t = h.channel(h.grid_frequencies()[:4], [0])
    assert num_bytes((t, [t[:, :1]])) == t.nbytes + t[:, :1].nbytes
    assert num_bytes(t[..., None].expand(-1, -1, -1, -1, 14)) == t.nbytes
    assert copied_per_second() > 1e8
