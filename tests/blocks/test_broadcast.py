"""What Sionna's blocks accept, ours do, with the same result: shapes that are broadcast, real
inputs, more streams than antennas, a few subcarriers, states, halved blocks.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sionna.phy.mapping import Constellation
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
    MMSEDetector,
    MMSEEqualizer,
    SVDBeamformer,
    SVDCombiner,
    WMMSEPrecoder,
    ZFPrecodedChannel,
    ZFPrecoder,
)
from tests.blocks.common import close, noise

DOUBLE = 1e-9
ITEMS, SYMBOLS = 3, 4
# Whether a tensor has one item, one symbol, one subcarrier.
ONES = st.tuples(st.booleans(), st.booleans(), st.booleans())
GRIDS = st.sampled_from([(12, {}), (15, {"num_guard_carriers": (2, 1), "dc_null": True})])
SIZES = st.sampled_from([(1, 1), (1, 4), (3, 3), (3, 4), (3, 2), (5, 2), (4, 1)])
SEEDS = st.integers(0, 2**16)


def grid_of(fft_size: int, num_tx: int, num_streams: int, **changes: Any) -> ResourceGrid:
    return ResourceGrid(
        SYMBOLS, fft_size, 30e3, num_tx=num_tx, num_streams_per_tx=num_streams, **changes
    )


def samples(*shape: int, seed: int, real: bool = False) -> Tensor:
    value = noise(*shape, seed=seed) if shape else noise(1, seed=seed)[0]
    return value.real if real else value


def num(one: bool, many: int) -> int:
    return 1 if one else many


@given(
    grid=GRIDS,
    sizes=SIZES,
    x_ones=ONES,
    h_ones=ONES,
    alpha_ones=ONES,
    seed=SEEDS,
    real=st.tuples(st.booleans(), st.booleans()),
    effective=st.booleans(),
)
def test_precoder(
    grid: Any,
    sizes: Any,
    x_ones: Any,
    h_ones: Any,
    alpha_ones: Any,
    seed: int,
    real: Any,
    effective: bool,
) -> None:
    fft_size, changes = grid
    users, antennas = sizes
    if effective:
        h_ones = (*h_ones[:2], False)  # Sionna takes the effective subcarriers from it
    rg = grid_of(fft_size, 1, users, **changes)
    sm = StreamManagement(np.ones([users, 1]), users)
    counts = [
        [num(one, many) for one, many in zip(ones, (ITEMS, SYMBOLS, fft_size), strict=True)]
        for ones in (x_ones, h_ones, alpha_ones)
    ]
    x = samples(counts[0][0], 1, users, *counts[0][1:], seed=seed, real=real[0])
    h = samples(counts[1][0], users, 1, 1, antennas, *counts[1][1:], seed=seed + 1, real=real[1])
    alpha = 0.1 + samples(counts[2][0], 1, *counts[2][1:], seed=seed + 2).abs()
    theirs = RZFPrecoder(rg, sm, return_effective_channel=effective, precision="double")
    ours = ZFPrecoder(rg, sm, nm.Exact(), return_effective_channel=effective, precision="double")
    expected, found = theirs(x, h, alpha), ours(x, h, alpha)
    for one, other in zip(found, expected, strict=True) if effective else [(found, expected)]:
        close(one, other, DOUBLE)


@given(
    grid=GRIDS,
    sizes=SIZES,
    h_ones=ONES,
    hat_ones=ONES,
    seed=SEEDS,
    power=st.sampled_from(["", "b", "bt", "bts", "btsn", "btsnf"]),
    alpha=st.sampled_from(["", "b", "bt", "btn", "btnf"]),
)
def test_precoded_channel(
    grid: Any, sizes: Any, h_ones: Any, hat_ones: Any, seed: int, power: str, alpha: str
) -> None:
    fft_size, changes = grid
    users, antennas = sizes
    h_ones = (h_ones[0], h_ones[1], h_ones[2] and not hat_ones[2])
    rg = grid_of(fft_size, 1, users, **changes)
    sm = StreamManagement(np.ones([users, 1]), users)
    many = (ITEMS, SYMBOLS, fft_size)
    h, h_hat = (
        samples(
            num(ones[0], ITEMS),
            users,
            1,
            1,
            antennas,
            *(num(one, n) for one, n in zip(ones[1:], many[1:], strict=True)),
            seed=seed + i,
        )
        for i, ones in enumerate((h_ones, hat_ones))
    )
    of_hat = dict(zip("bnf", (num(o, n) for o, n in zip(hat_ones, many, strict=True)), strict=True))
    of_hat |= {"t": 1, "s": users}
    tx_power = samples(*(of_hat[k] for k in power), seed=seed + 2).abs()
    regularisation = 0.1 + samples(*(of_hat[k] for k in alpha), seed=seed + 3).abs()
    theirs = RZFPrecodedChannel(rg, sm, precision="double")
    ours = ZFPrecodedChannel(rg, sm, nm.Exact(), precision="double")
    inputs = (h, tx_power, h_hat, regularisation)
    if hat_ones[2]:
        return  # Sionna's precoder of one subcarrier takes no effective ones of a whole grid
    close(ours(*inputs), theirs(*inputs), DOUBLE)


@given(
    grid=GRIDS,
    sizes=SIZES,
    y_ones=ONES,
    h_one=st.booleans(),
    seed=SEEDS,
    real=st.tuples(st.booleans(), st.booleans()),
    rx=st.integers(1, 2),
    err_var=st.sampled_from(["none", "one", "items", "all"]),
    no=st.sampled_from(["", "b", "br", "bra"]),
)
def test_equalizer(
    grid: Any,
    sizes: Any,
    y_ones: Any,
    h_one: bool,
    seed: int,
    real: Any,
    rx: int,
    err_var: str,
    no: str,
) -> None:
    fft_size, changes = grid
    users, antennas = sizes
    num_tx = users * rx
    rg = grid_of(fft_size, num_tx, 1, **changes)
    # The users of each receiver are the others' interference.
    sm = StreamManagement(np.kron(np.eye(rx), np.ones([1, users])), 1)
    y = samples(
        num(y_ones[0], ITEMS),
        rx,
        antennas,
        num(y_ones[1], SYMBOLS),
        fft_size,
        seed=seed,
        real=real[0],
    )
    shape = (num(h_one, ITEMS), rx, antennas, num_tx, 1, SYMBOLS, rg.num_effective_subcarriers)
    h = samples(*shape, seed=seed + 1, real=real[1])
    variance = {
        "none": torch.tensor(0.0, dtype=torch.float64),
        "one": torch.tensor(0.2, dtype=torch.float64),
        "items": samples(shape[0], *[1] * 6, seed=seed + 2).abs(),
        "all": samples(*shape, seed=seed + 2).abs(),
    }[err_var]
    of_y = {"b": len(y), "r": rx, "a": antennas}
    power = 0.1 + samples(*(of_y[k] for k in no), seed=seed + 3).abs()
    theirs = LMMSEEqualizer(rg, sm, precision="double")
    ours = MMSEEqualizer(rg, sm, nm.Exact(), precision="double")
    expected, found = theirs(y, h, variance, power), ours(y, h, variance, power)
    for one, other in zip(found, expected, strict=True):
        close(one, other, 1e-7)


@given(
    sizes=SIZES,
    y_one=st.booleans(),
    h_ones=ONES,
    seed=SEEDS,
    output=st.sampled_from(["bit", "symbol"]),
    hard_out=st.booleans(),
)
def test_detector(
    sizes: Any, y_one: bool, h_ones: Any, seed: int, output: Any, hard_out: bool
) -> None:
    users, antennas = sizes
    rg, sm = grid_of(12, users, 1), StreamManagement(np.ones([1, users]), 1)
    y = samples(num(y_one, ITEMS), 1, antennas, SYMBOLS, 12, seed=seed)
    h = samples(
        num(h_ones[0], ITEMS),
        1,
        antennas,
        users,
        1,
        num(h_ones[1], SYMBOLS),
        num(h_ones[2], 12),
        seed=seed + 1,
    )
    settings: Any = {"hard_out": hard_out, "precision": "double"}
    theirs = LinearDetector("lmmse", output, "app", rg, sm, "qam", 4, **settings)
    ours = MMSEDetector(output, "app", rg, sm, nm.Exact(), "qam", 4, **settings)
    inputs = (y, h, torch.tensor(0.1), torch.tensor(0.2))
    found, expected = ours(*inputs), theirs(*inputs)
    assert found.shape == expected.shape and found.dtype == expected.dtype
    assert torch.allclose(found.double(), expected.double(), rtol=1e-6, atol=1e-6)


# Each block of one transmitter with its inputs for so many items, symbols and subcarriers.
PRECODERS: dict[str, tuple[Any, StreamManagement, int, int, tuple[Any, ...]]] = {
    "zf": (ZFPrecoder, StreamManagement(np.ones([3, 1]), 3), 3, 1, (0.1,)),
    "bd": (BDPrecoder, StreamManagement(np.ones([3, 1]), 3), 3, 1, ()),
    "wmmse": (WMMSEPrecoder, StreamManagement(np.ones([3, 1]), 3), 3, 1, (0.1,)),
    "svd": (SVDBeamformer, StreamManagement(np.ones([1, 1]), 3), 1, 4, ()),
}


@pytest.mark.parametrize("kind", PRECODERS)
@pytest.mark.parametrize("h_one", [(1, SYMBOLS), (ITEMS, 1), (1, 1)], ids=str)
@pytest.mark.parametrize("x_one", [(ITEMS, SYMBOLS), (1, 1)], ids=str)
def test_one_for_all_is_as_if_repeated(kind: str, h_one: Any, x_one: Any) -> None:
    block_of, sm, num_rx, num_rx_ant, more = PRECODERS[kind]
    block = block_of(grid_of(12, 1, 3), sm, nm.Exact(), True, precision="double")
    x = samples(x_one[0], 1, 3, x_one[1], 12, seed=1)
    h = samples(h_one[0], num_rx, num_rx_ant, 1, 8, h_one[1], 12, seed=2)
    found, h_eff = block(x, h, *more)
    assert block.stats.exact == 12 * h_one[0] * h_one[1]  # computed once
    items, symbols = max(x_one[0], h_one[0]), max(x_one[1], h_one[1])
    again = block(
        x.expand(items, -1, -1, symbols, -1).contiguous(),
        h.expand(items, *[-1] * 4, symbols, -1).contiguous(),
        *more,
    )
    close(found, again[0], DOUBLE)
    close(h_eff, again[1][: h_one[0], ..., : h_one[1], :], DOUBLE)


@pytest.mark.parametrize("h_one", [(1, SYMBOLS), (ITEMS, 1), (1, 1)], ids=str)
@pytest.mark.parametrize("y_one", [(ITEMS, SYMBOLS), (1, 1)], ids=str)
@pytest.mark.parametrize("power", ["uniform", "waterfilling"])
def test_combiner_of_one_for_all(h_one: Any, y_one: Any, power: Any) -> None:
    sm = StreamManagement(np.ones([1, 1]), 2)
    block = SVDCombiner(grid_of(12, 1, 2), sm, nm.Exact(), power=power, precision="double")
    y = samples(y_one[0], 1, 3, y_one[1], 12, seed=1)
    h = samples(h_one[0], 1, 3, 1, 8, h_one[1], 12, seed=2)
    found = block(y, h, 0.1)
    items = max(y_one[0], h_one[0])
    again = block(
        y.expand(items, -1, -1, SYMBOLS, -1).contiguous(),
        h.expand(items, *[-1] * 4, SYMBOLS, -1).contiguous(),
        0.1,
    )
    for one, other in zip(found, again, strict=True):
        close(one, other, DOUBLE)


@pytest.mark.parametrize(("symbols", "subcarriers"), [(2, 12), (7, 12), (4, 5), (1, 1), (4, 20)])
def test_part_of_a_slot(symbols: int, subcarriers: int) -> None:
    rg, sm = grid_of(12, 1, 3), StreamManagement(np.ones([3, 1]), 3)
    x = samples(2, 1, 3, symbols, subcarriers, seed=1)
    h = samples(2, 3, 1, 1, 4, symbols, subcarriers, seed=2)
    expected = RZFPrecoder(rg, sm, precision="double")(x, h, 0.1)
    close(ZFPrecoder(rg, sm, nm.Exact(), precision="double")(x, h, 0.1), expected, DOUBLE)


@pytest.mark.parametrize("fft_size", [1, 2, 3])
def test_few_subcarriers(fft_size: int) -> None:
    down, up = StreamManagement(np.ones([3, 1]), 3), StreamManagement(np.ones([1, 3]), 1)
    x, h = samples(2, 1, 3, 4, fft_size, seed=1), samples(2, 3, 1, 1, 4, 4, fft_size, seed=2)
    rg = grid_of(fft_size, 1, 3)
    found = ZFPrecoder(rg, down, nm.Exact(), True, precision="double")(x, h)
    for one, other in zip(
        found, RZFPrecoder(rg, down, True, precision="double")(x, h), strict=True
    ):
        close(one, other, DOUBLE)
    y, g = samples(2, 1, 4, 4, fft_size, seed=3), h.permute(0, 3, 4, 1, 2, 5, 6)
    rg, no = grid_of(fft_size, 3, 1), torch.tensor(0.1)
    found = MMSEEqualizer(rg, up, nm.Exact(), precision="double")(y, g, 0.0, no)
    for one, other in zip(
        found, LMMSEEqualizer(rg, up, precision="double")(y, g, 0.0, no), strict=True
    ):
        close(one, other, DOUBLE)


def test_more_streams_than_antennas_need_a_regularisation() -> None:
    rg, sm = grid_of(12, 1, 3), StreamManagement(np.ones([3, 1]), 3)
    x, h = samples(2, 1, 3, 4, 12, seed=1), samples(2, 3, 1, 1, 2, 4, 12, seed=2)
    block = ZFPrecoder(rg, sm, nm.Exact())
    for alpha in (0.0, torch.zeros(1), torch.tensor([[[[0.1]]], [[[0.0]]]])):
        with pytest.raises(ValueError, match="3 streams are more than the 2 antennas"):
            block(x, h, alpha)
    assert torch.isfinite(block(x, h, 0.1)).all()


@pytest.mark.parametrize("links", [None, "one", "all"])
def test_links_of_one_channel(write_scenario: Any, trained: Any, links: str | None) -> None:
    """One channel, or one side information, for all items of a batch."""
    model = trained(nm.load_scenario(write_scenario()))
    of = model.models["pseudo_inverse"].links
    h = of.channel(of.grid_frequencies(), [1]).permute(0, 2, 3, 1)[:, :, None, None, :, None]
    sm = StreamManagement(np.ones([3, 1]), 3)
    rg = ResourceGrid(2, 128, 480e3, num_tx=1, num_streams_per_tx=3)
    x = samples(2, 1, 3, 2, 128, seed=1).to(torch.complex64)
    named = {None: None, "one": torch.tensor([1]), "all": torch.tensor([1, 1])}[links]
    expected = RZFPrecoder(rg, sm, True, precision="double")(x, h.expand(2, *[-1] * 6))
    for trust in ("estimate", "model"):
        if trust == "model" and links is None:
            continue
        block = ZFPrecoder(rg, sm, model, True, trust=trust)  # type: ignore[arg-type]
        found, h_eff = block(x, h, links=named)
        close(found, expected[0].to(found.dtype), 2e-2)
        close(h_eff, expected[1][: len(h_eff)].to(h_eff.dtype), 2e-2)
        count = block.stats.links_recalled + block.stats.links_trusted
        assert count == (2 if links == "all" else 1)
    # Other side information for each item.
    block = ZFPrecoder(rg, sm, model, trust="model")
    other = block(x, h, links=torch.tensor([1, -1]))
    close(other, expected[0].to(other.dtype), 2e-2)
    assert block.stats.links_trusted == 1


DOWN, UP = StreamManagement(np.ones([3, 1]), 3), StreamManagement(np.ones([1, 3]), 1)
QAM = ("qam", 4)


def pairs() -> dict[str, tuple[Any, Any, tuple[Any, ...]]]:
    """Sionna's block, ours, and inputs."""
    nulls: dict[str, Any] = {"num_guard_carriers": (2, 1), "dc_null": True}
    down, up = grid_of(12, 1, 3, **nulls), grid_of(12, 3, 1, **nulls)
    x, h = samples(2, 1, 3, 4, 12, seed=1), samples(2, 3, 1, 1, 4, 4, 12, seed=2)
    y, g = samples(2, 1, 4, 4, 12, seed=3), samples(2, 1, 4, 3, 1, 4, 8, seed=4)
    zero, no = torch.tensor(0.0), torch.tensor(0.1)
    double: Any = {"precision": "double"}
    exact = nm.Exact()
    found: dict[str, tuple[Any, Any, tuple[Any, ...]]] = {
        "zf": (RZFPrecoder(down, DOWN, **double), ZFPrecoder(down, DOWN, exact, **double), (x, h)),
        "channel": (
            RZFPrecodedChannel(down, DOWN, **double),
            ZFPrecodedChannel(down, DOWN, exact, **double),
            (h, torch.ones(2, 1, 3)),
        ),
        "mmse": (
            LMMSEEqualizer(up, UP, **double),
            MMSEEqualizer(up, UP, exact, **double),
            (y, g, zero, no),
        ),
    }
    for output in ("bit", "symbol"):
        for method in ("app", "maxlog"):
            found[f"{output} {method}"] = (
                LinearDetector("lmmse", output, method, up, UP, *QAM, **double),
                MMSEDetector(output, method, up, UP, exact, *QAM, **double),  # type: ignore[arg-type]
                (y, g, zero, no),
            )
    trainable = Constellation("custom", 4, points=samples(16, seed=5), **double)
    trainable.points = torch.nn.Parameter(trainable.points)
    found["trainable"] = (
        LinearDetector("lmmse", "bit", "app", up, UP, constellation=trainable, **double),
        MMSEDetector("bit", "app", up, UP, exact, constellation=trainable, **double),
        (y, g, zero, no),
    )
    return found


@pytest.mark.parametrize("kind", pairs())
def test_states_are_interchangeable(kind: str) -> None:
    theirs, ours, inputs = pairs()[kind]
    before = ours(*inputs)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    whole = torch.nn.ModuleDict({"block": ours})
    whole.load_state_dict(torch.nn.ModuleDict({"block": theirs}).state_dict(), strict=True)
    for one, other in zip(tuple_of(ours(*inputs)), tuple_of(before), strict=True):
        assert torch.equal(one, other)
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]


@pytest.mark.parametrize("kind", pairs())
@pytest.mark.parametrize("how", ["half", "bfloat16", "float", "double"])
def test_a_halved_block_keeps_its_precision(kind: str, how: str) -> None:
    """Sionna's blocks work in the precision that they were made for."""
    theirs, ours, inputs = pairs()[kind]
    before = tuple_of(ours(*inputs))
    expected = tuple_of(getattr(theirs, how)()(*inputs))
    halved = copy.deepcopy(getattr(ours, how)())
    for found, whole, their in zip(tuple_of(halved(*inputs)), before, expected, strict=True):
        assert torch.equal(found, whole)
        assert found.dtype == their.dtype
        assert torch.allclose(found, their, rtol=1e-6, atol=1e-8)


def tuple_of(result: Any) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("how", ["half", "bfloat16"])
def test_a_halved_block_knows_its_links(write_scenario: Any, trained: Any, how: str) -> None:
    model = trained(nm.load_scenario(write_scenario()))
    of = model.models["pseudo_inverse"].links
    h = of.channel(of.grid_frequencies()[:128], [0, 1]).permute(0, 2, 3, 1)
    h = h[:, :, None, None, :, None]
    rg = ResourceGrid(2, 128, 480e3, num_tx=1, num_streams_per_tx=3)
    x = samples(2, 1, 3, 2, 128, seed=1).to(torch.complex64)
    block = ZFPrecoder(rg, DOWN, model)
    before = block(x, h)
    assert torch.equal(getattr(block, how)()(x, h), before)
    assert block.stats.links_recalled == 4
