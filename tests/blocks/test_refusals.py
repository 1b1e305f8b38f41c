"""What the blocks refuse, and how they say so; what they assume when told to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from torch import Tensor

from neumatc_mimo.blocks import (
    MMSEDetector,
    MMSEEqualizer,
    SVDBeamformer,
    SVDCombiner,
    ZFPrecoder,
)
from neumatc_mimo.operations.base import Tolerance
from neumatc_mimo.solvers.exact import Exact
from tests.blocks.common import FFT_SIZE, NUM_EFFECTIVE, SYMBOLS, close, grid, in_time, noise

DOWN = StreamManagement(np.ones([3, 1]), 3)
UP = StreamManagement(np.ones([1, 3]), 1)
ONE = StreamManagement(np.ones([1, 1]), 2)


def x(**_: Any) -> Tensor:
    return noise(2, 1, 3, SYMBOLS, FFT_SIZE, seed=1)


def downlink(antennas: int = 4) -> Tensor:
    return noise(2, 3, 1, 1, antennas, SYMBOLS, FFT_SIZE, seed=2)


def y(antennas: int = 4) -> Tensor:
    return noise(2, 1, antennas, SYMBOLS, FFT_SIZE, seed=1)


def uplink(antennas: int = 4) -> Tensor:
    return noise(2, 1, antennas, 3, 1, SYMBOLS, NUM_EFFECTIVE, seed=2)


def spoilt(h: Tensor, value: float) -> Tensor:
    h = h.clone()
    h[0, 0, 0, 0, 0, 1, 5] = value
    return h


ZF_REFUSALS = {
    "nan": ((x(), spoilt(downlink(), torch.nan)), "NaN or infinite"),
    "infinite": ((x(), spoilt(downlink(), torch.inf)), "NaN or infinite"),
    "subcarriers": ((x(), downlink()[..., 1:]), "h has the shape"),
    "symbols": ((x()[..., 1:, :], downlink()), "x has the shape"),
    "batch": ((torch.cat([x(), x()]), downlink()), "x has the shape"),
    "rank": ((x(), downlink()[0]), "h has the shape"),
    "streams": ((x(), downlink(2)), "3 streams are more than the 2 antennas"),
    "alpha": ((x(), downlink(), -0.1), "alpha has negative"),
    "alpha shape": ((x(), downlink(), torch.ones(7)), "alpha has the shape"),
    "links shape": ((x(), downlink(), 0.0, torch.zeros(3, dtype=int)), "links has the shape"),
    "links index": ((x(), downlink(), 0.0, torch.tensor([0, -2])), "links has the entry -2"),
    "links type": ((x(), downlink(), 0.0, torch.zeros(2)), "integer link indices"),
}


@pytest.mark.parametrize("inputs, message", ZF_REFUSALS.values(), ids=ZF_REFUSALS)
def test_zf_precoder_refuses(inputs: Any, message: str) -> None:
    block = ZFPrecoder(grid(1, 3), DOWN, Exact(), precision="double")
    with pytest.raises((TypeError, ValueError), match=message):
        block(*inputs)


MMSE_REFUSALS = {
    "nan": ((y(), spoilt(uplink(), torch.nan), 0.0, 0.1), "NaN or infinite"),
    "nan beside the probes": ((y(), spoilt(uplink().roll(1, -1), torch.nan), 0.0, 0.1), "NaN or"),
    "all subcarriers": ((y(), uplink().repeat_interleave(2, -1), 0.0, 0.1), "h_hat has the shape"),
    "antennas": ((y(5), uplink(), 0.0, 0.1), "h_hat has the shape"),
    "symbols": ((y()[..., :2, :], uplink()[..., :2, :], 0.0, 0.1), "2 OFDM symbols"),
    "more symbols": ((y().repeat(1, 1, 1, 2, 1), uplink(), 0.0, 0.1), "y has the shape"),
    "batch": ((y().repeat(2, 1, 1, 1, 1), uplink(), 0.0, 0.1), "h_hat has the shape"),
    "err_var": ((y(), uplink(), torch.ones(5), 0.1), "err_var has the shape"),
    "err_var negative": ((y(), uplink(), -0.1, 0.1), "err_var has negative"),
    "err_var nan": ((y(), uplink(), torch.tensor(torch.nan), 0.1), "err_var has negative"),
    "no shape": ((y(), uplink(), 0.0, torch.ones(5)), "no has the shape"),
    "no": ((y(), uplink(), 0.0, -1.0), "no has negative"),
    "no nan": ((y(), uplink(), 0.0, torch.nan), "no has negative entries or NaN"),
}


@pytest.mark.parametrize("inputs, message", MMSE_REFUSALS.values(), ids=MMSE_REFUSALS)
def test_mmse_blocks_refuse(inputs: Any, message: str) -> None:
    equalizer = MMSEEqualizer(grid(3, 1), UP, Exact(), precision="double")
    detector = MMSEDetector("bit", "app", grid(3, 1), UP, Exact(), "qam", 2, precision="double")
    for block in (equalizer, detector):
        with pytest.raises((TypeError, ValueError), match=message):
            block(*inputs)


def test_svd_blocks_refuse() -> None:
    rg = grid(1, 2)
    h = noise(2, 1, 3, 1, 8, SYMBOLS, FFT_SIZE, seed=1)
    beamformer, combiner = (kind(rg, ONE, Exact()) for kind in (SVDBeamformer, SVDCombiner))
    with pytest.raises(ValueError, match="NaN or infinite"):
        beamformer(x()[:, :, :2], spoilt(h, torch.nan))
    with pytest.raises(ValueError, match="antennas of the receiver"):
        beamformer(x()[:, :, :2], h[:, :, :1])
    with pytest.raises(ValueError, match="antennas of a link"):
        combiner(y()[:, :, :1], h[:, :, :1], 0.1)
    with pytest.raises(ValueError, match="h has the shape"):
        combiner(y()[:, :, :3], h[..., :NUM_EFFECTIVE], 0.1)
    with pytest.raises(ValueError, match="3 receivers"):
        SVDBeamformer(grid(1, 3), DOWN, Exact())
    with pytest.raises(ValueError, match="3 transmitters"):
        SVDCombiner(grid(3, 1), UP, Exact())
    with pytest.raises(ValueError, match="uniform"):
        SVDBeamformer(rg, ONE, Exact(), power="equal")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"certify": "always"}, "certify is 'always'"),
        ({"tolerance": 40}, "tolerance is a int"),
        ({"time_varying": "no"}, "time_varying is 'no'"),
        ({"solver": "exact"}, "solver is a str"),
        ({"resource_grid": None}, "resource_grid is a NoneType"),
    ],
)
def test_constructor_refuses(change: dict[str, Any], message: str) -> None:
    settings = {"resource_grid": grid(1, 3), "stream_management": DOWN, "solver": Exact()}
    with pytest.raises((TypeError, ValueError), match=message):
        ZFPrecoder(**{**settings, **change})


def test_detector_refuses_unknown_outputs() -> None:
    with pytest.raises(ValueError, match="output is 'bits'"):
        MMSEDetector("bits", "app", grid(3, 1), UP, Exact(), "qam", 2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="demapping_method is 'max'"):
        MMSEDetector("bit", "max", grid(3, 1), UP, Exact(), "qam", 2)  # type: ignore[arg-type]


def test_a_channel_of_zeros_spoils_no_other_subcarrier() -> None:
    """Nothing is sent there, where Sionna's precoder gives NaN."""
    h = downlink()
    precoder = ZFPrecoder(grid(1, 3), DOWN, Exact(), precision="double")
    expected = precoder(x(), h)
    h[..., 7] = 0
    x_precoded = precoder(x(), h)
    assert (x_precoded[..., 7] == 0).all()
    rest = torch.arange(FFT_SIZE) != 7
    close(x_precoded[..., rest], expected[..., rest], 1e-12)


def test_time_varying_is_taken_at_its_word() -> None:
    h = downlink()
    settings: dict[str, Any] = {"precision": "double", "tolerance": Tolerance(), "certify": None}
    told = ZFPrecoder(grid(1, 3), DOWN, Exact(), time_varying=False, **settings)
    first = h[..., :1, :].expand_as(h)
    found = ZFPrecoder(grid(1, 3), DOWN, Exact(), **settings)
    close(told(x(), h), found(x(), first), 1e-12)
    assert told.stats.exact == found.stats.exact == 2 * FFT_SIZE
    each = ZFPrecoder(grid(1, 3), DOWN, Exact(), time_varying=True, **settings)
    close(each(x(), in_time(h[..., :1, :], "constant")), told(x(), h), 1e-12)
    assert each.stats.exact == 2 * SYMBOLS * FFT_SIZE
