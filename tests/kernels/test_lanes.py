"""Kernels of subcarriers in lanes do what PyTorch does, whatever the layout of what they get."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.blocks import MMSEEqualizer, ZFPrecoder
from neumatc_mimo.kernels.lanes import emitters, library
from neumatc_mimo.operations.pseudo_inverse import PseudoInverse
from neumatc_mimo.reporting.info import info
from tests.kernels.comparison import (
    DTYPES,
    VARIANTS,
    Choice,
    Spy,
    both,
    check,
    downlink,
    needs_library,
    normal,
    uplink,
)

SIZES = st.tuples(
    st.integers(1, 3),  # items
    st.integers(1, 20),  # users
    st.integers(0, 9),  # antennas beyond these
    st.integers(1, 17),  # symbols
    st.integers(1, 150),  # subcarriers
)


@needs_library
@pytest.mark.parametrize("precision", ["single", "double"])
@given(sizes=SIZES, alpha=st.sampled_from([0.0, 0.1, 30.0]), seed=st.integers(0, 999))
def test_precoding_is_that_of_pytorch(
    precision: str, sizes: tuple[int, ...], alpha: float, seed: int
) -> None:
    items, users, more, symbols, subcarriers = sizes
    dtype, grid = DTYPES[precision], downlink(users, symbols, subcarriers)
    shape = (items, users, 1, 1, users + 4 + more, 1, subcarriers)
    h = normal(*shape, dtype=dtype, seed=seed).expand(-1, -1, -1, -1, -1, symbols, -1)
    x = normal(items, 1, users, symbols, subcarriers, dtype=dtype, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        ours, theirs, counts, right = both(
            Choice(patch), lambda: ZFPrecoder(*grid, nm.Exact(), precision=precision), x, h, alpha
        )
    check(ours, theirs, precision)
    assert counts.exact == right.exact


@needs_library
@pytest.mark.parametrize("precision", ["single", "double"])
@given(sizes=SIZES, no=st.sampled_from([1e-3, 0.1, 300.0]), seed=st.integers(0, 999))
def test_receiving_is_that_of_pytorch(
    precision: str, sizes: tuple[int, ...], no: float, seed: int
) -> None:
    items, users, more, symbols, subcarriers = sizes
    dtype, grid = DTYPES[precision], uplink(users, symbols, subcarriers)
    shape = (items, 1, users + 4 + more, users, 1, 1, subcarriers)
    h = normal(*shape, dtype=dtype, seed=seed).expand(-1, -1, -1, -1, -1, symbols, -1)
    y = normal(items, 1, users + 4 + more, symbols, subcarriers, dtype=dtype, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        ours, theirs, counts, right = both(
            Choice(patch),
            lambda: MMSEEqualizer(*grid, nm.Exact(), precision=precision),
            y,
            h,
            0.0,
            no,
        )
    check(ours, theirs, precision)
    assert counts.exact == right.exact


@needs_library
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("precision", ["single", "double"])
@pytest.mark.parametrize("users", [2, 4, 7, 8, 16])
def test_every_variant_computes_the_same(
    variant: str, precision: str, users: int, monkeypatch: pytest.MonkeyPatch, choose: Choice
) -> None:
    choose(variant)
    if library.loaded() is None:
        pytest.skip(str(library.why_not()))
    dtype = DTYPES[precision]
    a = normal(2, 77, users, 19, dtype=dtype)
    x, out = normal(2, users, 5, 77, dtype=dtype), torch.empty(2, 19, 5, 77, dtype=dtype)
    no = torch.tensor([0.1, 2.0], dtype=dtype.to_real())
    amplification = emitters.Precoded(x, out, range(5)).emit(PseudoInverse(), a, no)
    filters = PseudoInverse().solve(a, no[:, None])
    wanted = filters.scaled(filters.column_norm.reciprocal()).dense @ x.permute(0, 3, 1, 2)
    check((out,), (wanted.permute(0, 2, 3, 1),), precision)
    own = (a.abs().square().sum(-1) + no[:, None, None]) * filters.x.diagonal(dim1=2, dim2=3).real
    buried = PseudoInverse()._solve(a, no[:, None]).amplification
    right = own if buried is None else torch.maximum(own, buried)
    torch.testing.assert_close(amplification, right.amax(-1), rtol=1e-3, atol=0)


def layouts(symbols: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """Channels [..., symbols, subcarriers] whose entries lie in memory in other ways."""
    return {
        "every symbol its own": lambda h: h,
        "one symbol repeated": lambda h: h[..., :1, :].expand(*h.shape[:-2], symbols, -1),
        "two groups in turn": lambda h: h[..., [0, 1] * (symbols // 2), :],
        "subcarriers first": lambda h: h.movedim(-1, 0).contiguous().movedim(0, -1),
        "every other subcarrier": lambda h: h.repeat_interleave(2, -1)[..., ::2],
        "conjugate": lambda h: h.conj().resolve_conj().conj(),
        "one subcarrier for all": lambda h: h[..., :1].expand_as(h),
        "antennas last": lambda h: h.movedim(4, -1).contiguous().movedim(-1, 4),
    }


@needs_library
@pytest.mark.parametrize("name", layouts(4))
def test_layouts(name: str, choose: Choice, spy: Spy) -> None:
    h = layouts(4)[name](normal(2, 3, 1, 1, 6, 4, 37, dtype=torch.complex64))
    x = normal(2, 1, 3, 4, 37, dtype=torch.complex64, seed=1)
    for symbols in (x, x.mT.contiguous().mT, x.conj()):
        ours, theirs, counts, right = both(
            choose, lambda: ZFPrecoder(*downlink(3, 4, 37), nm.Exact()), symbols, h, 0.01
        )
        check(ours, theirs, "single")
        assert counts == right
    up = h.permute(0, 3, 4, 1, 2, 5, 6)
    y = normal(2, 1, 6, 4, 37, dtype=torch.complex64, seed=2)
    ours, theirs, counts, right = both(
        choose, lambda: MMSEEqualizer(*uplink(3, 4, 37), nm.Exact()), y, up, 0.0, 0.1
    )
    check(ours, theirs, "single")
    assert counts == right and spy.calls


@needs_library
def test_guards_and_a_nulled_carrier(choose: Choice, spy: Spy) -> None:
    settings = {"num_guard_carriers": (5, 6), "dc_null": True}
    grid, streams = uplink(3, 4, 64, **settings)
    num = int(grid.num_effective_subcarriers)
    h = normal(2, 1, 6, 3, 1, 4, num, dtype=torch.complex64)
    y = normal(2, 1, 6, 4, 64, dtype=torch.complex64)
    no = torch.tensor([0.1, 10.0])
    make = lambda: MMSEEqualizer(grid, streams, nm.Exact())  # noqa: E731
    ours, theirs, counts, right = both(choose, make, y, h, 0.02, no)
    check(ours, theirs, "single")
    assert counts == right and spy.calls


@needs_library
def test_noise_that_differs_between_items_and_subcarriers(choose: Choice, spy: Spy) -> None:
    grid = downlink(3, 4, 40)
    h = normal(2, 3, 1, 1, 6, 1, 40, dtype=torch.complex64).expand(-1, -1, -1, -1, -1, 4, -1)
    x = normal(2, 1, 3, 4, 40, dtype=torch.complex64)
    for shape in ((2,), (2, 1, 1, 40), (1, 1, 4, 40)):
        alpha = torch.rand(shape, generator=torch.Generator().manual_seed(1))
        ours, theirs, counts, right = both(
            choose, lambda: ZFPrecoder(*grid, nm.Exact()), x, h, alpha
        )
        check(ours, theirs, "single")
        assert counts == right
    assert spy.calls == 1 + 1 + 4


@needs_library
def test_one_channel_for_all_items(choose: Choice, spy: Spy) -> None:
    h = normal(1, 3, 1, 1, 6, 4, 40, dtype=torch.complex64)
    x = normal(5, 1, 3, 4, 40, dtype=torch.complex64)
    ours, theirs, counts, right = both(
        choose, lambda: ZFPrecoder(*downlink(3, 4, 40), nm.Exact()), x, h
    )
    check(ours, theirs, "single")
    y = normal(5, 1, 6, 4, 40, dtype=torch.complex64)
    ours, theirs, counts, right = both(
        choose,
        lambda: MMSEEqualizer(*uplink(3, 4, 40), nm.Exact()),
        y,
        h.permute(0, 3, 4, 1, 2, 5, 6),
        0.0,
        0.1,
    )
    check(ours, theirs, "single")
    assert counts == right == nm.solvers.Counts(exact=4 * 40) and spy.calls == 8


@needs_library
def test_several_transmitters(choose: Choice, spy: Spy) -> None:
    h = normal(2, 6, 1, 2, 6, 1, 40, dtype=torch.complex64).expand(-1, -1, -1, -1, -1, 4, -1)
    x = normal(2, 2, 3, 4, 40, dtype=torch.complex64)
    ours, theirs, counts, right = both(
        choose, lambda: ZFPrecoder(*downlink(3, 4, 40, 2), nm.Exact()), x, h, 0.1
    )
    check(ours, theirs, "single")
    assert counts == right and spy.calls == 2


def ill_conditioned(items: int = 2) -> Tensor:
    """Channels [items, 3, 1, 1, 6, 4, 40] with two users in the same place on some subcarriers."""
    h = normal(items, 3, 1, 1, 6, 1, 40, dtype=torch.complex64)
    h[0, 1, ..., 5:8] = h[0, 0, ..., 5:8] + 1e-4 * h[0, 1, ..., 5:8]
    if items > 1:
        h[1, 2, ..., 39] = h[1, 0, ..., 39] + 1e-4 * h[1, 2, ..., 39]
    return h.expand(-1, -1, -1, -1, -1, 4, -1)


@needs_library
@pytest.mark.parametrize("items", [1, 2])
@pytest.mark.parametrize("certify", ["link", "call", None])
def test_what_rounding_spoils_is_computed_again(
    items: int, certify: Any, choose: Choice, spy: Spy
) -> None:
    h, x = ill_conditioned(items), normal(2, 1, 3, 4, 40, dtype=torch.complex64)
    y = normal(2, 1, 6, 4, 40, dtype=torch.complex64)
    ours, theirs, counts, right = both(
        choose, lambda: ZFPrecoder(*downlink(3, 4, 40), nm.Exact(), certify=certify), x, h
    )
    assert counts.refined == right.refined == (0 if certify is None else 2 + items)
    if certify is not None:
        check(ours, theirs, "single")
    ours, theirs, counts, right = both(
        choose,
        lambda: MMSEEqualizer(*uplink(3, 4, 40), nm.Exact(), certify=certify),
        y,
        h.permute(0, 3, 4, 1, 2, 5, 6),
        0.0,
        1e-9,
    )
    assert counts.refined == right.refined == (0 if certify is None else 2 + items)
    if certify is not None:
        check(ours, theirs, "single")
    # Every result needs a proof there.
    assert spy.calls == (0 if certify == "call" else 2)


@needs_library
def test_users_whom_others_bury_in_the_noise_are_computed_again() -> None:
    """Gains of weak users among loud ones beside each other are differences of large numbers."""
    h = normal(1, 3, 1, 1, 16, 1, 60, dtype=torch.complex64)
    h = h.expand(-1, -1, -1, -1, -1, 2, -1)
    x = normal(1, 1, 3, 2, 60, dtype=torch.complex64, seed=1)
    for level, loud in itertools.product((0.3, 0.03, 0.02, 0.01), (1.0, 5.0, 20.0)):
        channel = h.clone()
        channel[:, 1] = h[:, 0] + level * h[:, 1]
        channel[:, 0] = loud * channel[:, 0]
        channel[:, 1:] = channel[:, 1:] * 0.3
        y = normal(1, 1, 16, 2, 60, dtype=torch.complex64, seed=2)
        for grid, block, inputs in (
            (downlink(3, 2, 60), ZFPrecoder, (x, channel, 30.0)),
            (uplink(3, 2, 60), MMSEEqualizer, (y, channel.permute(0, 3, 4, 1, 2, 5, 6), 0.0, 30.0)),
        ):
            ours, right = (
                block(*grid, nm.Exact(), precision=precision)(*inputs)
                for precision in ("single", "double")
            )
            pairs = zip(ours, right, strict=True) if isinstance(ours, tuple) else [(ours, right)]
            for own, other in pairs:
                # User by user: a strong one hides what a weak one lost.
                error = torch.linalg.vector_norm(own - other, dim=-1)
                assert float((error / torch.linalg.vector_norm(other, dim=-1)).max()) < 3e-3


@needs_library
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_entries_that_are_not_finite_are_refused(bad: float, spy: Spy) -> None:
    h = normal(1, 3, 1, 1, 64, 1, 640, dtype=torch.complex64)
    # Where no look at one antenna of each row finds it.
    h[0, 1, 0, 0, 13, 0, 333] = bad
    block = ZFPrecoder(*downlink(3, 4, 640), nm.Exact())
    x = normal(1, 1, 3, 4, 640, dtype=torch.complex64)
    with pytest.raises(ValueError, match="The channel has NaN or infinite entries"):
        block(x, h.expand(-1, -1, -1, -1, -1, 4, -1))
    assert spy.calls == 1


@needs_library
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads_gives_the_same_bits(threads: int) -> None:
    a, x = normal(3, 500, 4, 9, dtype=torch.complex64), normal(3, 4, 7, 500, dtype=torch.complex64)
    before, found = torch.get_num_threads(), []
    try:
        for number in (1, threads):
            torch.set_num_threads(number)
            out = torch.empty(3, 9, 7, 500, dtype=torch.complex64)
            emitters.Precoded(x, out, range(7)).emit(PseudoInverse(), a, None)
            found.append(out)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


@needs_library
def test_what_is_mapped_is_left_to_pytorch(spy: Spy) -> None:
    block = ZFPrecoder(*downlink(3, 4, 40), nm.Exact())
    x = normal(2, 1, 1, 3, 4, 40, dtype=torch.complex64)
    h = normal(2, 1, 3, 1, 1, 6, 4, 40, dtype=torch.complex64)
    mapped = torch.vmap(block)(x, h)
    assert spy.calls == 0
    check((mapped[1],), (block(x[1], h[1]),), "single")
    assert spy.calls


@needs_library
def test_an_operation_of_ones_own_is_left_to_pytorch(
    spy: Spy, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Own(PseudoInverse):
        pass

    block = ZFPrecoder(*downlink(3, 4, 40), nm.Exact())
    monkeypatch.setattr(block, "_operation", Own())
    block(
        normal(1, 1, 3, 4, 40, dtype=torch.complex64),
        normal(1, 3, 1, 1, 6, 4, 40, dtype=torch.complex64),
    )
    assert spy.calls == 0


def test_without_the_library_nothing_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, spy: Spy
) -> None:
    monkeypatch.delenv(library.VARIABLE, raising=False)
    monkeypatch.setattr(library, "_FILE", tmp_path / "none.so")
    library.forget()
    assert info()["kernels"] == {"lanes": None, "reason": library.why_not()}
    assert "make kernels" in str(library.why_not())
    x = normal(1, 1, 3, 4, 40, dtype=torch.complex64)
    h = normal(1, 3, 1, 1, 6, 4, 40, dtype=torch.complex64)
    ZFPrecoder(*downlink(3, 4, 40), nm.Exact())(x, h)
    assert spy.calls == 0


def test_a_file_that_is_no_library_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.delenv(library.VARIABLE, raising=False)
    file = tmp_path / "_lanes.so"
    file.write_bytes(b"no library")
    monkeypatch.setattr(library, "_FILE", file)
    library.forget()
    assert str(library.why_not()).startswith("not loaded: ")


@needs_library
def test_the_variant_is_told(choose: Choice) -> None:
    choose("")
    found = library.loaded()
    assert found is not None and info()["kernels"] == {"lanes": found.name, "reason": None}
    choose("off")
    assert info()["kernels"] == {"lanes": None, "reason": "turned off by NEUMATC_LANES=off"}
    choose("v9")
    assert "v9 is not one of the variants that run here" in str(library.why_not())
