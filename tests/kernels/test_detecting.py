"""MMSEDetector, whose kernel demaps estimates in the cache, against PyTorch's way and Sionna."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LinearDetector, PilotPattern, ResourceGrid
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.blocks import MMSEDetector
from neumatc_mimo.kernels.lanes import emitters, library, operators
from tests.kernels.comparison import (
    DTYPES,
    VARIANTS,
    Choice,
    Spy,
    both,
    needs_library,
    normal,
    uplink,
)

pytestmark = needs_library
SYMBOLS, FFT_SIZE = 4, 150
GUARDED = {"num_guard_carriers": (3, 2), "dc_null": True}


def scattered(num_tx: int, streams: int, num_subcarriers: int) -> PilotPattern:
    """Pilots in other places of each stream: some here and there, all of an OFDM symbol, none of
    another.
    """
    generator = torch.Generator().manual_seed(0)
    draws = torch.rand(num_tx, streams, SYMBOLS, num_subcarriers, generator=generator)
    draws[:, :, 1] = 0
    draws[:, :, 3] = 1
    mask = torch.zeros(num_tx, streams, SYMBOLS * num_subcarriers, dtype=torch.bool)
    num = 2 * num_subcarriers - 7
    mask.scatter_(-1, draws.flatten(2).argsort(-1)[..., :num], True)
    mask = mask.unflatten(-1, (SYMBOLS, num_subcarriers))
    return PilotPattern(mask, torch.ones(num_tx, streams, num, dtype=torch.complex64))


def inputs(
    shape: tuple[int, ...], num_subcarriers: int, batch_size: int = 2, dtype: Any = torch.complex64
) -> tuple[Tensor, Tensor, float, float]:
    """y, h of one OFDM symbol at all, and noise.

    :param shape: num_rx, num_rx_ant, num_tx, num_streams
    """
    y = normal(batch_size, *shape[:2], SYMBOLS, FFT_SIZE, dtype=dtype)
    h = normal(batch_size, *shape, 1, num_subcarriers, dtype=dtype, seed=1)
    return y, h.expand(-1, -1, -1, -1, -1, SYMBOLS, -1), 0.0, 0.1


def agree(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...], tolerance: float = 1e-4) -> None:
    """The same ratios, to rounding of the largest."""
    (own,), (other,) = ours, theirs
    assert own.shape == other.shape and own.dtype == other.dtype
    assert float((own - other).abs().max() / other.abs().max()) < tolerance


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("method", ["app", "maxlog"])
@pytest.mark.parametrize("pilots", ["none", "kronecker", "scattered"])
def test_equals_sionna(choose: Choice, spy: Spy, pilots: str, method: Any, precision: str) -> None:
    choose("")
    num = FFT_SIZE - 6
    settings: dict[str, Any] = {"none": {}, "kronecker": {"pilot_pattern": "kronecker"}}.get(
        pilots, {"pilot_pattern": scattered(3, 1, num)}
    )
    if pilots == "kronecker":
        settings["pilot_ofdm_symbol_indices"] = [1]
    rg, sm = uplink(3, SYMBOLS, FFT_SIZE, **GUARDED, **settings)
    given = inputs((1, 5, 3, 1), num, dtype=DTYPES[precision])
    for bits in (2, 4, 6):
        arguments: Any = ("bit", method, rg, sm)
        ours = MMSEDetector(*arguments, nm.Exact(), "qam", bits, precision=precision)
        theirs = LinearDetector("lmmse", *arguments, "qam", bits, precision="double")
        wide = tuple(v.to(torch.complex128) if isinstance(v, Tensor) else v for v in given)
        expected = theirs(*wide)
        agree((ours(*given).double(),), (expected,), {"single": 1e-4, "double": 1e-11}[precision])
    assert spy.calls == 3


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("rows", [2, 5, 8])
def test_variants_and_numbers_of_users(choose: Choice, spy: Spy, rows: int, variant: str) -> None:
    settings: dict[str, Any] = {"pilot_pattern": scattered(rows, 1, FFT_SIZE)}
    grids = uplink(rows, SYMBOLS, FFT_SIZE, **settings)
    found = []
    for choice in (variant, "off"):
        choose(choice)
        if choice == variant and library.loaded() is None:
            pytest.skip(str(library.why_not()))
        block = MMSEDetector("bit", "app", *grids, nm.Exact(), "qam", 4)
        found.append((block(*inputs((1, 9, rows, 1), FFT_SIZE)),))
    agree(*found)
    assert spy.calls == 1


@pytest.mark.parametrize("hard_out", [False, True])
@pytest.mark.parametrize("kind", ["one channel for all", "every symbol", "one symbol", "items"])
def test_batches_and_times(choose: Choice, spy: Spy, kind: str, hard_out: bool) -> None:
    grids = uplink(3, SYMBOLS, FFT_SIZE, pilot_pattern=scattered(3, 1, FFT_SIZE))
    y, h, err_var, no = inputs((1, 5, 3, 1), FFT_SIZE, batch_size=3)
    if kind == "one channel for all":
        h = h[:1]
    elif kind != "items":
        h = h.clone()
        changed = slice(None) if kind == "every symbol" else slice(2, 3)
        h[..., changed, :] += 0.3 * normal(*h[..., changed, :].shape, dtype=h.dtype, seed=2)
    ours, theirs, counts, right = both(
        choose,
        lambda: MMSEDetector("bit", "maxlog", *grids, nm.Exact(), "qam", 4, hard_out=hard_out),
        y,
        h,
        err_var,
        no,
    )
    if hard_out:
        assert float((ours[0] != theirs[0]).double().mean()) < 1e-3
    else:
        agree(ours, theirs)
    assert counts == right
    assert spy.calls == {"every symbol": 4, "one symbol": 2}.get(kind, 1)


def cells() -> tuple[ResourceGrid, StreamManagement]:
    """Three receivers, each of whose transmitters is another one, with two streams each."""
    association = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    pattern = scattered(3, 2, FFT_SIZE)
    grid = ResourceGrid(
        SYMBOLS, FFT_SIZE, 30e3, num_tx=3, num_streams_per_tx=2, pilot_pattern=pattern
    )
    return grid, StreamManagement(association, 2)


@pytest.mark.parametrize("left", [(), (0,), (1, 2), (0, 1, 2)])
def test_receivers_that_kernels_leave(
    choose: Choice, spy: Spy, monkeypatch: pytest.MonkeyPatch, left: Iterable[int]
) -> None:
    turns = itertools.cycle(range(3))
    covers = emitters.Received.covers
    monkeypatch.setattr(
        emitters.Received, "covers", lambda *given: next(turns) not in left and covers(*given)
    )
    grids = cells()
    ours, theirs, counts, right = both(
        choose,
        lambda: MMSEDetector("bit", "app", *grids, nm.Exact(), "qam", 4),
        *inputs((3, 7, 3, 2), FFT_SIZE),
    )
    agree(ours, theirs)
    assert counts == right and spy.calls == 3 - len(tuple(left))


@pytest.mark.parametrize("items", [1, 2])
def test_what_rounding_spoils_is_computed_again(choose: Choice, spy: Spy, items: int) -> None:
    y, h, err_var, _ = inputs((1, 5, 3, 1), FFT_SIZE)
    h = h[:items].clone()
    h[0, ..., 1, :, :, 5:8] = h[0, ..., 0, :, :, 5:8] + 1e-4 * h[0, ..., 1, :, :, 5:8]
    h[-1, ..., 2, :, :, 149] = h[-1, ..., 0, :, :, 149] + 1e-4 * h[-1, ..., 2, :, :, 149]
    h = h[..., :1, :].expand(h.shape)
    grids = uplink(3, SYMBOLS, FFT_SIZE, pilot_pattern=scattered(3, 1, FFT_SIZE))
    ours, _, counts, right = both(
        choose,
        lambda: MMSEDetector("bit", "maxlog", *grids, nm.Exact(), "qam", 4),
        y,
        h,
        err_var,
        1e-9,
    )
    assert counts.refined == right.refined == 4 and spy.calls == 1
    # Estimates of some 1e4 behind noise of another size at each subcarrier: each by its own.
    wide = MMSEDetector("bit", "maxlog", *grids, nm.Exact(), "qam", 4, precision="double")
    exact = wide(y.to(torch.complex128), h.to(torch.complex128), err_var, 1e-9)
    error = (ours[0] - exact).abs() / (exact.abs() + exact.abs().median())
    assert float(error.max()) < 1e-2


@pytest.mark.parametrize("kind", ["noise of antennas", "more streams than antennas"])
def test_any_noise_and_interference(choose: Choice, spy: Spy, kind: str) -> None:
    grids = uplink(3, SYMBOLS, FFT_SIZE, pilot_pattern=scattered(3, 1, FFT_SIZE))
    y, h, err_var, no = inputs((1, 5 if kind == "noise of antennas" else 2, 3, 1), FFT_SIZE)
    generator = torch.Generator().manual_seed(4)
    power = 0.1 + torch.rand(2, 1, 5, generator=generator) if y.shape[2] == 5 else no
    ours, theirs, counts, right = both(
        choose,
        lambda: MMSEDetector("bit", "app", *grids, nm.Exact(), "qam", 4),
        y,
        h,
        err_var,
        power,
    )
    agree(ours, theirs)
    assert counts == right and spy.calls == 1


def test_what_kernels_do_not_demap(choose: Choice, monkeypatch: pytest.MonkeyPatch) -> None:
    choose("")
    calls: list[str] = []
    for name in ("receive", "detect"):
        kernel = getattr(operators, name)
        noted = lambda *given, name=name, kernel=kernel: calls.append(name) or kernel(*given)  # noqa: E731
        monkeypatch.setattr(operators, name, noted)
    grids = uplink(3, SYMBOLS, FFT_SIZE)
    y, h, err_var, no = inputs((1, 5, 3, 1), FFT_SIZE)
    block = MMSEDetector("bit", "app", *grids, nm.Exact(), "qam", 4)
    block(y.clone().requires_grad_(), h, err_var, no).sum().backward()
    MMSEDetector("bit", "app", *grids, nm.Exact(), "pam", 2)(y, h, err_var, no)
    # Both are equalized in lanes, and demapped with PyTorch.
    assert calls == ["receive", "receive"]
    block(y, h, err_var, no)
    assert calls == ["receive", "receive", "detect"]
