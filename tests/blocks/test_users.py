"""Precoders of users with several antennas, and the fair one: blocks over their operations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.blocks import BDPrecoder, MaxMinPrecoder, SLNRPrecoder, ZFPrecoder
from tests.blocks.common import close

USERS, ANTENNAS, COLS, SYMBOLS, SUBCARRIERS = 2, 2, 8, 2, 32
ROWS = USERS * ANTENNAS
NO = 0.2


def grids(users: int) -> tuple[ResourceGrid, StreamManagement]:
    grid = ResourceGrid(SYMBOLS, SUBCARRIERS, 30e3, num_tx=1, num_streams_per_tx=ROWS)
    return grid, StreamManagement(np.ones([users, 1]), ROWS)


def channel() -> Tensor:
    """[1, SUBCARRIERS, ROWS, COLS], of few delays."""
    g = torch.Generator().manual_seed(3)
    gain = torch.randn(ROWS, COLS, 4, dtype=torch.complex64, generator=g)
    delay = torch.rand(4, generator=g) / SUBCARRIERS
    wave = torch.exp(-2j * torch.pi * torch.arange(SUBCARRIERS)[:, None] * delay)
    return torch.einsum("fp,kmp->fkm", wave, gain)[None] / 2


def sionna_layout(h: Tensor, users: int = USERS) -> Tensor:
    """[1, users, ROWS / users, 1, COLS, SYMBOLS, SUBCARRIERS]"""
    h = h.permute(0, 2, 3, 1).unflatten(1, (users, -1))[:, :, :, None, :, None]
    return h.expand(*h.shape[:5], SYMBOLS, -1)


def symbols() -> Tensor:
    g = torch.Generator().manual_seed(4)
    return torch.randn(1, 1, ROWS, SYMBOLS, SUBCARRIERS, dtype=torch.complex64, generator=g)


def effective(h_eff: Tensor) -> Tensor:
    """[SUBCARRIERS, ROWS, ROWS] of the first symbol."""
    return h_eff[0, :, :, 0, :, 0].flatten(0, 1).permute(2, 0, 1)


CASES: dict[str, tuple[type, nm.Operation, int, tuple[float, ...]]] = {
    "slnr": (SLNRPrecoder, nm.SLNR(NO, ANTENNAS), USERS, (NO,)),
    "block_diagonalization": (BDPrecoder, nm.BlockDiagonalization(ANTENNAS), USERS, ()),
    "max_min": (MaxMinPrecoder, nm.MaxMin(NO), ROWS, (NO,)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_block_applies_the_operation(case: Any) -> None:
    kind, operation, users, noise = case
    h, x = channel(), symbols()
    block = kind(*grids(users), nm.Exact(), return_effective_channel=True)
    precoded, h_eff = block(x, sionna_layout(h, users), *noise)
    v = operation.solve(h).v
    close(precoded[:, 0], (v @ x[:, 0].permute(0, 3, 1, 2)).permute(0, 2, 3, 1), 1e-4)
    close(effective(h_eff), (h @ v)[0], 1e-4)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_other_solvers_give_the_same(case: Any) -> None:
    kind, _, users, noise = case
    x, h = symbols(), sionna_layout(channel(), users)
    exact = kind(*grids(users), nm.Exact())(x, h, *noise)
    other = kind(*grids(users), nm.Spline(16), certify="call")
    found = other(x, h, *noise)
    assert torch.linalg.norm(found - exact) < 0.02 * torch.linalg.norm(exact)
    assert other.stats.exact + other.stats.queried + other.stats.corrected == SUBCARRIERS


def test_compiles_without_certification() -> None:
    for kind, users, noise in (
        (SLNRPrecoder, USERS, (torch.tensor(NO),)),
        (BDPrecoder, USERS, ()),
    ):
        block = kind(*grids(users), nm.Exact(), certify=None, time_varying=False)
        inputs = (symbols(), sionna_layout(channel(), users), *noise)
        compiled = torch.compile(block, fullgraph=True, backend="eager")
        close(compiled(*inputs), block(*inputs), 1e-5)


def test_effective_channel_is_block_diagonal() -> None:
    block = BDPrecoder(*grids(USERS), nm.Exact(), return_effective_channel=True)
    power = effective(block(symbols(), sionna_layout(channel()))[1]).abs().square()
    power = power.unflatten(-1, (USERS, -1)).unflatten(-3, (USERS, -1)).sum((-3, -1))
    own = power.diagonal(dim1=-2, dim2=-1)
    leakage = power.sum((-2, -1)) - own.sum(-1)
    assert (power - torch.diag_embed(own)).amax((-2, -1)).sqrt().max() < 1e-5 * own.amin().sqrt()
    assert leakage.abs().max() < 1e-5 * own.amin()


def test_vanishing_noise_leads_to_block_diagonalisation() -> None:
    x, h = symbols(), sionna_layout(channel())
    limit = BDPrecoder(*grids(USERS), nm.Exact(), precision="double")
    block = SLNRPrecoder(*grids(USERS), nm.Exact(), precision="double")
    x, h = x.to(torch.complex128), h.to(torch.complex128)
    expected = limit(x, h)
    errors = [float((block(x, h, no) - expected).abs().max()) for no in (1e-3, 1e-5, 1e-7)]
    assert errors[1] < 0.1 * errors[0] and errors[2] < 0.1 * errors[1] and errors[2] < 1e-4


def test_one_antenna_is_regularised_zero_forcing_up_to_phases() -> None:
    x, h = symbols(), sionna_layout(channel(), ROWS)
    for block, noise in ((SLNRPrecoder, (NO,)), (BDPrecoder, ())):
        _, ours = block(*grids(ROWS), nm.Exact(), True)(x, h, *noise)
        _, theirs = ZFPrecoder(*grids(ROWS), nm.Exact(), True)(x, h, *noise)
        ours, theirs = effective(ours), effective(theirs)
        phase = torch.sgn(ours.diagonal(dim1=-2, dim2=-1)).conj()
        close(ours * phase[:, None], theirs, 1e-4)


def test_max_min_equalises_sinrs() -> None:
    block = MaxMinPrecoder(*grids(ROWS), nm.Exact(), return_effective_channel=True)
    power = effective(block(symbols(), sionna_layout(channel(), ROWS), NO)[1]).abs().square()
    own = power.diagonal(dim1=-2, dim2=-1)
    ratio = own / (power.sum(-1) - own + NO)
    assert (ratio / ratio.mean(-1, keepdim=True) - 1).abs().max() < 1e-3


def test_what_is_refused() -> None:
    x, h = symbols(), sionna_layout(channel())
    slnr, fair = (kind(*grids(USERS), nm.Exact()) for kind in (SLNRPrecoder, MaxMinPrecoder))
    with pytest.raises(ValueError, match="no is zero, but without noise the SLNR is not finite."):
        slnr(x, h, 0.0)
    with pytest.raises(ValueError, match="no is zero, but without noise the SINR is not finite."):
        fair(x, h, 0.0)
    with pytest.raises(ValueError, match="no has negative entries or NaN"):
        slnr(x, h, -1.0)
    with pytest.raises(ValueError, match="2 receivers of 1 antennas make 2 rows"):
        BDPrecoder(*grids(USERS), nm.Exact())(x, h[:, :, :1])
