"""OFDM symbols share their matrices only where these are the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.blocks import MMSEEqualizer, SVDBeamformer, SVDCombiner, ZFPrecoder

USERS, ANTENNAS, SYMBOLS, SUBCARRIERS = 4, 8, 6, 288
SPACING, NO = 30e3, 0.1


def _noise(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.complex128, generator=generator)


@dataclass(frozen=True)
class Change:
    """What happens to some rows of a channel in some resource blocks of some symbols."""

    first_symbol: int
    last_symbol: int
    first_block: int
    num_blocks: int
    user: int | None
    how: str

    def of(self, h: Tensor) -> Tensor:
        """h [USERS, ANTENNAS, SYMBOLS, SUBCARRIERS], changed."""
        h = h.clone()
        users = slice(None) if self.user is None else slice(self.user, self.user + 1)
        symbols = slice(self.first_symbol, self.last_symbol + 1)
        band = slice(12 * self.first_block, 12 * (self.first_block + self.num_blocks))
        part = h[users, :, symbols, band]
        changes: dict[str, Callable[[], Tensor]] = {
            "turned": lambda: -part,
            "faded": lambda: 0.3 * part,
            "gone": lambda: torch.zeros_like(part),
            "hopped": lambda: part.roll(1, 0) * 1j,
            "another": lambda: _noise(*part.shape, seed=3),
        }
        h[users, :, symbols, band] = changes[self.how]()
        return h


CHANGES = st.builds(
    lambda first, more, block, num, user, how: Change(
        first, min(first + more, SYMBOLS - 1), block, num, user, how
    ),
    st.integers(0, SYMBOLS - 1),
    st.integers(0, SYMBOLS - 1),
    st.integers(0, SUBCARRIERS // 12 - 1),
    st.integers(1, 4),
    st.none() | st.integers(0, USERS - 1),
    st.sampled_from(["turned", "faded", "gone", "hopped", "another"]),
)


def _down(num_streams: int, users: int) -> tuple[ResourceGrid, StreamManagement]:
    grid = ResourceGrid(SYMBOLS, SUBCARRIERS, SPACING, num_streams_per_tx=num_streams)
    return grid, StreamManagement(np.ones([users, 1]), num_streams)


def _precoded(h: Tensor, time_varying: bool | None) -> tuple[Tensor, ...]:
    x = _noise(1, 1, USERS, SYMBOLS, SUBCARRIERS, seed=1)
    block = ZFPrecoder(
        *_down(USERS, USERS), nm.Exact(), precision="double", time_varying=time_varying
    )
    return (block(x, h[None, :, None, None], NO),)


def _equalized(h: Tensor, time_varying: bool | None) -> tuple[Tensor, ...]:
    grid = ResourceGrid(SYMBOLS, SUBCARRIERS, SPACING, num_tx=USERS)
    block = MMSEEqualizer(
        grid,
        StreamManagement(np.ones([1, USERS]), 1),
        nm.Exact(),
        precision="double",
        time_varying=time_varying,
    )
    y = _noise(1, 1, ANTENNAS, SYMBOLS, SUBCARRIERS, seed=1)
    found: tuple[Tensor, ...] = block(y, h.transpose(0, 1)[None, None, :, :, None], 0.0, NO)
    return found


def _beams(h: Tensor, time_varying: bool | None) -> tuple[Tensor, ...]:
    x = _noise(1, 1, 2, SYMBOLS, SUBCARRIERS, seed=1)
    block = SVDBeamformer(*_down(2, 1), nm.Exact(), precision="double", time_varying=time_varying)
    return (block(x, h[None, None, :, None]),)


def _combined(h: Tensor, time_varying: bool | None) -> tuple[Tensor, ...]:
    y = _noise(1, 1, USERS, SYMBOLS, SUBCARRIERS, seed=1)
    block = SVDCombiner(*_down(2, 1), nm.Exact(), precision="double", time_varying=time_varying)
    found: tuple[Tensor, ...] = block(y, h[None, None, :, None], NO)
    return found


CASES: dict[str, Callable[[Tensor, bool | None], tuple[Tensor, ...]]] = {
    "ZFPrecoder": _precoded,
    "MMSEEqualizer": _equalized,
    "SVDBeamformer": _beams,
    "SVDCombiner": _combined,
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@given(change=CHANGES)
def test_what_changes_during_a_slot_is_seen(case: Any, change: Change) -> None:
    """The blocks find out what they would compute for every symbol on its own."""
    h = _noise(USERS, ANTENNAS, 1, SUBCARRIERS, seed=0).expand(-1, -1, SYMBOLS, -1)
    # A silent user leaves nothing to invert.
    h = change.of(h) + (1e-3 * h if change.how == "gone" else 0)
    for found, each in zip(case(h, None), case(h, True), strict=True):
        torch.testing.assert_close(found, each, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (8, 288), (64, 300), (16, 3)])
def test_every_row_is_looked_at_everywhere(shape: tuple[int, int]) -> None:
    from neumatc_mimo.blocks.symbols import sharing

    num_antennas, num = shape
    h = torch.zeros(1, 2, 1, 1, num_antennas, 3, num, dtype=torch.complex64)
    assert len(sharing(h, None, None, dim=3)) == 1
    for f in range(num):
        for row in range(2):
            changed = h.clone()
            changed[:, row, :, :, :, 1, f] = 1
            assert len(sharing(changed, None, None, dim=3)) == 2


@pytest.mark.parametrize(("rows", "antennas"), [(8, 64), (16, 100), (2, 16), (9, 64)])
@pytest.mark.parametrize("dim", [2, 3])
def test_every_antenna_is_looked_at_in_some_row(rows: int, antennas: int, dim: int) -> None:
    """What happens to an antenna in all rows is seen, also where only some entries are compared."""
    from neumatc_mimo.blocks.symbols import _FEW, sharing

    num = 1 + 4 * _FEW // (3 * rows * antennas)
    order = (0, 1, 2, 4, 3, 5, 6) if dim == 3 else (0, 3, 4, 1, 2, 5, 6)
    h = torch.zeros(1, rows, 1, antennas, 1, 3, num, dtype=torch.complex64)
    for antenna in range(antennas):
        changed = h.clone()
        changed[:, :, :, antenna, :, 1] = 1
        look = changed.permute(order) if dim == 3 else changed.permute(0, 2, 3, 1, 4, 5, 6)
        assert len(sharing(look, None, None, dim=1, antennas=4 if dim == 3 else 2)) == 2
