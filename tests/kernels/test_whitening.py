"""Noise and errors that differ between antennas, in lanes: as of PyTorch in double precision."""

from __future__ import annotations

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
from neumatc_mimo.blocks import MMSEDetector, MMSEEqualizer
from neumatc_mimo.kernels.lanes import library
from tests.kernels.comparison import (
    BOUNDS,
    DTYPES,
    VARIANTS,
    Choice,
    Spy,
    needs_library,
    normal,
    uplink,
)

GRID = {"num_guard_carriers": (3, 2), "dc_null": True}


def positive(*shape: int, seed: int = 3) -> Tensor:
    """Factors some 20 dB apart."""
    numbers = torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return 10 ** (2 * numbers - 1)


def off(found: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> float:
    """Distances of each stream over norms, the largest."""
    return max(
        float((torch.linalg.vector_norm(a - b, dim=-1) / torch.linalg.vector_norm(b, dim=-1)).max())
        for a, b in zip(found, right, strict=True)
    )


def run(make: Any, precision: str, inputs: tuple[Any, ...]) -> tuple[Any, Any]:
    to = DTYPES[precision]
    inputs = tuple(t.to(to if t.is_complex() else to.to_real()) for t in inputs)
    block = make(precision)
    return block, block(*inputs)


def equalizer(pair: Any) -> Any:
    return lambda precision: MMSEEqualizer(*pair, nm.Exact(), precision=precision)


# Error variances [batch_size, num_rx, num_rx_ant, num_tx, num_streams, symbols, subcarriers] and
# noise powers.
NOISES = {
    "noise": (torch.zeros(()), positive(2, 1, 6)),
    "errors": (positive(2, 1, 6, 1, 1, 1, 1), torch.tensor(0.1)),
    "errors at subcarriers": (positive(1, 1, 6, 1, 1, 1, 40), torch.tensor(0.1)),
    "both, of symbols": (positive(2, 1, 6, 1, 1, 4, 1), positive(2, 1, 6, seed=4)),
}


@needs_library
@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("items", [1, 2])
@pytest.mark.parametrize("name", NOISES)
def test_noise_of_antennas(name: str, items: int, precision: str, choose: Choice, spy: Spy) -> None:
    errors, no = NOISES[name]
    h = normal(items, 1, 6, 3, 1, 1, 40, dtype=torch.complex128).expand(-1, -1, -1, -1, -1, 4, -1)
    y = normal(2, 1, 6, 4, 46, dtype=torch.complex128, seed=1)
    make = equalizer(uplink(3, 4, 46, **GRID))
    choose("off")
    _, right = run(make, "double", (y, h, errors, no))
    choose("")
    block, found = run(make, precision, (y, h, errors, no))
    assert spy.calls and block.stats.refined == 0
    assert off(found, right) < 10 * BOUNDS[precision]


@needs_library
@given(
    seed=st.integers(0, 999),
    levels=st.lists(st.floats(-3, 3), min_size=4, max_size=4),
    gains=st.lists(st.floats(-6, 6), min_size=3, max_size=3),
    scale=st.sampled_from([1e-12, 1.0, 1e12]),
)
def test_any_gain_and_any_noise(
    seed: int, levels: list[float], gains: list[float], scale: float
) -> None:
    wide = torch.float64
    h = normal(1, 1, 4, 3, 1, 1, 20, dtype=torch.complex128, seed=seed)
    h = h * scale * 10.0 ** torch.tensor(gains, dtype=wide).view(3, 1, 1, 1)
    h = h.to(torch.complex64).expand(-1, -1, -1, -1, -1, 2, -1)
    y = scale * normal(1, 1, 4, 2, 20, dtype=torch.complex64, seed=seed + 1)
    no = (scale**2 * 10.0 ** torch.tensor(levels, dtype=wide)).float().view(1, 1, 4)
    make = equalizer(uplink(3, 2, 20))
    with pytest.MonkeyPatch.context() as patch:
        choose = Choice(patch)
        choose("off")
        _, right = run(make, "double", (y, h, torch.zeros(()), no))
        choose("")
        _, found = run(make, "single", (y, h, torch.zeros(()), no))
    assert off(found, right) < 3e-3


@needs_library
def test_users_in_one_place_are_computed_again(choose: Choice, spy: Spy) -> None:
    h = normal(2, 1, 6, 3, 1, 1, 40, dtype=torch.complex64)
    h[0, :, :, 1, ..., 5:8] = h[0, :, :, 0, ..., 5:8] + 1e-4 * h[0, :, :, 1, ..., 5:8]
    h[1, :, :, 2, ..., 39] = h[1, :, :, 0, ..., 39] + 1e-4 * h[1, :, :, 2, ..., 39]
    # So near that double precision shows.
    h[1, :, :, 2, ..., 7] = h[1, :, :, 0, ..., 7] + 1e-6 * h[1, :, :, 2, ..., 7]
    h = h.expand(-1, -1, -1, -1, -1, 4, -1)
    y = normal(2, 1, 6, 4, 46, dtype=torch.complex64, seed=1)
    inputs = (y, h, torch.zeros(()), 1e-9 * positive(2, 1, 6))
    make = equalizer(uplink(3, 4, 46, **GRID))
    choose("off")
    _, right = run(make, "double", inputs)
    choose("")
    block, found = run(make, "single", inputs)
    assert spy.calls and block.stats.refined == 5
    assert off(found, right) < 3e-3


@needs_library
def test_interference_and_noise_of_antennas(choose: Choice, spy: Spy) -> None:
    """Two receivers, each with streams that the other one wants."""
    grid = ResourceGrid(2, 20, 30e3, num_tx=4)
    pair = (grid, StreamManagement(np.array([[1, 0, 0, 1], [0, 1, 1, 0]]), 1))
    h = normal(2, 2, 6, 4, 1, 1, 20, dtype=torch.complex64).expand(-1, -1, -1, -1, -1, 2, -1)
    y = normal(2, 2, 6, 2, 20, dtype=torch.complex64, seed=1)
    inputs = (y, h, torch.zeros(()), positive(2, 2, 6))
    choose("off")
    _, right = run(equalizer(pair), "double", inputs)
    choose("")
    _, found = run(equalizer(pair), "single", inputs)
    assert spy.calls == 2 and off(found, right) < 1e-4


@needs_library
def test_bits_are_detected_in_lanes(choose: Choice, spy: Spy) -> None:
    h = normal(2, 1, 6, 3, 1, 1, 40, dtype=torch.complex64).expand(-1, -1, -1, -1, -1, 4, -1)
    y = normal(2, 1, 6, 4, 46, dtype=torch.complex64, seed=1)
    inputs = (y, h, torch.zeros(()), positive(2, 1, 6))
    pair = uplink(3, 4, 46, **GRID)
    make = lambda precision: MMSEDetector(  # noqa: E731
        "bit", "maxlog", *pair, nm.Exact(), "qam", 4, precision=precision
    )
    choose("off")
    _, right = run(make, "double", inputs)
    choose("")
    _, found = run(make, "single", inputs)
    assert spy.calls == 1 and off((found,), (right,)) < 1e-4


@needs_library
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_entries_that_are_not_finite_are_refused(bad: float, spy: Spy) -> None:
    h = normal(1, 1, 64, 3, 1, 1, 640, dtype=torch.complex64)
    # Where no look at two antennas of each stream finds it.
    h[0, 0, 13, 1, 0, 0, 333] = bad
    h = h.expand(-1, -1, -1, -1, -1, 4, -1)
    y = normal(1, 1, 64, 4, 640, dtype=torch.complex64, seed=1)
    inputs = (y, h, torch.zeros(()), positive(1, 1, 64))
    with pytest.raises(ValueError, match="has NaN or infinite entries"):
        run(equalizer(uplink(3, 4, 640)), "single", inputs)
    assert spy.calls


@needs_library
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("streams", [3, 8])
def test_variants(streams: int, variant: str, choose: Choice) -> None:
    """No more streams than antennas, and more."""
    choose(variant)
    if library.loaded() is None:
        pytest.skip(str(library.why_not()))
    h = normal(2, 1, 6, streams, 1, 1, 40, dtype=torch.complex64).expand(-1, -1, -1, -1, -1, 4, -1)
    y = normal(2, 1, 6, 4, 46, dtype=torch.complex64, seed=1)
    inputs = (y, h, torch.zeros(()), positive(2, 1, 6))
    make = equalizer(uplink(streams, 4, 46, **GRID))
    _, found = run(make, "single", inputs)
    choose("off")
    _, right = run(make, "double", inputs)
    assert off(found, right) < 1e-3
