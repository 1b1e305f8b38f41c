"""Users in nearly the same place, whom the noise alone tells apart, in single precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LMMSEEqualizer, ResourceGrid, RZFPrecodedChannel, RZFPrecoder
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.blocks import (
    MaxMinPrecoder,
    MMSEEqualizer,
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


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("coloured", ["not", "errors", "antennas", "interference"])
@pytest.mark.parametrize("apart", [*APART, 1e-6])
@pytest.mark.parametrize("no", [1e-7, *NOISE])
def test_equalized_symbols(coloured: str, apart: float, no: float) -> None:
    num_cells, num_antennas = (2, 4) if coloured == "interference" else (1, 6)
    generator = torch.Generator().manual_seed(3)
    pair = (
        ResourceGrid(2, 40, 30e3, num_tx=3 * num_cells),
        StreamManagement(np.kron(np.eye(num_cells), np.ones([1, 3])), 1),
    )
    shape = (1, num_cells, num_antennas, 3 * num_cells, 1, 1, 40)
    h = torch.randn(shape, dtype=torch.complex128, generator=generator)
    h[:, :, :, 1] = h[:, :, :, 0] + apart * h[:, :, :, 1]
    h[:, :, :, -1] = h[:, :, :, 0] + apart * h[:, :, :, -1]
    h = h.expand(*[-1] * 5, 2, -1).to(torch.complex64)
    y = torch.randn(1, num_cells, num_antennas, 2, 40, dtype=torch.complex64, generator=generator)
    powers: dict[str, list[Tensor]] = {
        "errors": [no * torch.rand(h.shape, generator=generator), torch.tensor(no)],
        "antennas": [
            torch.tensor(0.0),
            no * (0.1 + torch.rand(1, num_cells, num_antennas, generator=generator)),
        ],
    }
    inputs = [y, h, *powers.get(coloured, [torch.tensor(0.0), torch.tensor(no)])]
    wide = [x.to(torch.promote_types(x.dtype, torch.float64)) for x in inputs]
    right = LMMSEEqualizer(*pair, precision="double")(*wide)
    found = MMSEEqualizer(*pair, nm.Exact())(*inputs)
    # The noise is what is left of one: of Sionna's double precision, too.
    floors = (2e-3, 2e-3 + 1e-10 / no)
    for one, other, floor in zip(found, right, floors, strict=True):
        assert distance(one, other, (0, 3)) < floor


@pytest.mark.parametrize("antennas", [1, 2, 4])
@pytest.mark.parametrize("apart", [1e-6, 1e-5, *APART[1:], 1.0])
@pytest.mark.parametrize("no", [0.0, 1e-9, 1e-7, *NOISE, 1e3])
def test_users_of_several_antennas(antennas: int, apart: float, no: float) -> None:
    """SLNR and block diagonalisation, in single and in double precision."""
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(1, 60, 8, 12, dtype=torch.complex128, generator=generator)
    # Within a user, and of two users.
    a[:, :, 1] = a[:, :, 0] + apart * a[:, :, 1]
    a[:, :, 4] = a[:, :, 3] + apart * a[:, :, 4]
    operation = nm.SLNR(no or 1.0, antennas) if no else nm.BlockDiagonalization(antennas)
    for dtype in (torch.complex64, torch.complex128):
        given = a.to(dtype)
        found = operation.solve_surely(given, no).answer.v
        right = operation.answer(streams(given.to(torch.complex128), no, antennas), no).v
        # Columns have unit norm.
        error = torch.linalg.vector_norm(found - right, dim=-2)
        assert float(error.max()) < 5e-3


def streams(a: Tensor, no: float, antennas: int) -> tuple[Tensor, Tensor]:
    """Precoder and amplitudes, user by user, by decompositions that square no condition number."""
    num_rows, num_cols = a.shape[-2:]
    v, s = [], []
    for first in range(0, num_rows, antennas):
        own = a[..., first : first + antennas, :]
        others = torch.cat([a[..., :first, :], a[..., first + antennas :, :]], dim=-2)
        if no:
            sigma = (no**0.5 * torch.eye(num_cols, dtype=a.dtype)).expand(*a.shape[:-2], -1, -1)
            _, r = torch.linalg.qr(torch.cat([others, sigma], dim=-2))
            white = torch.linalg.solve_triangular(r, own, upper=True, left=False)
            _, size, rows = torch.linalg.svd(white, full_matrices=False)
            columns = torch.linalg.solve_triangular(r, rows.mH, upper=True)
            v.append(columns / torch.linalg.vector_norm(columns, dim=-2, keepdim=True))
            s.append(no**0.5 * size)
        else:
            _, _, rows = torch.linalg.svd(others)
            null = rows[..., len(others[0, 0]) :, :].mH
            _, size, rows = torch.linalg.svd(own @ null, full_matrices=False)
            v.append(null @ rows.mH)
            s.append(size)
    return torch.cat(v, dim=-1), torch.cat(s, dim=-1)


def test_whitened_noise_warns_of_what_is_lost() -> None:
    """As noise that is equal at all antennas does."""
    pair = ResourceGrid(2, 40, 30e3, num_tx=3), StreamManagement(np.ones([1, 3]), 1)
    h = neighbours(0.0).permute(0, 3, 4, 1, 2, 5, 6).to(torch.complex64)
    y = torch.zeros(1, 1, 6, 2, 40, dtype=torch.complex64)
    for no in (torch.tensor(1e-12), torch.full((1, 1, 6), 1e-12)):
        with pytest.warns(nm.NeuMatCWarning, match="of 40 matrices are so ill-conditioned"):
            MMSEEqualizer(*pair, nm.Exact())(y, h, 0.0, no)
