"""QAMDemapper against Sionna's Demapper."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sionna.phy.mapping import Constellation, Demapper

from neumatc_mimo.blocks.qam_demapper import QAMDemapper
from tests.blocks.common import PRECISIONS, close, noise


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("method", ["app", "maxlog"])
@pytest.mark.parametrize("num_bits", [2, 4, 6, 8, 10])
def test_equals_sionna(num_bits: int, method: Any, precision: str) -> None:
    dtype, tolerance = PRECISIONS[precision]
    constellation = Constellation("qam", num_bits, precision=precision)
    y = noise(2, 3, 50, seed=num_bits).to(dtype)
    no = torch.rand(2, 3, 50, generator=torch.Generator().manual_seed(1)).to(y.real.dtype) + 0.01
    for hard_out in (False, True):
        ours = QAMDemapper(method, constellation, hard_out, precision=precision)
        theirs = Demapper(
            method, constellation=constellation, hard_out=hard_out, precision=precision
        )
        for power in (no, no[:1, :1, :1]):
            found, expected = ours(y, power), theirs(y, power.expand(y.shape))
            if hard_out:
                assert (found != expected).double().mean() < 1e-3
            close(found, expected, 2.0 if hard_out else tolerance)


def test_noise_of_zero_decides_for_the_nearest_point() -> None:
    constellation = Constellation("qam", 4)
    points = constellation.points
    llr = QAMDemapper("maxlog", constellation)(points, torch.zeros(16))
    hard = Demapper("maxlog", constellation=constellation, hard_out=True)(points, torch.ones(16))
    assert torch.equal((llr > 0).float(), hard)


@pytest.mark.parametrize("kind", ["custom", "pam", "turned"])
def test_other_constellations_are_left_to_sionna(kind: str) -> None:
    if kind == "pam":
        constellation = Constellation("pam", 4)
    else:
        points = Constellation("qam", 4).points
        points = points.roll(1) if kind == "custom" else points * torch.tensor(1j)
        constellation = Constellation("custom", 4, points=points)
    assert not QAMDemapper.suits(constellation)
    with pytest.raises(ValueError, match="belong to one axis only"):
        QAMDemapper("app", constellation)
