"""Users in nearly the same place, whom the noise alone tells apart, in single precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid, RZFPrecodedChannel, RZFPrecoder
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.blocks import (
    MaxMinPrecoder,
    SLNRPrecoder,
    WMMSEPrecoder,
    ZFPrecodedChannel,
    ZFPrecoder,
)
from neumatc_mimo.kernels.lanes import library

APART = [0.0, 1e-4, 1e-3, 1e-2, 0.1]
NOISE = [1e-5, 1e-3, 0.01, 0.1, 1.0]


def grid() -> tuple[ResourceGrid, StreamManagement]:
    resource_grid = ResourceGrid(2, 40, 30e3, num_tx=1, num_streams_per_tx=3)
    return resource_grid, StreamManagement(np.ones([3, 1]), 3)


def neighbours(apart: float) -> Tensor:
    """Channels [1, 3, 1, 1, 6, 2, 40] of three users, two of them neighbours."""
    generator = torch.Generator().manual_seed(1)
    h = torch.randn(1, 3, 1, 1, 6, 1, 40, dtype=torch.complex128, generator=generator)
    h[:, 1] = h[:, 0] + apart * h[:, 1]
    return h.expand(-1, -1, -1, -1, -1, 2, -1)


def symbols() -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(1, 1, 3, 2, 40, dtype=torch.complex128, generator=generator)


def distance(found: Tensor, right: Tensor, dims: tuple[int, ...]) -> float:
    """The largest distance over the norm, which are those over ``dims``."""
    norm = torch.linalg.vector_norm
    return float((norm(found - right, dim=dims) / norm(right, dim=dims)).max())


@pytest.fixture(params=["lanes", "PyTorch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """With kernels and without."""
    library.forget()
    if request.param == "lanes" and library.loaded() is None:
        pytest.skip(f"The kernels are {library.why_not()}.")
    if request.param == "PyTorch":
        monkeypatch.setenv(library.VARIABLE, "off")
        library.forget()
    yield
    monkeypatch.undo()
    library.forget()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("apart", APART)
@pytest.mark.parametrize("alpha", NOISE)
def test_regularised_zero_forcing(apart: float, alpha: float) -> None:
    h, x = neighbours(apart), symbols()
    right = RZFPrecoder(*grid(), precision="double")(x, h, alpha)
    found, theirs = (
        block(x.to(torch.complex64), h.to(torch.complex64), alpha)
        for block in (ZFPrecoder(*grid(), nm.Exact()), RZFPrecoder(*grid(), precision="single"))
    )
    allowed = 10 * distance(theirs, right, (1, 2, 3)) + 3e-4
    assert distance(found, right, (1, 2, 3)) < min(allowed, 2e-3)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("apart", APART)
@pytest.mark.parametrize("alpha", NOISE)
def test_precoded_channels(apart: float, alpha: float) -> None:
    h, power = neighbours(apart), torch.ones(1, 1, 3, dtype=torch.float64)
    right = RZFPrecodedChannel(*grid(), precision="double")(h, power, h, alpha)
    single = h.to(torch.complex64)
    found = ZFPrecodedChannel(*grid(), nm.Exact())(single, power.float(), single, alpha)
    assert distance(found, right, (1, 2, 3, 4)) < 2e-3


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("block", [MaxMinPrecoder, SLNRPrecoder])
@pytest.mark.parametrize("apart", APART)
@pytest.mark.parametrize("no", NOISE)
def test_precoders_in_noise(block: Any, apart: float, no: float) -> None:
    """Others than of the largest sum rate, which serves either of two equal users."""
    h, x = neighbours(apart), symbols()
    right = block(*grid(), nm.Exact(), precision="double")(x, h, no)
    found = block(*grid(), nm.Exact())(x.to(torch.complex64), h.to(torch.complex64), no)
    # As far as the channel's own rounding to single precision allows.
    allowed = 3e-3 if apart == 0 or apart > 1e-3 else 2e-2
    assert distance(found, right, (1, 2, 3)) < allowed


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("block", [MaxMinPrecoder, WMMSEPrecoder, SLNRPrecoder])
def test_precoders_in_little_noise(block: Any) -> None:
    generator = torch.Generator().manual_seed(1)
    h = torch.randn(1, 3, 1, 1, 6, 1, 40, dtype=torch.complex128, generator=generator)
    h, x = h.expand(-1, -1, -1, -1, -1, 2, -1), symbols()
    for no in (1e-9, 1e-7, 1e-5, 1e-3):
        right = block(*grid(), nm.Exact(), precision="double")(x, h, no)
        found = block(*grid(), nm.Exact())(x.to(torch.complex64), h.to(torch.complex64), no)
        assert distance(found, right, (1, 2, 3)) < 1e-3
