"""Blocks with channels of any gain, any noise and users far apart, against double precision.

Single precision may err ten times as far as Sionna's own blocks do in single precision.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import (
    LinearDetector,
    LMMSEEqualizer,
    ResourceGrid,
    RZFPrecodedChannel,
    RZFPrecoder,
)
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.blocks import (
    BDPrecoder,
    MaxMinPrecoder,
    MMSEDetector,
    MMSEEqualizer,
    SLNRPrecoder,
    SVDBeamformer,
    SVDCombiner,
    WMMSEPrecoder,
    ZFPrecodedChannel,
    ZFPrecoder,
)
from tests import scales
from tests.scales import ANTENNAS, FLOOR, SUBCARRIERS, SYMBOLS, TIMES, USERS

UP = ResourceGrid(SYMBOLS, SUBCARRIERS, 30e3, num_tx=USERS)
UP_STREAMS = StreamManagement(np.ones([1, USERS]), 1)
DOWN = ResourceGrid(SYMBOLS, SUBCARRIERS, 30e3, num_streams_per_tx=USERS)
DOWN_STREAMS = StreamManagement(np.ones([USERS, 1]), USERS)
PAIR_STREAMS = StreamManagement(np.ones([USERS // 2, 1]), USERS)
ONE = ResourceGrid(SYMBOLS, SUBCARRIERS, 30e3, num_streams_per_tx=2)
ONE_STREAMS = StreamManagement(np.ones([1, 1]), 2)
EXACT = nm.Exact()


class Case(scales.Case):
    """The same as tensors."""

    def channel(self) -> Tensor:
        """[1, USERS, 1, 1, ANTENNAS, SYMBOLS, SUBCARRIERS], a view of one symbol."""
        h = torch.from_numpy(super().channel())
        return h[..., :1, :].expand_as(h)

    def symbols(self) -> Tensor:
        return torch.from_numpy(super().symbols())

    def received(self) -> Tensor:
        return torch.from_numpy(super().received())


def cases(*, noisy: bool = False, silent: bool = True) -> st.SearchStrategy[Case]:
    """All kinds of cases.

    :param noisy: with some noise in any case
    :param silent: with a user whose channel is zero, now and then
    """
    noise = st.floats(-12, 6).map(lambda exponent: 10.0**exponent)
    nobody = st.none()
    return st.builds(
        Case,
        seed=st.integers(0, 2**16),
        scale=st.floats(-12, 12).map(lambda exponent: 10.0**exponent),
        levels=st.lists(st.floats(0, 120), min_size=USERS, max_size=USERS).map(
            lambda levels: tuple(level - min(levels) for level in levels)
        ),
        silent=nobody | st.integers(0, USERS - 1) if silent else nobody,
        no=noise if noisy else st.just(0.0) | noise,
    )


def wide(*inputs: Any) -> list[Any]:
    """Inputs in double precision."""
    double = {torch.complex64: torch.complex128, torch.float32: torch.float64}
    return [x.to(double[x.dtype]) if isinstance(x, Tensor) else x for x in inputs]


def check(ours: Tensor, theirs: Tensor, right: Tensor, dims: tuple[int, ...]) -> None:
    """Bound the error of ours by that of theirs, both over norms along ``dims``."""
    size = torch.linalg.vector_norm(right, dim=dims).clamp_min(torch.finfo(torch.float64).tiny)
    mine, other = (torch.linalg.vector_norm(x - right, dim=dims) / size for x in (ours, theirs))
    bound = TIMES * other.nan_to_num(torch.inf) + FLOOR
    assert bool((mine <= bound).all()), (mine.flatten(), bound.flatten())


def both(ours: Callable[..., Any], theirs: Callable[..., Any], *inputs: Any) -> Iterator[Any]:
    """Outputs of ours in single precision, of theirs in single and in double precision."""
    yield ours(*inputs)
    yield theirs("single")(*inputs)
    yield theirs("double")(*wide(*inputs))


WEAK = Case(1, 1.0, (0.0, 0.0, 80.0, 0.0), None, 1.0)
STRONG_NOISE = Case(3, 1e12, (0.0, 120.0, 60.0, 0.0), None, 1e6)
PATH_LOSS = Case(2, 1e-5, (0.0, 0.0, 0.0, 0.0), None, 1e9)


@given(case=cases(noisy=True))
@example(case=WEAK)
@example(case=PATH_LOSS)
@example(case=STRONG_NOISE)
def test_regularised_precoders_are_sionnas(case: Case) -> None:
    def theirs(precision: str) -> RZFPrecoder:
        return RZFPrecoder(DOWN, DOWN_STREAMS, True, precision=precision)

    block = ZFPrecoder(DOWN, DOWN_STREAMS, EXACT, True)
    outputs = both(block, theirs, case.symbols(), case.channel(), case.noise)
    for ours, single, right in zip(*outputs, strict=True):
        check(ours, single, right, tuple(range(right.dim())))


@given(case=cases(noisy=True))
@example(case=WEAK)
@example(case=PATH_LOSS)
@example(case=STRONG_NOISE)
def test_effective_channels_are_sionnas(case: Case) -> None:
    def theirs(precision: str) -> Callable[..., Tensor]:
        block = RZFPrecodedChannel(DOWN, DOWN_STREAMS, precision=precision)
        return lambda h, power, alpha: block(h, power, alpha=torch.tensor(alpha))

    block = ZFPrecodedChannel(DOWN, DOWN_STREAMS, EXACT)
    power = torch.ones(1, 1, USERS)
    ours, single, right = both(
        lambda h, power, alpha: block(h, power, alpha=alpha),
        theirs,
        case.channel(),
        power,
        case.noise,
    )
    # Each user on its own: what the weakest receives counts like what the strongest does.
    check(ours, single, right, (0, 2, 3, 4, 5, 6))


@given(case=cases(noisy=False, silent=False))
def test_zero_forcing_is_sionnas(case: Case) -> None:
    def theirs(precision: str) -> RZFPrecoder:
        return RZFPrecoder(DOWN, DOWN_STREAMS, precision=precision)

    block = ZFPrecoder(DOWN, DOWN_STREAMS, EXACT)
    ours, single, right = both(block, theirs, case.symbols(), case.channel())
    check(ours, single, right, tuple(range(right.dim())))


@given(case=cases(noisy=True))
@example(case=WEAK)
@example(case=PATH_LOSS)
@example(case=STRONG_NOISE)
def test_equalized_symbols_are_sionnas(case: Case) -> None:
    def theirs(precision: str) -> LMMSEEqualizer:
        return LMMSEEqualizer(UP, UP_STREAMS, precision=precision)

    h, heard = case.channel().permute(0, 3, 4, 1, 2, 5, 6), case.heard()
    block = MMSEEqualizer(UP, UP_STREAMS, EXACT)
    outputs = both(block, theirs, case.received(), h, 0.0, case.noise)
    for ours, single, right in zip(*outputs, strict=True):
        # Stream by stream, those that arrive.
        check(ours[:, heard], single[:, heard], right[:, heard], (0, 2, 3))
    x_hat, no_eff = block(case.received(), h, 0.0, case.noise)
    if case.silent is not None:
        assert bool((x_hat[:, case.silent] == 0).all())
        assert bool((no_eff[:, case.silent] == torch.inf).all())


@given(case=cases(noisy=True))
@example(case=WEAK)
@example(case=PATH_LOSS)
@example(case=STRONG_NOISE)
def test_detected_bits_are_sionnas(case: Case) -> None:
    settings = ("qam", 2)

    def theirs(precision: str) -> LinearDetector:
        return LinearDetector(
            "lmmse", "bit", "maxlog", UP, UP_STREAMS, *settings, precision=precision
        )

    h, heard = case.channel().permute(0, 3, 4, 1, 2, 5, 6), case.heard()
    block = MMSEDetector("bit", "maxlog", UP, UP_STREAMS, EXACT, *settings)
    ours, single, right = both(block, theirs, case.received(), h, 0.0, case.noise)
    check(ours[:, heard], single[:, heard], right[:, heard], (0, 2, 3))
    assert bool(ours.isfinite().all())


@pytest.mark.parametrize("kind", [WMMSEPrecoder, MaxMinPrecoder, SLNRPrecoder])
@given(
    exponent=st.floats(-12, 12),
    seed=st.integers(0, 2**16),
    no=st.floats(-3, 6).map(lambda exponent: 10.0**exponent),
)
def test_precoders_know_no_unit(kind: Any, exponent: float, seed: int, no: float) -> None:
    """Channel and noise in another unit: the same precoder."""
    at_one = Case(seed, 1.0, (0.0,) * USERS, None, no)
    other = Case(seed, 10.0**exponent, (0.0,) * USERS, None, no)
    block = kind(DOWN, DOWN_STREAMS, EXACT)
    right = kind(DOWN, DOWN_STREAMS, EXACT, precision="double")
    wanted = right(*wide(at_one.symbols(), at_one.channel()), at_one.noise)
    own = block(at_one.symbols(), at_one.channel(), at_one.noise)
    found = block(other.symbols(), other.channel(), other.noise)
    check(found, own, wanted, tuple(range(wanted.dim())))


@given(case=cases(silent=False))
def test_users_of_two_antennas_are_served_at_any_gain(case: Case) -> None:
    h = case.channel().reshape(1, USERS // 2, 2, 1, ANTENNAS, SYMBOLS, SUBCARRIERS)
    # A user's antennas are near each other.
    gains = torch.from_numpy(case.gains).reshape(-1, 2)
    h = h * (gains[:, :1] / gains)[None, :, :, None, None, None, None].to(h.dtype)
    x = case.symbols()
    ours = BDPrecoder(DOWN, PAIR_STREAMS, EXACT)(x, h)
    right = BDPrecoder(DOWN, PAIR_STREAMS, EXACT, precision="double")(*wide(x, h))
    error = torch.linalg.vector_norm(ours - right) / torch.linalg.vector_norm(right)
    assert float(error) < 1e-3


@given(exponent=st.floats(-12, 12), seed=st.integers(0, 2**16))
def test_beams_are_those_of_a_channel_of_any_gain(exponent: float, seed: int) -> None:
    case = Case(seed, 10.0**exponent, (0.0,) * USERS, None, 0.1)
    h = case.channel().permute(0, 2, 1, 3, 4, 5, 6)
    x, y = case.symbols()[:, :, :2], case.symbols() * case.scale
    beams, right = (
        SVDBeamformer(ONE, ONE_STREAMS, EXACT, precision=precision)
        for precision in ("single", "double")
    )
    wanted = right(*wide(x, h))
    error = torch.linalg.vector_norm(beams(x, h) - wanted) / torch.linalg.vector_norm(wanted)
    assert float(error) < 1e-3
    combiner, other = (
        SVDCombiner(ONE, ONE_STREAMS, EXACT, precision=precision)
        for precision in ("single", "double")
    )
    for ours, true in zip(combiner(y, h, case.noise), other(*wide(y, h), case.noise), strict=True):
        assert float(torch.linalg.vector_norm(ours - true) / torch.linalg.vector_norm(true)) < 1e-3


def test_a_user_without_a_channel_leaves_zero_forcing_to_the_others() -> None:
    case = Case(3, 1e-6, (0.0,) * USERS, 2, 0.0)
    others = StreamManagement(np.ones([USERS - 1, 1]), USERS - 1)
    grid = ResourceGrid(SYMBOLS, SUBCARRIERS, 30e3, num_streams_per_tx=USERS - 1)
    x, h, heard = case.symbols(), case.channel(), case.heard()
    right = RZFPrecoder(grid, others, precision="double")(*wide(x[:, :, heard], h[:, heard]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ZFPrecoder(DOWN, DOWN_STREAMS, EXACT)(x, h)
    torch.testing.assert_close(found, right.to(found.dtype), rtol=1e-4, atol=1e-5)
