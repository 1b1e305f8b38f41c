"""More streams than antennas, in lanes: as of PyTorch in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid

from tests.kernels.comparison import BOUNDS, DTYPES, Choice, Spy, needs_library, normal, uplink
from tests.kernels.test_whitening import GRID, equalizer, off, positive, run


@needs_library
@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize(("streams", "antennas"), [(2, 1), (3, 2), (8, 5), (13, 12), (20, 3)])
@pytest.mark.parametrize("coloured", [False, True])
def test_more_streams_than_antennas(
    streams: int, antennas: int, coloured: bool, precision: str, choose: Choice, spy: Spy
) -> None:
    shape = (2, 1, antennas, streams, 1, 1, 40)
    h = normal(*shape, dtype=torch.complex128).expand(-1, -1, -1, -1, -1, 4, -1)
    y = normal(2, 1, antennas, 4, 46, dtype=torch.complex128, seed=1)
    no = positive(2, 1, antennas) if coloured else torch.tensor(0.3)
    inputs = (y, h, torch.tensor(0.02), no)
    make = equalizer(uplink(streams, 4, 46, **GRID))
    choose("off")
    _, right = run(make, "double", inputs)
    choose("")
    block, found = run(make, precision, inputs)
    assert spy.calls == 1 and block.stats.refined == 0
    assert off(found, right) < 50 * BOUNDS[precision]


@needs_library
def test_interference_fills_all_dimensions(choose: Choice, spy: Spy) -> None:
    """Two receivers of three antennas, each with two streams that it wants and three others."""
    association = np.array([[1, 0, 1, 0], [0, 1, 0, 1]])
    grid = ResourceGrid(2, 20, 30e3, num_tx=4, num_streams_per_tx=1)
    h = normal(2, 2, 3, 4, 1, 1, 20, dtype=torch.complex64).expand(-1, -1, -1, -1, -1, 2, -1)
    y = normal(2, 2, 3, 2, 20, dtype=torch.complex64, seed=1)
    inputs = (y, h, torch.zeros(()), torch.tensor(0.1))
    make = equalizer((grid, StreamManagement(association, 1)))
    choose("off")
    _, right = run(make, "double", inputs)
    choose("")
    _, found = run(make, "single", inputs)
    assert spy.calls == 2 and off(found, right) < 1e-3


@needs_library
@given(
    seed=st.integers(0, 999),
    gains=st.lists(st.floats(-6, 6), min_size=4, max_size=4),
    scale=st.sampled_from([1e-12, 1.0, 1e12]),
    no=st.floats(-9, 3),
)
def test_any_gain_and_any_noise(seed: int, gains: list[float], scale: float, no: float) -> None:
    """Strong streams, whose loss is a small difference, and such as are far below the others."""
    h = normal(1, 1, 3, 4, 1, 1, 20, dtype=torch.complex128, seed=seed)
    h = scale * 10.0 ** torch.tensor(gains, dtype=torch.float64).view(4, 1, 1, 1) * h
    h = h.to(torch.complex64).expand(-1, -1, -1, -1, -1, 2, -1)
    y = scale * normal(1, 1, 3, 2, 20, dtype=torch.complex64, seed=seed + 1)
    inputs = (y, h, torch.zeros(()), torch.tensor(scale**2 * 10.0**no))
    make = equalizer(uplink(4, 2, 20))
    with pytest.MonkeyPatch.context() as patch:
        choose = Choice(patch)
        choose("off")
        _, right = run(make, "double", inputs)
        choose("")
        _, found = run(make, "single", inputs)
    assert off(found, right) < 3e-3


@needs_library
def test_nothing_is_known_of_a_stream_that_does_not_arrive(choose: Choice, spy: Spy) -> None:
    h = normal(2, 1, 2, 3, 1, 1, 40, dtype=torch.complex64)
    h[:, :, :, 1] = 0
    h = h.expand(-1, -1, -1, -1, -1, 4, -1)
    y = normal(2, 1, 2, 4, 46, dtype=torch.complex64, seed=1)
    inputs = (y, h, torch.zeros(()), torch.tensor(0.1))
    choose("")
    _, (x_hat, no_eff) = run(equalizer(uplink(3, 4, 46, **GRID)), "single", inputs)
    assert spy.calls == 1
    assert bool((x_hat[:, 1] == 0).all()) and bool((no_eff[:, 1] == torch.inf).all())
    assert bool(x_hat.isfinite().all()) and bool(no_eff[:, ::2].isfinite().all())
