"""Users of several antennas in lanes: block diagonalisation and largest SLNR."""

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
from neumatc_mimo.blocks import BDPrecoder, SLNRPrecoder
from neumatc_mimo.kernels.lanes import library
from tests.kernels.comparison import DTYPES, VARIANTS, Choice, Spy, needs_library, normal

# Of the symbols on a subcarrier; rounding that streams of nearly the same strength amplify.
BOUNDS = {"single": 3e-3, "double": 1e-8}
SIZES = [(1, 2, 4), (2, 2, 5), (4, 2, 64), (2, 3, 6), (3, 4, 17), (2, 8, 16), (1, 16, 16)]


def grids(users: int, antennas: int, symbols: int, subcarriers: int) -> tuple[Any, ...]:
    num = users * antennas
    grid = ResourceGrid(symbols, subcarriers, 30e3, num_tx=1, num_streams_per_tx=num)
    return grid, StreamManagement(np.ones([users, 1]), num)


def inputs(users: int, antennas: int, columns: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Symbols and channels of two items on 43 subcarriers, double precision."""
    h = normal(2, users, antennas, 1, columns, 1, 43, dtype=torch.complex128, seed=seed)
    x = normal(2, 1, users * antennas, 3, 43, dtype=torch.complex128, seed=seed + 1)
    return x, h.expand(-1, -1, -1, -1, -1, 3, -1)


def error(found: Tensor, right: Tensor) -> Tensor:
    """Of the symbols on each subcarrier, relative."""
    dims = (1, 2, 3)
    distance = torch.linalg.vector_norm(found - right, dim=dims)
    return distance / torch.linalg.vector_norm(right, dim=dims)


def call(block: Any, precision: str, noise: tuple[float, ...], x: Tensor, h: Tensor) -> Any:
    pair = grids(h.shape[1], h.shape[2], x.shape[3], x.shape[4])
    made = block(*pair, nm.Exact(), True, precision=precision)
    to = DTYPES[precision]
    return *made(x.to(to), h.to(to), *noise), made.stats


CASES = [(BDPrecoder, ()), *((SLNRPrecoder, (no,)) for no in (1e-9, 0.1, 1e3))]


@needs_library
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("sizes", SIZES)
def test_precoders_of_users_are_those_of_double_precision(
    sizes: tuple[int, int, int], precision: str, case: Any, choose: Choice, spy: Spy
) -> None:
    x, h = inputs(*sizes)
    choose("off")
    right, h_eff, _ = call(case[0], "double", case[1], x, h)
    choose("")
    found, own_eff, stats = call(case[0], precision, case[1], x, h)
    assert spy.calls and stats.exact == 2 * 43
    assert float(error(found, right).max()) < BOUNDS[precision]
    size = torch.linalg.vector_norm(h_eff)
    assert float(torch.linalg.vector_norm(own_eff - h_eff) / size) < BOUNDS[precision]


def alike(spread: float, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Users whose second antenna hears what the first one does, but for so much."""
    h = h.clone()
    h[:, :, 1] = h[:, :, 0] + spread * h[:, :, 1]
    return x, h


@needs_library
@pytest.mark.parametrize("spread", [1e-1, 1e-3, 1e-5])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_antennas_that_hear_nearly_the_same_cost_no_digits(
    spread: float, case: Any, choose: Choice, spy: Spy
) -> None:
    """Single precision tells users apart, not the antennas of one: nothing is computed again."""
    x, h = alike(spread, *(t.to(torch.complex64) for t in inputs(4, 2, 32)))
    choose("off")
    right, _, _ = call(case[0], "double", case[1], x, h)
    choose("")
    found, _, stats = call(case[0], "single", case[1], x, h)
    assert spy.calls == 1 and stats.refined == 0
    assert float(error(found, right).max()) < BOUNDS["single"]


@needs_library
@given(
    seed=st.integers(0, 999),
    levels=st.lists(st.floats(-6, 6), min_size=4, max_size=4),
    scale=st.sampled_from([1e-12, 1.0, 1e12]),
    no=st.none() | st.floats(-12, 6),
)
def test_gains_of_users_and_antennas_are_free(
    seed: int, levels: list[float], scale: float, no: float | None
) -> None:
    """Far apart, far below the noise: as in double precision."""
    x, h = inputs(2, 2, 8, seed)
    gain = scale * 10.0 ** torch.tensor(levels, dtype=torch.float64).view(2, 2, 1, 1, 1, 1)
    h = (gain * h).to(torch.complex64)
    block = BDPrecoder if no is None else SLNRPrecoder
    noise = () if no is None else (10.0**no * scale**2,)
    with pytest.MonkeyPatch.context() as patch:
        choose = Choice(patch)
        choose("off")
        right, _, _ = call(block, "double", noise, x, h)
        choose("")
        found, _, _ = call(block, "single", noise, x, h)
    assert float(error(found, right).max()) < BOUNDS["single"]


@needs_library
def test_users_in_one_place_are_computed_again(choose: Choice, spy: Spy) -> None:
    x, h = (t.to(torch.complex64) for t in inputs(3, 2, 8))
    h = h.clone()
    h[0, 1, ..., 5:8] = h[0, 0, ..., 5:8] + 1e-4 * h[0, 1, ..., 5:8]
    h[1, 2, ..., 39] = h[1, 0, ..., 39] + 1e-4 * h[1, 2, ..., 39]
    for block, noise in ((BDPrecoder, ()), (SLNRPrecoder, (1e-9,))):
        choose("off")
        right, _, _ = call(block, "double", noise, x, h)
        choose("")
        found, _, stats = call(block, "single", noise, x, h)
        assert stats.refined == 4
        assert float(error(found, right).max()) < BOUNDS["single"]


@needs_library
@pytest.mark.parametrize("case", CASES[:2], ids=str)
def test_a_user_without_a_channel_gets_nothing_that_others_hear(
    case: Any, choose: Choice, spy: Spy
) -> None:
    x, h = (t.to(torch.complex64) for t in inputs(3, 2, 8))
    h = h.clone()
    h[:, 1] = 0
    choose("off")
    right, _, _ = call(case[0], "double", case[1], x, h)
    choose("")
    found, _, _ = call(case[0], "single", case[1], x, h)
    assert torch.equal(found.isfinite(), right.isfinite())
    own = found.isfinite()
    assert float((found - right)[own].abs().max()) < 1e-4 if bool(own.any()) else True


@needs_library
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("case", CASES[:2], ids=str)
def test_entries_that_are_not_finite_are_refused(case: Any, bad: float, spy: Spy) -> None:
    h = normal(1, 2, 2, 1, 64, 1, 640, dtype=torch.complex64)
    # Where no look at one antenna of each row finds it.
    h[0, 1, 0, 0, 13, 0, 333] = bad
    h, x = h.expand(-1, -1, -1, -1, -1, 3, -1), normal(1, 1, 4, 3, 640, dtype=torch.complex64)
    with pytest.raises(ValueError, match="The channel has NaN or infinite entries"):
        call(case[0], "single", case[1], x, h)
    assert spy.calls


@needs_library
@pytest.mark.parametrize("threads", [2, 5])
def test_any_number_of_threads_gives_the_same_bits(threads: int) -> None:
    x, h = inputs(4, 2, 9)
    before, found = torch.get_num_threads(), []
    try:
        for number in (1, threads):
            torch.set_num_threads(number)
            found.append(call(BDPrecoder, "single", (), x, h)[0])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


@needs_library
@pytest.mark.parametrize("variant", VARIANTS)
def test_variants(variant: str, choose: Choice) -> None:
    choose(variant)
    if library.loaded() is None:
        pytest.skip(str(library.why_not()))
    x, h = inputs(3, 2, 17)
    found = call(SLNRPrecoder, "single", (0.1,), x, h)[0]
    choose("off")
    right = call(SLNRPrecoder, "double", (0.1,), x, h)[0]
    assert float(error(found, right).max()) < BOUNDS["single"]
