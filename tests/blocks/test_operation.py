"""The precoder of any operation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.blocks import PRECODERS, OperationPrecoder
from neumatc_mimo.blocks.matrix_precoder import MatrixPrecoder
from neumatc_mimo.operations import OPERATIONS
from tests.blocks.common import close

USERS, ANTENNAS, COLS, SYMBOLS, SUBCARRIERS, NO = 2, 2, 8, 2, 24, 0.2
ROWS = USERS * ANTENNAS


def normal(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.complex64, generator=generator)


def pair(num_streams: int = ROWS) -> tuple[ResourceGrid, StreamManagement]:
    grid = ResourceGrid(SYMBOLS, SUBCARRIERS, 30e3, num_tx=1, num_streams_per_tx=num_streams)
    return grid, StreamManagement(np.ones([USERS, 1]), num_streams)


X = normal(1, 1, ROWS, SYMBOLS, SUBCARRIERS, seed=0)
H = normal(1, USERS, ANTENNAS, 1, COLS, 1, SUBCARRIERS, seed=1).expand(
    -1, -1, -1, -1, -1, SYMBOLS, -1
)
A = H[..., 0, :][:, :, :, 0].flatten(1, 2).permute(0, 3, 1, 2)


@pytest.mark.parametrize("name", PRECODERS)
def test_a_block_of_an_operation_is_the_general_one(name: str) -> None:
    kind = OPERATIONS.find(name)
    block: Any = PRECODERS[name](*pair(), nm.Exact(), True)
    general = OperationPrecoder(*pair(), nm.Exact(), block._operation_for(ANTENNAS), True)
    noise = (NO,) if kind.depends_on_noise() else ()
    for expected, found in zip(block(X, H, *noise), general(X, H, *noise), strict=True):
        # Kernels and PyTorch round an iteration in other places.
        close(found, expected, 1e-4)


@pytest.mark.parametrize(
    ("operation", "no", "component"),
    [
        (nm.PseudoInverse(), 0.0, 0),
        (nm.PseudoInverse(), NO, 0),
        (nm.SVD(ROWS), 0.0, 2),
        (nm.SLNR(NO, ANTENNAS), 0.0, 0),
    ],
    ids=["zero forcing", "MMSE", "SVD", "SLNR"],
)
@pytest.mark.parametrize("solver", [nm.Exact(), nm.Spline(12)], ids=str)
def test_the_matrix_is_that_of_the_answer(
    operation: nm.Operation, no: float, component: int, solver: nm.Solver
) -> None:
    # One subcarrier after the other is the same channel.
    h = H[..., :1].expand(-1, -1, -1, -1, -1, -1, SUBCARRIERS)
    found = OperationPrecoder(*pair(), solver, operation)(X, h, no)
    matrix = operation.results(operation.solve(A[:, :1], no))[component]
    expected = (matrix @ X[:, 0].permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    close(found[:, 0], expected, 1e-4)


def test_a_noise_power_that_counts_for_nothing_is_left_out() -> None:
    block = OperationPrecoder(*pair(), nm.Exact(), nm.BlockDiagonalization(ANTENNAS))
    assert torch.equal(block(X, H, NO), block(X, H))


def test_what_is_no_precoder_of_the_channel_is_refused() -> None:
    with pytest.raises(ValueError, match=r"svd of a channel of 4 x 8 is \[8, 2\], \[8, 4\] is"):
        OperationPrecoder(*pair(), nm.Exact(), nm.SVD(2))(X, H)
    with pytest.raises(ValueError, match="Only square matrices have an inverse"):
        OperationPrecoder(*pair(), nm.Exact(), nm.Inverse())(X, H)
    unmade: Any = nm.Inverse
    with pytest.raises(TypeError, match="operation is a"):
        OperationPrecoder(*pair(), nm.Exact(), unmade)


def test_blocks_are_registered_by_their_operations() -> None:
    assert set(PRECODERS) <= set(OPERATIONS)
    for kind in PRECODERS.values():
        assert issubclass(kind, MatrixPrecoder)
