"""Triton's kernels of exact filters, through its interpreter, beside blocks in double precision."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

pytest.importorskip("triton", reason="triton is not installed")

import neumatc_mimo as nm
from neumatc_mimo.blocks import (
    MMSEEqualizer,
    SLNRPrecoder,
    SVDBeamformer,
    SVDCombiner,
    ZFPrecoder,
)
from neumatc_mimo.kernels import race
from neumatc_mimo.kernels.lanes import Precoded, devices, operators
from neumatc_mimo.kernels.on_gpu.sizes import MOST_ROWS
from neumatc_mimo.operations.ill_conditioned import doubtful
from neumatc_mimo.operations.max_min import MaxMin
from neumatc_mimo.operations.pseudo_inverse import PseudoInverse
from neumatc_mimo.operations.svd import SVD
from neumatc_mimo.operations.wmmse import WMMSE
from tests.kernels.comparison import DTYPES, Spy, check, downlink, normal, uplink

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SIZES = st.tuples(
    st.integers(1, 2),  # items
    st.integers(1, 6),  # users
    st.integers(0, 3),  # antennas beyond these and two more
    st.integers(1, 3),  # symbols
    st.sampled_from([1, 7, 32, 33]),  # subcarriers
)


@pytest.fixture(scope="module", autouse=True)
def on_cpu() -> Iterator[None]:
    """Triton's kernels stand in the place of those in C++."""
    with pytest.MonkeyPatch.context() as patch:
        if DEVICE == "cpu":
            patch.setitem(devices.KERNELS, "cpu", devices.KERNELS["cuda"])
            patch.setattr(operators, "precode", devices.precode_on_gpu)
            patch.setattr(operators, "receive", devices.receive_on_gpu)
        yield


def both(make: Any, *inputs: Any) -> tuple[Any, Any, Any, Any]:
    """Outputs of a block with kernels and by PyTorch in double precision, and the counts."""
    found = []
    for kernel, precision in ((True, "single"), (False, "double")):
        to = DTYPES[precision]
        block = make(precision=precision, device=DEVICE)
        given = (_in_precision(value, to) for value in inputs)
        with race.always(kernel):
            outputs = block(*given)
        found.append((outputs if isinstance(outputs, tuple) else (outputs,), block.stats))
    (ours, counts), (right, theirs) = found
    return ours, tuple(t.to(o.dtype) for t, o in zip(right, ours, strict=True)), counts, theirs


def _in_precision(value: Any, dtype: torch.dtype) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.to(DEVICE, dtype if value.is_complex() else dtype.to_real())


def precoder(users: int, symbols: int, subcarriers: int, num_tx: int = 1, **more: Any) -> Any:
    grid = downlink(users, symbols, subcarriers, num_tx)
    return lambda **place: ZFPrecoder(*grid, nm.Exact(), **more, **place)


def equalizer(users: int, symbols: int, subcarriers: int, **grid: Any) -> Any:
    sizes = uplink(users, symbols, subcarriers, **grid)
    return lambda **place: MMSEEqualizer(*sizes, nm.Exact(), **place)


def channel(*shape: int, symbols: int, seed: int = 0) -> Tensor:
    """Of [items, users, antennas, subcarriers], the same in all symbols, for precoders."""
    items, users, antennas, subcarriers = shape
    h = normal(items, users, 1, 1, antennas, 1, subcarriers, dtype=torch.complex64, seed=seed)
    return h.expand(-1, -1, -1, -1, -1, symbols, -1)


def reverse(h: Tensor) -> Tensor:
    """The uplink's channel of a downlink's."""
    return h.permute(0, 3, 4, 1, 2, 5, 6)


@pytest.mark.slow
@settings(max_examples=4)
@given(sizes=SIZES, alpha=st.sampled_from([0.0, 0.1, 30.0]), seed=st.integers(0, 999))
def test_precoding_is_that_of_pytorch(sizes: tuple[int, ...], alpha: float, seed: int) -> None:
    items, users, more, symbols, subcarriers = sizes
    h = channel(items, users, users + 2 + more, subcarriers, symbols=symbols, seed=seed)
    x = normal(items, 1, users, symbols, subcarriers, dtype=torch.complex64, seed=seed)
    make = precoder(users, symbols, subcarriers, return_effective_channel=True)
    ours, right, counts, theirs = both(make, x, h, alpha)
    check(ours, right, "single")
    assert counts == theirs


@pytest.mark.slow
@settings(max_examples=4)
@given(sizes=SIZES, no=st.sampled_from([1e-3, 0.1, 300.0]), seed=st.integers(0, 999))
def test_receiving_is_that_of_pytorch(sizes: tuple[int, ...], no: float, seed: int) -> None:
    items, users, more, symbols, subcarriers = sizes
    h = channel(items, users, users + 2 + more, subcarriers, symbols=symbols, seed=seed)
    y = normal(items, 1, users + 2 + more, symbols, subcarriers, dtype=torch.complex64, seed=seed)
    make = equalizer(users, symbols, subcarriers)
    ours, right, counts, theirs = both(make, y, reverse(h), 0.0, no)
    check(ours, right, "single")
    assert counts == theirs


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize(("users", "antennas"), [(8, 35), (13, 16)])
def test_each_precision(users: int, antennas: int, precision: str, spy: Spy) -> None:
    """Matrices beside PyTorch's of the same precision; antennas of several programs."""
    to = DTYPES[precision]
    h = channel(1, users, antennas, 9, symbols=2).to(DEVICE, to)
    x = normal(1, 1, users, 2, 9, dtype=to).to(DEVICE)
    y = normal(1, 1, antennas, 2, 9, dtype=to).to(DEVICE)
    for make, inputs in (
        (precoder(users, 2, 9), (x, h, 0.3)),
        (equalizer(users, 2, 9), (y, reverse(h), 0.0, 0.3)),
    ):
        found = []
        for kernel in (True, False):
            with race.always(kernel):
                outputs = make(precision=precision, device=DEVICE)(*inputs)
            found.append(outputs if isinstance(outputs, tuple) else (outputs,))
        check(found[0], found[1], precision)
    assert spy.calls == 2


def test_leakage_is_that_of_pytorch(spy: Spy) -> None:
    h, x = channel(2, 3, 7, 9, symbols=2), normal(2, 1, 3, 2, 9, dtype=torch.complex64)
    make = partial(SLNRPrecoder, *downlink(3, 2, 9), nm.Exact(), return_effective_channel=True)
    for no in (0.01, 30.0):
        ours, right, counts, theirs = both(make, x, h, no)
        check(ours, right, "single")
        assert counts == theirs
    assert spy.calls == 2


@pytest.mark.parametrize("gain", [1e-12, 1.0, 1e12])
def test_channels_of_any_gain(gain: float, spy: Spy) -> None:
    h = channel(1, 3, 8, 20, symbols=2)
    # Users 120 dB apart.
    h = h * gain * torch.tensor([1.0, 1e-3, 1e3])[:, None, None, None, None, None]
    x = normal(1, 1, 3, 2, 20, dtype=torch.complex64)
    ours, right, counts, theirs = both(precoder(3, 2, 20), x, h)
    check(ours, right, "single")
    assert counts == theirs
    y, no = normal(1, 1, 8, 2, 20, dtype=torch.complex64) * gain, torch.tensor(0.1 * gain * gain)
    (x_hat, no_eff), right, counts, theirs = both(equalizer(3, 2, 20), y, reverse(h), 0.0, no)
    for stream in range(3):
        check((x_hat[:, stream], no_eff[:, stream]), [t[:, stream] for t in right], "single")
    assert counts == theirs and spy.calls == 2


def test_guards_and_a_nulled_carrier(spy: Spy) -> None:
    settings = {"num_guard_carriers": (5, 6), "dc_null": True}
    make = equalizer(3, 2, 64, **settings)
    h, y = channel(2, 3, 6, 52, symbols=2), normal(2, 1, 6, 2, 64, dtype=torch.complex64)
    no = torch.tensor([0.1, 10.0])
    ours, right, counts, theirs = both(make, y, reverse(h), 0.02, no)
    check(ours, right, "single")
    assert counts == theirs and spy.calls == 1


def test_noise_that_differs_between_items_and_subcarriers(spy: Spy) -> None:
    h, x = channel(2, 3, 6, 33, symbols=2), normal(2, 1, 3, 2, 33, dtype=torch.complex64)
    for shape in ((2,), (2, 1, 1, 33), (1, 1, 2, 33)):
        alpha = torch.rand(shape, generator=torch.Generator().manual_seed(1))
        ours, right, counts, theirs = both(precoder(3, 2, 33), x, h, alpha)
        check(ours, right, "single")
        assert counts == theirs
    assert spy.calls == 1 + 1 + 2


def test_symbols_in_groups_and_channels_that_serve_several_items(spy: Spy) -> None:
    h = normal(1, 3, 1, 1, 6, 2, 20, dtype=torch.complex64)[..., [0, 1, 0, 1], :]
    x, y = (normal(3, 1, n, 4, 20, dtype=torch.complex64) for n in (3, 6))
    for make, inputs in (
        (precoder(3, 4, 20), (x, h)),
        (equalizer(3, 4, 20), (y, reverse(h), 0.0, 0.1)),
    ):
        ours, right, counts, theirs = both(make, *inputs)
        check(ours, right, "single")
        assert counts == theirs
    assert spy.calls == 4


def test_several_transmitters(spy: Spy) -> None:
    h = normal(2, 6, 1, 2, 6, 1, 20, dtype=torch.complex64).expand(-1, -1, -1, -1, -1, 2, -1)
    x = normal(2, 2, 3, 2, 20, dtype=torch.complex64)
    ours, right, counts, theirs = both(precoder(3, 2, 20, 2), x, h, 0.1)
    check(ours, right, "single")
    assert counts == theirs and spy.calls == 2


# NumPy, which the interpreter computes with, warns of what shows in the result.
@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_what_rounding_spoils_is_computed_again(spy: Spy) -> None:
    """Users in the same place on some subcarriers; gains that others bury in the noise."""
    h = channel(2, 3, 6, 40, symbols=2).clone()
    h[0, 1, ..., 5:8] = h[0, 0, ..., 5:8] + 1e-4 * h[0, 1, ..., 5:8]
    h[1, 2, ..., 39] = h[1, 0, ..., 39]
    x, y = (normal(2, 1, n, 2, 40, dtype=torch.complex64) for n in (3, 6))
    for make, inputs in (
        (precoder(3, 2, 40), (x, h, 1e-9)),
        (equalizer(3, 2, 40), (y, reverse(h), 0.0, 1e-9)),
    ):
        ours, right, counts, _ = both(make, *inputs)
        assert counts.refined == 4
        check(ours, right, "single")
    for level in (0.3, 0.02):
        loud = h[:1, ..., :20].clone()
        loud[:, 1] = loud[:, 0] + level * loud[:, 1]
        loud = loud * torch.tensor([20.0, 0.3, 0.3])[:, None, None, None, None, None]
        ours, right, _, _ = both(equalizer(3, 2, 20), y[:1, ..., :20], reverse(loud), 0.0, 30.0)
        for own, other in zip(ours, right, strict=True):
            # User by user: a strong one hides what a weak one lost.
            error = torch.linalg.vector_norm(own - other, dim=-1)
            assert float((error / torch.linalg.vector_norm(other, dim=-1)).max()) < 3e-3
    assert spy.calls == 4


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 1e30])
def test_matrices_that_are_no_numbers_are_told_from_others(bad: float) -> None:
    """Not finite, or with powers out of range; the other subcarriers are as they were."""
    a, x = normal(2, 40, 3, 8, dtype=torch.complex64), normal(2, 3, 2, 40, dtype=torch.complex64)
    found = []
    for value in (1.0, bad):
        a[1, 33, 2, 5] = value
        out = torch.empty(2, 8, 2, 40, dtype=torch.complex64, device=DEVICE)
        emitter = Precoded(x.to(DEVICE), out, range(2))
        amplification = emitter.emit(PseudoInverse(), a.to(DEVICE), torch.tensor([0.1, 0.2]))
        found.append((amplification, out.transpose(1, 3)))
    none = torch.zeros(2, 40, dtype=torch.bool, device=DEVICE)
    none[1, 33] = True
    (before, sent), (after, sent_after) = found
    assert torch.equal(after.isnan(), none) and not before.isnan().any()
    assert torch.equal(sent[~none], sent_after[~none])


@pytest.mark.parametrize("kind", [WMMSE, MaxMin])
@pytest.mark.parametrize("iterations", [3, 12])
@pytest.mark.parametrize("precision", DTYPES)
def test_iterations_are_those_of_pytorch(precision: str, iterations: int, kind: Any) -> None:
    """Also where the iteration ends in between, at a user without a channel and one that others
    are far louder than.
    """
    to = DTYPES[precision]
    a = normal(1, 5, 3, 6, dtype=DTYPES["double"])
    a[:, 0] *= 1e-9
    # With max-min no one would get anything then.
    a[:, 1, 2] *= 0 if kind is WMMSE else 1
    a[:, 2, 1] *= 1e-2
    no = torch.tensor([[1e-19, 0.1, 0.1, 10.0, 1e-3]], dtype=a.real.dtype)
    x = normal(1, 3, 2, 5, dtype=a.dtype)
    operation = kind(num_iterations=iterations)
    right = (operation.exact(a, no)[0] @ x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    out = torch.empty(1, 6, 2, 5, dtype=to, device=DEVICE)
    amplification = Precoded(x.to(DEVICE, to), out, range(2)).emit(
        operation, a.to(DEVICE, to), no.to(DEVICE, to.to_real())
    )
    for f in range(5):
        check((out[..., f].cpu(),), (right[..., f].to(to),), precision)
    assert float(amplification.max()) < 1e4


@pytest.mark.parametrize(("rows", "antennas"), [(1, 4), (3, 8), (4, 4)])
def test_singular_vectors_are_those_of_pytorch(rows: int, antennas: int, spy: Spy) -> None:
    """Beams carry the strongest singular values in their order; what they send arrives."""
    num, subcarriers = (rows + 1) // 2, 8
    grid = (
        ResourceGrid(2, subcarriers, 30e3, num_streams_per_tx=num, dc_null=True),
        StreamManagement(np.ones([1, 1]), num),
    )
    h = channel(1, rows, antennas, subcarriers, symbols=2).permute(0, 2, 1, 3, 4, 5, 6)
    x, y = (normal(1, 1, n, 2, subcarriers, dtype=torch.complex64) for n in (num, rows))
    no = torch.rand(1, 1, rows, generator=torch.Generator().manual_seed(2))
    for block, inputs, more in (
        (SVDBeamformer, (x, h), {"return_effective_channel": True}),
        (SVDCombiner, (y, h, no), {}),
    ):
        make = partial(block, *grid, nm.Exact(), **more)
        ours, right, counts, theirs = both(make, *inputs)
        for own, other in zip(ours, right, strict=True):
            error = torch.linalg.vector_norm(own - other) / torch.linalg.vector_norm(other)
            # Rounding that close singular values amplify.
            assert float(error) < 3e-4
        assert counts == theirs
    assert spy.calls == 2


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_singular_matrices_are_left(spy: Spy) -> None:
    a, x = normal(1, 9, 3, 6, dtype=torch.complex64), normal(1, 3, 1, 9, dtype=torch.complex64)
    a[0, 4, 2] = a[0, 4, 0]
    a[0, 5, 1, 3] = torch.nan
    a[0, 6] = 0
    out = torch.empty(1, 6, 1, 9, dtype=torch.complex64, device=DEVICE)
    found = Precoded(x.to(DEVICE), out, range(1)).emit(SVD(3), a.to(DEVICE), None)
    left = torch.zeros(1, 9, dtype=torch.bool, device=DEVICE)
    left[0, 4:7] = True
    assert torch.equal(doubtful(found), left) and spy.calls == 1


def test_more_rows_than_a_program_holds_are_left_to_pytorch(spy: Spy) -> None:
    users = MOST_ROWS + 1
    h = channel(1, users, users + 1, 4, symbols=1)
    x = normal(1, 1, users, 1, 4, dtype=torch.complex64)
    with race.always(True):
        precoder(users, 1, 4)(device=DEVICE)(x.to(DEVICE), h.to(DEVICE))
    assert spy.calls == 0


@pytest.mark.parametrize("name", ["precode", "receive"])
def test_operators_find_the_kernels_of_a_gpu(name: str) -> None:
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    assert all(has(f"neumatc::{name}_in_lanes", device) for device in ("CPU", "CUDA"))


COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from neumatc_mimo.kernels.on_gpu import definite, max_min, precode, receive, singular, sizes, wmmse

def compiled(kernel, real, warps, **constants):
    names = kernel.arg_names
    pointers = {"symbols": "*i64", "place": "*i64"} | dict.fromkeys(
        "h noise factor matrix chirp before after amplification no_eff x y out".split(), "*" + real
    )
    types = {n: "constexpr" if n in constants else pointers.get(n, "i32") for n in names}
    indices = {(names.index(name),): value for name, value in constants.items()}
    source = ASTSource(kernel, types, indices)
    target = GPUTarget("cuda", 90, 32)
    made = triton.compile(source, target=target, options={"num_warps": warps})
    assert made.asm["ptx"] and made.asm["cubin"]

for rows, real in ((3, "fp32"), (2, "fp64")):
    block_k, block_f, warps = sizes.filling(rows)
    fill = {"block_k": block_k, "block_f": block_f, "least": 1e-35, "most": 1e37}
    precoder = {"no_eff": None, "place": None}
    compiled(definite._fill, real, warps, **precoder, **fill)
    precoder |= {"chirp": None}
    compiled(definite._fill, real, warps, noise=None, **precoder, **fill)
    compiled(definite._fill, real, warps, **precoder, **fill)
    compiled(definite._fill, real, warps, chirp=None, **fill)
    small = {"tiny": 2.0**-126, "still": 1e-12, "between": 10}
    compiled(wmmse._fill, real, warps, **small, **fill)
    compiled(max_min._fill, real, warps, tiny=2.0**-126, still=1e-6, **fill)
    small = {"close": 1e-12, "sweeps": 12}
    compiled(singular._fill, real, warps, noise=None, no_eff=None, **small, **fill)
    compiled(singular._fill, real, warps, **small, **fill)
    block_k, block_s = sizes.emitting(rows, 14)
    emit = {"block_k": block_k, "block_s": block_s, "block_f": sizes.LANES}
    compiled(precode._precode, real, 1, block_a=32, **emit)
    compiled(precode._effective, real, 1, **emit)
    compiled(receive._receive, real, 1, **emit)
    mixes = {"before": None, "after": None}
    compiled(precode._precode, real, 1, block_a=32, **mixes, **emit)
    compiled(precode._effective, real, 1, **mixes, **emit)
    compiled(receive._receive, real, 1, factor=None, **mixes, **emit)
print("compiled")
"""


@pytest.mark.slow
def test_kernels_compile_for_a_gpu() -> None:
    environment = os.environ | {"TRITON_INTERPRET": "0"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILED], env=environment, capture_output=True, text=True
    )
    assert done.stdout == "compiled\n", done.stderr
