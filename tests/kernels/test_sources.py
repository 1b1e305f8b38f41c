"""Every source of filters in lanes: precoders and combiners beside those in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.blocks import (
    MaxMinPrecoder,
    SLNRPrecoder,
    SVDBeamformer,
    SVDCombiner,
    WMMSEPrecoder,
    ZFPrecoder,
)
from neumatc_mimo.kernels.lanes import library
from tests.kernels.comparison import (
    DTYPES,
    VARIANTS,
    Choice,
    Spy,
    both,
    downlink,
    needs_library,
    normal,
)

# Of norms; rounding of single precision that an iteration, or close singular values, amplify.
BOUNDS = {"single": 3e-4, "double": 1e-9}
PRECODERS = [WMMSEPrecoder, MaxMinPrecoder, SLNRPrecoder]
SIZES = [(1, 4), (2, 9), (3, 16), (5, 5), (8, 20), (16, 17)]


def off(before: tuple[Tensor, ...], after: tuple[Tensor, ...]) -> list[float]:
    """Distances over norms."""
    return [
        float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b))
        for a, b in zip(before, after, strict=True)
    ]


def link(num_streams: int, symbols: int, subcarriers: int, **grid: Any) -> Any:
    """The grid and the streams of one user."""
    return (
        ResourceGrid(symbols, subcarriers, 30e3, num_streams_per_tx=num_streams, **grid),
        StreamManagement(np.ones([1, 1]), num_streams),
    )


@needs_library
@pytest.mark.parametrize("block", PRECODERS)
@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize(("users", "antennas"), SIZES)
def test_precoders(
    block: Any, precision: str, users: int, antennas: int, choose: Choice, spy: Spy
) -> None:
    h = normal(2, users, 1, 1, antennas, 1, 43, dtype=DTYPES["double"])
    h = h.expand(-1, -1, -1, -1, -1, 3, -1)
    x = normal(2, 1, users, 3, 43, dtype=DTYPES["double"], seed=1)
    for no in (0.01, 1.0, 100.0):
        choose("off")
        right = block(*downlink(users, 3, 43), nm.Exact(), precision="double")(x, h, no)
        choose("")
        before = spy.calls
        inputs = (t.to(DTYPES[precision]) for t in (x, h))
        found = block(*downlink(users, 3, 43), nm.Exact(), precision=precision)(*inputs, no)
        assert spy.calls == before + 1
        assert off((found,), (right,))[0] < BOUNDS[precision]


@needs_library
@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize(("rows", "antennas"), SIZES)
def test_singular_vectors(
    precision: str, rows: int, antennas: int, choose: Choice, spy: Spy
) -> None:
    """Beams carry the strongest singular values in their order; what they send arrives."""
    num = (rows + 1) // 2
    grid = link(num, 3, 43, num_guard_carriers=(2, 3), dc_null=True)
    h = normal(2, 1, rows, 1, antennas, 1, 43, dtype=DTYPES["double"])
    h = h.expand(-1, -1, -1, -1, -1, 3, -1)
    x = normal(2, 1, num, 3, 43, dtype=DTYPES["double"], seed=1)
    no = torch.rand(2, 1, rows, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def run(precision: str) -> tuple[Tensor, ...]:
        to = DTYPES[precision]
        own_x, own_h = x.to(to), h.to(to)
        sent = SVDBeamformer(*grid, nm.Exact(), precision=precision)(own_x, own_h)
        y = torch.einsum("brmtnsf,btnsf->brmsf", own_h, sent)
        combiner = SVDCombiner(*grid, nm.Exact(), precision=precision)
        x_hat, no_eff = combiner(y, own_h, no.to(to.to_real()))
        assert combiner.stats.exact == 2 * int(grid[0].num_effective_subcarriers)
        return sent, x_hat, no_eff

    choose("off")
    right = run("double")
    choose("")
    before = spy.calls
    found = run(precision)
    assert spy.calls == before + 2
    assert max(off(found, right)) < BOUNDS[precision]


@needs_library
@pytest.mark.parametrize("block", [ZFPrecoder, *PRECODERS, SVDBeamformer])
@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("rows", [1, 3, 8, 13])
def test_effective_channels(
    block: Any, precision: str, rows: int, choose: Choice, spy: Spy
) -> None:
    single, to = block is SVDBeamformer, DTYPES[precision]
    num = (rows + 1) // 2 if single else rows
    grid = link(num, 3, 43, dc_null=True) if single else downlink(rows, 3, 43, dc_null=True)
    h = normal(2, rows, 1, 1, 18, 2, 43, dtype=to)[..., [0, 1, 0], :]
    if not single and rows > 1:
        # What a kernel leaves.
        h[1, 1, ..., :, 7] = h[1, 0, ..., :, 7] + 1e-3 * h[1, 1, ..., :, 7]
    h = h.permute(0, 2, 1, 3, 4, 5, 6) if single else h
    x = normal(2, 1, num, 3, 43, dtype=to, seed=1)
    others = () if single or block is ZFPrecoder else (1e-3,)
    make = lambda: block(*grid, nm.Exact(), True, precision=precision)  # noqa: E731
    (sent, h_eff), right, counts, theirs = both(choose, make, x, h, *others)
    assert spy.calls == 2 and counts == theirs
    assert h_eff.shape == right[1].shape
    bound = BOUNDS[precision] * (10 if block is ZFPrecoder else 1)
    assert max(off((sent, h_eff), right)) < bound


@needs_library
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("block", PRECODERS)
def test_variants(variant: str, block: Any, choose: Choice) -> None:
    choose(variant)
    if library.loaded() is None:
        pytest.skip(str(library.why_not()))
    for users in (4, 7, 8):
        h = normal(1, users, 1, 1, 16, 1, 21, dtype=torch.complex64).expand(
            -1, -1, -1, -1, -1, 2, -1
        )
        x = normal(1, 1, users, 2, 21, dtype=torch.complex64, seed=1)
        found = block(*downlink(users, 2, 21), nm.Exact())(x, h, 0.1)
        choose("off")
        right = block(*downlink(users, 2, 21), nm.Exact())(x, h, 0.1)
        choose(variant)
        assert off((found,), (right,))[0] < BOUNDS["single"]


@needs_library
@pytest.mark.parametrize("gain", [1e-15, 1.0, 1e15])
@pytest.mark.parametrize("block", PRECODERS)
def test_channels_of_any_gain(block: Any, gain: float, spy: Spy) -> None:
    h = normal(1, 4, 1, 1, 16, 1, 21, dtype=torch.complex128).expand(-1, -1, -1, -1, -1, 2, -1)
    x = normal(1, 1, 4, 2, 21, dtype=torch.complex64, seed=1)
    right = block(*downlink(4, 2, 21), nm.Exact(), precision="double")(x.to(h.dtype), h, 0.1)
    no = torch.tensor([0.1 * gain * gain])
    found = block(*downlink(4, 2, 21), nm.Exact())(x, (gain * h).to(torch.complex64), no)
    assert off((found,), (right,))[0] < BOUNDS["single"] and spy.calls == 2


@needs_library
def test_what_rounding_spoils_is_computed_again(choose: Choice, spy: Spy) -> None:
    """Users in the same place on some subcarriers; a user's channel of less than full rank."""
    h = normal(2, 3, 1, 1, 6, 1, 40, dtype=torch.complex64)
    h[0, 1, ..., 5:8] = h[0, 0, ..., 5:8] + 1e-4 * h[0, 1, ..., 5:8]
    h[1, 2, ..., 39] = h[1, 0, ..., 39]
    h = h.expand(-1, -1, -1, -1, -1, 4, -1)
    x = normal(2, 1, 3, 4, 40, dtype=torch.complex64)
    for block in PRECODERS:
        make = lambda block=block: block(*downlink(3, 4, 40), nm.Exact())  # noqa: E731
        ours, theirs, counts, right = both(choose, make, x, h, 1e-7)
        assert counts.refined == right.refined == 4
        # Of users in the very same place any may be served.
        assert off((ours[0][:1],), (theirs[0][:1],))[0] < 1e-4
    y = normal(2, 1, 3, 4, 40, dtype=torch.complex64)
    one_user = h.permute(0, 2, 1, 3, 4, 5, 6)
    for make, inputs in (
        (lambda: SVDBeamformer(*link(3, 4, 40), nm.Exact()), (x, one_user)),
        (lambda: SVDCombiner(*link(3, 4, 40), nm.Exact()), (y, one_user, 0.1)),
    ):
        ours, theirs, counts, right = both(choose, make, *inputs)
        assert counts.refined == right.refined == 4
        # The weakest vectors of a singular matrix are any.
        ours, theirs = (tuple(t[:1] for t in outputs) for outputs in (ours, theirs))
        assert max(off(ours, theirs)) < 1e-3
    assert spy.calls == 5


@needs_library
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("block", [*PRECODERS, SVDBeamformer])
def test_entries_that_are_not_finite_are_refused(block: Any, bad: float, spy: Spy) -> None:
    h = normal(1, 3, 1, 1, 64, 1, 640, dtype=torch.complex64)
    h[0, 1, 0, 0, 13, 0, 333] = bad
    h, x = h.expand(-1, -1, -1, -1, -1, 4, -1), normal(1, 1, 3, 4, 640, dtype=torch.complex64)
    single = block is SVDBeamformer
    grid = link(3, 4, 640) if single else downlink(3, 4, 640)
    inputs = (x, h.permute(0, 2, 1, 3, 4, 5, 6)) if single else (x, h, 0.1)
    with pytest.raises(ValueError, match="The channel has NaN or infinite entries"):
        block(*grid, nm.Exact())(*inputs)
    assert spy.calls == 1


@needs_library
def test_what_kernels_leave(choose: Choice, spy: Spy) -> None:
    """Streams with powers of their own, many rotations: PyTorch's."""
    h = normal(1, 1, 4, 1, 8, 1, 20, dtype=torch.complex64).expand(-1, -1, -1, -1, -1, 2, -1)
    x = normal(1, 1, 2, 2, 20, dtype=torch.complex64)
    SVDBeamformer(*link(2, 2, 20), nm.Exact(), power="waterfilling")(x, h, no=0.1)
    wide = normal(1, 1, 17, 1, 20, 1, 20, dtype=torch.complex64).expand(-1, -1, -1, -1, -1, 2, -1)
    SVDBeamformer(*link(2, 2, 20), nm.Exact())(x, wide)
    assert spy.calls == 0


@needs_library
def test_one_channel_for_all_items(choose: Choice, spy: Spy) -> None:
    h = normal(1, 1, 4, 1, 8, 1, 40, dtype=torch.complex64).expand(-1, -1, -1, -1, -1, 3, -1)
    x = normal(5, 1, 2, 3, 40, dtype=torch.complex64)
    y = normal(5, 1, 4, 3, 40, dtype=torch.complex64)
    for make, inputs in (
        (lambda: SVDBeamformer(*link(2, 3, 40), nm.Exact()), (x, h)),
        (lambda: SVDCombiner(*link(2, 3, 40), nm.Exact()), (y, h, 0.1)),
    ):
        ours, theirs, counts, right = both(choose, make, *inputs)
        assert max(off(ours, theirs)) < BOUNDS["single"] and counts == right
    assert spy.calls == 2
