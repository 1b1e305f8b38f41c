"""Receivers beside Sionna's: every kind of output, gradients, counts, links of a model."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy import ofdm
from sionna.phy.mapping import Constellation
from sionna.phy.mimo import List2LLR, StreamManagement
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo import blocks
from tests.blocks.common import SYMBOLS, TIMES, close, distinct, grid, in_time, noise

ITEMS, USERS, ANTENNAS, BITS = 2, 2, 5, 4
# Of expectation propagation with precisions up to 1e12.
LOOSE = 1e-5
DOUBLE: dict[str, Any] = {"precision": "double"}
GRID = grid(USERS, 1)
STREAMS = StreamManagement(np.ones([1, USERS]), 1)
NUM_DATA = int(GRID.pilot_pattern.num_data_symbols)

# Sionna's lists of candidates are compiled otherwise.
pytestmark = pytest.mark.usefixtures("eager")


def pair(make: Callable[[Any, tuple[Any, ...]], Any]) -> tuple[Any, Any]:
    """Ours and Sionna's block."""
    return make(blocks, (nm.Exact(),)), make(ofdm, ())


def detectors(grid: Any, streams: Any, output: str, hard: bool) -> dict[str, tuple[Any, Any]]:
    """Detectors of one output, and what theirs are made of."""
    num = int(streams.num_streams_per_rx)
    found = {}
    for method in ("app", "maxlog"):
        for name in ("MaximumLikelihoodDetector", "MaximumLikelihoodDetectorWithPrior"):
            found[f"{name}, {method}"] = pair(
                lambda m, s, name=name, method=method: getattr(m, name)(
                    output, method, grid, streams, *s, "qam", BITS, hard_out=hard, **DOUBLE
                )
            )
        found[f"MMSEPICDetector, {method}"] = pair(
            lambda m, s, method=method: m.MMSEPICDetector(
                output, method, grid, streams, *s, 2, "qam", BITS, hard_out=hard, **DOUBLE
            )
        )
        for kind in ("lmmse", "zf", "mf"):
            found[f"LinearDetector, {kind}, {method}"] = pair(
                lambda m, s, kind=kind, method=method: m.LinearDetector(
                    kind, output, method, grid, streams, *s, "qam", BITS, hard_out=hard, **DOUBLE
                )
            )
    found["EPDetector"] = pair(
        lambda m, s: m.EPDetector(output, grid, streams, *s, BITS, hard, **DOUBLE)
    )
    if hard or output == "bit":
        for k, real in ((5, False), (16, False), (256, False), (256, True)):
            found[f"KBestDetector, {k}, {real}"] = pair(
                lambda m, s, k=k, real=real: m.KBestDetector(
                    output,
                    num,
                    k,
                    grid,
                    streams,
                    *s,
                    "qam",
                    BITS,
                    hard_out=hard,
                    use_real_rep=real,
                    **DOUBLE,
                )
            )
    return found


def received(num_rx: int, variant: str, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y, h_hat, err_var and no."""
    num = GRID.num_effective_subcarriers
    h = noise(ITEMS, num_rx, ANTENNAS, USERS, 1, 1, num, seed=seed)
    y = 1.5 * noise(ITEMS, num_rx, ANTENNAS, SYMBOLS, GRID.fft_size, seed=seed + 1)
    one = torch.tensor(0.05, dtype=torch.float64)
    return y, in_time(h, variant), one, 2 * one


def with_prior(name: str, output: str, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """The inputs of a detector, with a prior where it takes one."""
    given = list(inputs)
    if "PIC" in name or "Prior" in name:
        values = 2**BITS if output == "symbol" else BITS
        known = noise(ITEMS, USERS, 1, NUM_DATA, values, seed=5).real
        given.insert(2, known if output == "symbol" else known.flatten(-2))
    return given


@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
@pytest.mark.parametrize("output", ["bit", "symbol"])
@pytest.mark.parametrize("variant", ["view", "one symbol"])
def test_every_output(output: str, hard: bool, variant: str) -> None:
    inputs = received(1, variant)
    for name, (ours, theirs) in detectors(GRID, STREAMS, output, hard).items():
        given = with_prior(name, output, inputs)
        found, expected = ours(*given), theirs(*given)
        if expected.is_floating_point():
            close(found, expected, LOOSE if "EP" in name else 1e-9)
        else:
            assert torch.equal(found, expected), name


@pytest.mark.parametrize("variant", TIMES)
def test_once_for_symbols_of_the_same_channel(variant: str) -> None:
    inputs = received(1, variant)
    for name, (ours, theirs) in detectors(GRID, STREAMS, "bit", False).items():
        given = with_prior(name, "bit", inputs)
        close(ours(*given), theirs(*given), LOOSE if "EP" in name else 1e-9)
        assert ours.stats.exact == ITEMS * GRID.num_effective_subcarriers * distinct(variant), name


@pytest.mark.parametrize("name", ["ZFEqualizer", "MFEqualizer"])
@pytest.mark.parametrize("variant", TIMES)
def test_equalizers(name: str, variant: str) -> None:
    inputs = received(1, variant)
    ours, theirs = pair(lambda m, s: getattr(m, name)(GRID, STREAMS, *s, **DOUBLE))
    for one, other in zip(ours(*inputs), theirs(*inputs), strict=True):
        close(one, other, 1e-9)
    assert ours.stats.exact == ITEMS * GRID.num_effective_subcarriers * distinct(variant)


@pytest.mark.parametrize("variant", TIMES)
@pytest.mark.parametrize("whitens", [False, True])
def test_ratios(variant: str, whitens: bool) -> None:
    _, h, _, no = received(2, variant)
    streams = StreamManagement(np.eye(2), 1)
    ours, theirs = pair(lambda m, s: m.LMMSEPostEqualizationSINR(GRID, streams, *s, **DOUBLE))
    several = no * (1 + noise(ITEMS, 2, ANTENNAS, SYMBOLS, seed=3).abs())
    for power in (no, several[:, 0, 0, 0], several[..., 0], several):
        other = 1.1 * h
        close(ours(h, power, None, whitens), theirs(h, power, None, whitens), 1e-9)
        close(ours(h, power, other, whitens), theirs(h, power, other, whitens), 1e-9)


@pytest.mark.parametrize("precision", ["single", "double"])
def test_expectation_propagation_in_strong_noise(precision: Any) -> None:
    """Streams tell nothing of each other there: ratios are those of the MMSE detector, in its
    precision; of a stream that is silent there are none.
    """
    y, h, _, _ = received(1, "view")
    h = h.clone()
    h[:, :, :, -1] = 0
    no, zero = (torch.tensor(number, dtype=torch.float64) for number in (1e10, 0.0))
    linear = ofdm.LinearDetector("lmmse", "bit", "maxlog", GRID, STREAMS, "qam", BITS, **DOUBLE)
    detect = blocks.EPDetector("bit", GRID, STREAMS, nm.Exact(), BITS, precision=precision)
    found, expected = detect(y, h, zero, no), linear(y, h, zero, no)
    close(found[:, :-1].double(), expected[:, :-1], 1e-4)
    assert not found[:, -1].any()


@pytest.mark.parametrize("variant", ["view", "every symbol"])
def test_each_receiver_whitens_what_others_want(variant: str) -> None:
    """Two receivers of two users each, which hear the others."""
    rg = grid(4, 1)
    streams = StreamManagement(np.kron(np.eye(2), np.ones([1, 2])), 1)
    num = rg.num_effective_subcarriers
    h = in_time(noise(ITEMS, 2, ANTENNAS, 4, 1, 1, num, seed=1), variant)
    y = 2 * noise(ITEMS, 2, ANTENNAS, SYMBOLS, rg.fft_size, seed=2)
    no = 0.1 + 0.1 * noise(ITEMS, 2, ANTENNAS, seed=3).abs()
    err_var = 0.02 * noise(SYMBOLS, num, seed=4).abs()
    for name, (ours, theirs) in detectors(rg, streams, "bit", False).items():
        if "PIC" in name or "Prior" in name:
            continue  # Sionna's take priors at one receiver alone
        close(ours(y, h, err_var, no), theirs(y, h, err_var, no), LOOSE if "EP" in name else 1e-9)


def test_a_prior_is_that_of_the_streams_of_a_receiver() -> None:
    """Two receivers detect what each would with its own users alone, the others being silent."""
    rg, streams = grid(4, 1), StreamManagement(np.kron(np.eye(2), np.ones([1, 2])), 1)
    num, data = rg.num_effective_subcarriers, int(rg.pilot_pattern.num_data_symbols)
    h = noise(ITEMS, 2, ANTENNAS, 4, 1, SYMBOLS, num, seed=1)
    for rx in (0, 1):
        h[:, rx, :, [2 - 2 * rx, 3 - 2 * rx]] = 0
    y = noise(ITEMS, 2, ANTENNAS, SYMBOLS, rg.fft_size, seed=2)
    prior = noise(ITEMS, 4, 1, data * BITS, seed=3).real
    options: Any = ("bit", "maxlog")
    detect = blocks.MMSEPICDetector(*options, rg, streams, nm.Exact(), 1, "qam", BITS, **DOUBLE)
    found = detect(y, h, prior, 0.0, 0.1)
    alone = ofdm.MMSEPICDetector(
        *options, rg, StreamManagement(np.ones([1, 4]), 1), 1, "qam", BITS, **DOUBLE
    )
    zero, no = torch.zeros((), dtype=torch.float64), torch.tensor(0.1, dtype=torch.float64)
    for rx in (0, 1):
        expected = alone(y[:, rx : rx + 1], h[:, rx : rx + 1], prior, zero, no)
        mine = slice(2 * rx, 2 * rx + 2)
        close(found[:, mine], expected[:, mine], 1e-6)


GRADIENTS: dict[str, Any] = {
    "ZFEqualizer": lambda m, s: m.ZFEqualizer(GRID, STREAMS, *s, **DOUBLE),
    "MFEqualizer": lambda m, s: m.MFEqualizer(GRID, STREAMS, *s, **DOUBLE),
    "LinearDetector": lambda m, s: m.LinearDetector(
        "zf", "bit", "app", GRID, STREAMS, *s, "qam", BITS, **DOUBLE
    ),
    "KBestDetector": lambda m, s: m.KBestDetector(
        "bit", USERS, 8, GRID, STREAMS, *s, "qam", BITS, **DOUBLE
    ),
    "EPDetector": lambda m, s: m.EPDetector("bit", GRID, STREAMS, *s, BITS, l=2, **DOUBLE),
    "MMSEPICDetector": lambda m, s: m.MMSEPICDetector(
        "bit", "app", GRID, STREAMS, *s, 2, "qam", BITS, **DOUBLE
    ),
    "MaximumLikelihoodDetector": lambda m, s: m.MaximumLikelihoodDetector(
        "bit", "app", GRID, STREAMS, *s, "qam", BITS, **DOUBLE
    ),
    "MaximumLikelihoodDetectorWithPrior": lambda m, s: m.MaximumLikelihoodDetectorWithPrior(
        "symbol", "app", GRID, STREAMS, *s, "qam", BITS, **DOUBLE
    ),
}


@pytest.mark.parametrize("name", GRADIENTS)
@pytest.mark.parametrize("variant", ["view", "every symbol"])
def test_gradients_are_sionnas(name: str, variant: str) -> None:
    inputs = received(1, variant)
    given = with_prior(name, "symbol" if name.endswith("WithPrior") else "bit", inputs)
    found = []
    for block in pair(GRADIENTS[name]):
        # Of a view that repeats one symbol the gradient is that of the symbol.
        leaves = [value.detach().clone().requires_grad_() for value in given]
        if variant == "view":
            one = given[1][..., :1, :].clone().requires_grad_()
            leaves[1], spread = one, one.expand_as(given[1])
        else:
            spread = leaves[1]
        result = block(leaves[0], spread, *leaves[2:])
        total: Any = 0
        for number, value in enumerate(result if isinstance(result, tuple) else (result,)):
            weight = noise(*value.shape, seed=number)
            total = total + (weight.real * value.abs().square()).sum()
        found.append(torch.autograd.grad(total, leaves))
    for mine, other in zip(*found, strict=True):
        close(mine, other, 1e-4 if name == "EPDetector" else 1e-7)


def test_the_gradient_of_a_ratio() -> None:
    _, h, _, no = received(1, "every symbol")
    found = []
    for block in pair(lambda m, s: m.LMMSEPostEqualizationSINR(GRID, STREAMS, *s, **DOUBLE)):
        leaves = [h.clone().requires_grad_(), no.clone().requires_grad_()]
        total = block(*leaves).log().square().sum()
        found.append(torch.autograd.grad(total, leaves))
    for mine, other in zip(*found, strict=True):
        close(mine, other, 1e-8)


# What else Sionna's detectors take.


class FirstPath(List2LLR):
    """Looks at all that a list has."""

    def call(
        self, y: Tensor, r: Tensor, dists: Tensor, path_inds: Tensor, path_syms: Tensor
    ) -> Tensor:
        away = (y[:, None] - (r[:, None] @ path_syms[..., None])[..., 0]).abs().square().sum(-1)
        assert torch.allclose(away, dists) and path_inds.dtype == torch.int32
        size = dists[:, -1:] - dists[:, :1]
        return (path_inds[:, 0, :, None].double() - 7) * size[..., None].expand(-1, -1, BITS)


def test_a_list_of_candidates_goes_to_any_function() -> None:
    inputs = received(1, "one symbol")
    ours, theirs = pair(
        lambda m, s: m.KBestDetector(
            *("bit", USERS, 16, GRID, STREAMS, *s, "qam", BITS),
            list2llr=FirstPath(**DOUBLE),
            **DOUBLE,
        )
    )
    close(ours(*inputs), theirs(*inputs), 1e-9)


@pytest.mark.parametrize("kind", ["pam", "ring"])
def test_other_constellations(kind: str) -> None:
    inputs = received(1, "view")
    if kind == "pam":
        points = Constellation("pam", 2, **DOUBLE)
    else:
        ring = torch.exp(2j * torch.pi * torch.arange(8, dtype=torch.float64) / 8)
        points = Constellation("custom", 3, points=ring, **DOUBLE)
    num = int(points.num_bits_per_symbol)
    prior = noise(ITEMS, USERS, 1, NUM_DATA * num, seed=5).real
    options: dict[str, Any] = {"constellation": points} | DOUBLE
    makers: dict[str, Any] = {
        "best": lambda m, s: m.KBestDetector("bit", USERS, 7, GRID, STREAMS, *s, **options),
        "likely": lambda m, s: m.MaximumLikelihoodDetector(
            "bit", "app", GRID, STREAMS, *s, **options
        ),
        "cancelled": lambda m, s: m.MMSEPICDetector("bit", "app", GRID, STREAMS, *s, 2, **options),
    }
    for name, make in makers.items():
        ours, theirs = pair(make)
        y, h, *disturbed = inputs
        given = (y, h, prior, *disturbed) if name == "cancelled" else inputs
        close(ours(*given), theirs(*given), 1e-9)


def test_more_streams_than_antennas() -> None:
    """Of whom the noise tells nothing: likelihoods do not need that."""
    y, h, err_var, no = received(1, "view")
    y, h = y[:, :, :1], h[:, :, :1]
    for output in ("bit", "symbol"):
        ours, theirs = pair(
            lambda m, s, output=output: m.MaximumLikelihoodDetector(
                output, "app", GRID, STREAMS, *s, "qam", BITS, **DOUBLE
            )
        )
        close(ours(y, h, err_var, no), theirs(y, h, err_var, no), 1e-9)
    for name in ("ZFEqualizer", "KBestDetector"):
        with pytest.raises(ValueError, match="2 streams are more than the 1 antennas"):
            pair(GRADIENTS[name])[0](y, h, err_var, no)


def test_states_are_sionnas() -> None:
    for name, make in GRADIENTS.items():
        ours, theirs = pair(make)
        wanted = {key for key in theirs.state_dict() if not key.startswith(("_template", "_data"))}
        assert set(ours.state_dict()) == wanted, name


def test_a_copy_detects_alike() -> None:
    inputs = received(1, "view")
    for name, make in GRADIENTS.items():
        ours, _ = pair(make)
        given = with_prior(name, "symbol" if name.endswith("WithPrior") else "bit", inputs)
        first = ours(*given)
        again = copy.deepcopy(ours)(*given)
        together = [v if isinstance(v, tuple) else (v,) for v in (first, again)]
        for one, other in zip(*together, strict=True):
            assert torch.equal(one, other), name


def test_what_is_refused() -> None:
    y, h, err_var, no = received(1, "view")
    exact = nm.Exact()
    with pytest.raises(ValueError, match=r"prior has the shape \[2, 2, 1, 3\]"):
        pair(GRADIENTS["MMSEPICDetector"])[0](y, h, torch.zeros(2, 2, 1, 3), err_var, no)
    with pytest.raises(ValueError, match="num_streams is 3, stream_management has 2"):
        blocks.KBestDetector("bit", 3, 8, GRID, STREAMS, exact, "qam", BITS)
    with pytest.raises(TypeError, match="equalizer is function, the name of one"):
        blocks.LinearDetector(
            lambda y, h, s: (y, s), "bit", "app", GRID, STREAMS, exact, "qam", BITS
        )
    with pytest.raises(ValueError, match='"zero"'):
        blocks.LinearDetector("zero", "bit", "app", GRID, STREAMS, exact, "qam", BITS)
    with pytest.raises(ValueError, match="no has the shape"):
        blocks.LMMSEPostEqualizationSINR(GRID, STREAMS, exact)(h, torch.ones(3, 3))
    with pytest.raises(ValueError, match="negative"):
        blocks.LMMSEPostEqualizationSINR(GRID, STREAMS, exact)(h, torch.tensor(-1.0))
    spoilt = h.clone()
    spoilt[0, 0, 0, 0, 0, 1, 3] = torch.nan
    for name in ("ZFEqualizer", "MFEqualizer", "EPDetector", "KBestDetector"):
        with pytest.raises(ValueError, match="NaN or infinite"):
            pair(GRADIENTS[name])[0](y, spoilt, err_var, no)
    with pytest.raises(ValueError, match="needs a solver with trained links"):
        blocks.EPDetector("bit", GRID, STREAMS, exact, BITS, trust="model")


# Links of a model.


def uplink(model: nm.ScenarioModel) -> tuple[Any, Any, Tensor, Tensor]:
    """Grid and streams of a model's links, their channels, and y."""
    links = model.models["pseudo_inverse"].links
    num = links.num_rows
    rg = ofdm.ResourceGrid(2, links.fft_size, links.subcarrier_spacing, num_tx=num)
    h = links.channel(links.grid_frequencies(), [0, 1], dtype=torch.complex128)
    h = h.permute(0, 3, 2, 1)[:, None, :, :, None, None].expand(-1, -1, -1, -1, -1, 2, -1)
    y = noise(2, 1, links.num_cols, 2, links.fft_size, seed=1)
    return rg, StreamManagement(np.ones([1, num]), 1), h, y


def test_links_are_recognised(small_model: nm.ScenarioModel) -> None:
    rg, streams, h, y = uplink(small_model)
    options = {"precision": "single"}
    zero, no = torch.tensor(0.0), torch.tensor(0.01)
    block = blocks.ZFEqualizer(rg, streams, small_model, **options)
    found, expected = block(y, h, zero, no), ofdm.ZFEqualizer(rg, streams, **DOUBLE)(y, h, zero, no)
    assert block.stats.links_recalled == 2
    for one, other in zip(found, expected, strict=True):
        assert torch.linalg.vector_norm(one - other) < 1e-2 * torch.linalg.vector_norm(other)
    ratios = blocks.LMMSEPostEqualizationSINR(rg, streams, small_model, **options)
    right = ofdm.LMMSEPostEqualizationSINR(rg, streams, **DOUBLE)(h, no)
    assert ((ratios(h, no) - right).abs() < 0.05 * right).all()
    assert ratios.stats.links_recalled == 2


@pytest.mark.parametrize("name", ["ZFEqualizer", "MFEqualizer", "EPDetector", "KBestDetector"])
def test_named_links_are_taken_at_their_word(small_model: nm.ScenarioModel, name: str) -> None:
    """Whatever the estimate, the channel is the link's own."""
    rg, streams, h, y = uplink(small_model)
    num = int(streams.num_streams_per_rx)
    makers: dict[str, Any] = {
        "EPDetector": lambda m, s, **o: m.EPDetector("bit", rg, streams, *s, 2, l=3, **o),
        "KBestDetector": lambda m, s, **o: m.KBestDetector(
            "bit", num, 16, rg, streams, *s, "qam", 2, **o
        ),
    }
    plain = lambda m, s, **o: getattr(m, name)(rg, streams, *s, **o)  # noqa: E731
    make = makers.get(name, plain)
    estimate = h + 0.3 * noise(*h.shape, seed=2)
    zero, no = torch.tensor(0.0, dtype=torch.float64), torch.tensor(0.1, dtype=torch.float64)
    block = make(blocks, (small_model,), trust="model", **DOUBLE)
    found = block(y, estimate, zero, no, links=torch.tensor([0, 1]))
    expected = make(ofdm, (), **DOUBLE)(y, h, zero, no)
    together = [v if isinstance(v, tuple) else (v,) for v in (found, expected)]
    for one, other in zip(*together, strict=True):
        assert torch.linalg.vector_norm(one - other) < 2e-2 * torch.linalg.vector_norm(other)
    assert block.stats.links_trusted == 2
