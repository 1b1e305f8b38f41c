"""Gradients of blocks are those of Sionna's blocks in double precision, for every input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
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
from neumatc_mimo.operations.definite_inverse import definite_inverse
from neumatc_mimo.solvers import Cached
from tests.blocks.common import noise

USERS, ANTENNAS, SYMBOLS, FFT_SIZE = 3, 6, 3, 12
DOWN, UP = StreamManagement(np.ones([USERS, 1]), USERS), StreamManagement(np.ones([1, USERS]), 1)
LIMITS = {"double": (torch.float64, 1e-5), "single": (torch.float32, 1e-3)}

# What a block is called with, by name; all of them tensors.
Given = dict[str, Tensor]
Block = Callable[..., Any]


def grid(num_tx: int, num_streams: int, fft_size: int = FFT_SIZE) -> ResourceGrid:
    return ResourceGrid(SYMBOLS, fft_size, 120e3, num_tx=num_tx, num_streams_per_tx=num_streams)


def powers(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 + torch.rand(*shape, dtype=torch.float64, generator=generator)


def channel(time: str, fft_size: int) -> Tensor:
    """[2, USERS, ANTENNAS, SYMBOLS, fft_size]: symbols equal, equal in part or all different."""
    h = noise(2, USERS, ANTENNAS, 1, fft_size, seed=1).repeat(1, 1, 1, SYMBOLS, 1)
    if time == "one symbol":
        h[..., 1, :] += noise(*h.shape[:3], fft_size, seed=2)
    elif time == "every symbol":
        h += noise(*h.shape, seed=2)
    return h


def constant(value: float, *shape: int) -> Tensor:
    return torch.full(shape, value, dtype=torch.float64)


def precoding(h: Tensor, alpha: Tensor) -> Given:
    """From h [batch_size, USERS, num_tx_ant, SYMBOLS, fft_size]."""
    x = noise(len(h), 1, USERS, *h.shape[3:], seed=3)
    return {"x": x, "h": h[:, :, None, None], "alpha": alpha}


def equalizing(h: Tensor, err_var: Tensor, no: Tensor) -> Given:
    y = noise(len(h), 1, h.shape[2], *h.shape[3:], seed=3)
    h = h.transpose(1, 2)[:, None, :, :, None]
    return {"y": y, "h_hat": h, "err_var": err_var, "no": no}


def gradients(block: Block, given: Given, dtype: torch.dtype, wanted: Any = None) -> Given:
    """Gradients of a random scalar of a block's outputs, in double precision."""
    names = list(given) if wanted is None else wanted
    inputs = {name: value.to(_kind(value, dtype)).clone() for name, value in given.items()}
    for name in names:
        inputs[name].requires_grad_()
    found = torch.autograd.grad(loss(block(*inputs.values())), [inputs[name] for name in names])
    return {name: g.to(_kind(g, torch.float64)) for name, g in zip(names, found, strict=True)}


def loss(outputs: Any) -> Tensor:
    """The same random combination of all outputs and their powers, whatever the precision."""
    total = torch.zeros((), dtype=torch.float64)
    for i, output in enumerate(outputs if isinstance(outputs, tuple) else (outputs,)):
        output = output.to(_kind(output, torch.float64))
        weight = noise(*output.shape, seed=10 + i)
        total = total + (output * weight).real.sum() + (output.abs() ** 2 * weight.real).sum()
    return total


def same(ours: Given, theirs: Given, limit: float) -> None:
    for name, expected in theirs.items():
        error = torch.linalg.vector_norm(ours[name] - expected)
        assert error < limit * torch.linalg.vector_norm(expected), name


def _kind(value: Tensor, dtype: torch.dtype) -> torch.dtype:
    return dtype.to_complex() if value.is_complex() else dtype


def blocks_of(given: Given, solver: nm.Solver, precision: str) -> tuple[Block, Block]:
    """Our block and Sionna's, the latter in double precision."""
    fft_size = next(iter(given.values())).shape[-1]
    if "x" in given:
        settings = grid(1, USERS, fft_size), DOWN
        ours = ZFPrecoder(*settings, solver, True, precision=precision)
        return ours, RZFPrecoder(*settings, True, precision="double")
    if "tx_power" in given:
        settings = grid(1, USERS, fft_size), DOWN
        ours = ZFPrecodedChannel(*settings, solver, precision=precision)
        return ours, RZFPrecodedChannel(*settings, precision="double")
    settings = grid(USERS, 1, fft_size), UP
    ours = MMSEEqualizer(*settings, solver, precision=precision)
    return ours, LMMSEEqualizer(*settings, precision="double")


# Entries of one value are not one entry: each has its own gradient.
ALPHAS = {
    "one": constant(0.3),
    "equal": constant(0.3, 2, 1, SYMBOLS, FFT_SIZE),
    "zero": constant(0.0, 2, 1, 1, 1),
    "all": powers(2, 1, SYMBOLS, FFT_SIZE, seed=4),
}
NOISES = {
    "one": (constant(0.1), constant(0.3)),
    "equal": (
        constant(0.1, 2, 1, ANTENNAS, USERS, 1, SYMBOLS, FFT_SIZE),
        constant(0.3, 2, 1, ANTENNAS),
    ),
    "all": (
        powers(2, 1, ANTENNAS, USERS, 1, SYMBOLS, FFT_SIZE, seed=4),
        powers(2, 1, ANTENNAS, seed=5),
    ),
}
CASES = [("one symbol", "one"), ("constant", "equal"), ("every symbol", "all")]


@pytest.mark.parametrize("precision", LIMITS)
@pytest.mark.parametrize("time, power", [*CASES, ("constant", "zero")])
def test_precoder_has_sionnas_gradients(time: str, power: str, precision: str) -> None:
    given = precoding(channel(time, FFT_SIZE), ALPHAS[power])
    _compare(given, nm.Exact(), precision)


@pytest.mark.parametrize("precision", LIMITS)
@pytest.mark.parametrize("time, power", CASES)
def test_equalizer_has_sionnas_gradients(time: str, power: str, precision: str) -> None:
    given = equalizing(channel(time, FFT_SIZE), *NOISES[power])
    _compare(given, nm.Exact(), precision)


@pytest.mark.parametrize("time, power", CASES)
def test_precoded_channel_has_sionnas_gradients(time: str, power: str) -> None:
    h = channel(time, FFT_SIZE)[:, :, None, None]
    given = {
        "h": h,
        "tx_power": powers(2, 1, USERS, SYMBOLS, FFT_SIZE, seed=6),
        "h_hat": h + 0.1 * noise(2, USERS, 1, 1, ANTENNAS, 1, FFT_SIZE, seed=7),
        "alpha": ALPHAS[power],
    }
    _compare(given, nm.Exact(), "double")


@pytest.mark.parametrize("precision", LIMITS)
def test_many_matrices(precision: str) -> None:
    """They are eliminated together, in place."""
    h = channel("constant", 140)
    _compare(precoding(h, constant(0.3)), nm.Exact(), precision)
    _compare(equalizing(h, constant(0.1), constant(0.3)), nm.Exact(), precision)


@pytest.mark.parametrize("solver", [nm.Spline(6), nm.Cached(nm.Exact())], ids=["spline", "cached"])
def test_other_solvers(solver: nm.Solver) -> None:
    h = channel("constant", FFT_SIZE)
    for given in (
        precoding(h, constant(0.3)),
        equalizing(h, constant(0.1), constant(0.3)),
    ):
        # A cached solver has seen the channel before.
        blocks_of(given, solver, "double")[0](*given.values())
        _compare(given, solver, "double")


@pytest.mark.parametrize("way", ["model", "auto", "cached"])
def test_recognised_links(small_model: nm.ScenarioModel, way: str) -> None:
    links = small_model.models["pseudo_inverse"].links
    h = links.channel(links.grid_frequencies(), torch.tensor([2, 0])).permute(0, 2, 3, 1)
    h = h[..., None, :].repeat(1, 1, 1, SYMBOLS, 1)
    solver = {
        "model": small_model,
        "auto": nm.Auto(small_model),
        "cached": nm.Cached(small_model),
    }[way]
    for given in (
        precoding(h.to(torch.complex128), constant(0.05)),
        equalizing(h.to(torch.complex128), constant(0.0), constant(0.05)),
    ):
        ours, theirs = blocks_of(given, solver, "single")
        found = gradients(ours, given, torch.float32)
        assert ours.stats.exact == len(h) * SYMBOLS * h.shape[-1]  # type: ignore[attr-defined]
        same(found, gradients(theirs, given, torch.float64), 1e-3)


def test_no_gradient_costs_no_query(small_model: nm.ScenarioModel) -> None:
    """Symbols alone, and calls under no_grad, are served as ever."""
    links = small_model.models["pseudo_inverse"].links
    h = links.channel(links.grid_frequencies(), torch.tensor([2, 0])).permute(0, 2, 3, 1)
    h = h[..., None, :].repeat(1, 1, 1, SYMBOLS, 1)
    given = precoding(h.to(torch.complex128), constant(0.05))
    ours, _ = blocks_of(given, small_model, "single")
    found = gradients(ours, given, torch.float32, ["x"])
    with torch.no_grad():
        ours(*(value.to(_kind(value, torch.float32)).requires_grad_() for value in given.values()))
    assert ours.stats.links_recalled == 2 * len(h)  # type: ignore[attr-defined]
    exact, _ = blocks_of(given, nm.Exact(), "single")
    same(found, gradients(exact, given, torch.float32, ["x"]), 2e-2)


@pytest.mark.parametrize("wanted", [["x"], ["h"], ["alpha"], ["x", "alpha"]])
def test_some_inputs_of_a_precoder(wanted: list[str]) -> None:
    given = precoding(channel("constant", FFT_SIZE), ALPHAS["equal"])
    _compare(given, nm.Exact(), "double", wanted)


@pytest.mark.parametrize("wanted", [["y"], ["h_hat"], ["err_var"], ["no"], ["err_var", "no"]])
def test_some_inputs_of_an_equalizer(wanted: list[str]) -> None:
    given = equalizing(channel("constant", FFT_SIZE), *NOISES["equal"])
    _compare(given, nm.Exact(), "double", wanted)


@pytest.mark.parametrize("time_varying", [None, False])
def test_a_view_that_repeats_one_symbol(time_varying: bool | None) -> None:
    """The gradient is asked of the one symbol, which is computed once, or of each of its copies."""
    one = channel("constant", FFT_SIZE)[:, :, None, None, :, :1]
    x = noise(2, 1, USERS, SYMBOLS, FFT_SIZE, seed=3)
    settings = grid(1, USERS), DOWN
    ours = ZFPrecoder(*settings, nm.Exact(), precision="double", time_varying=time_varying)
    theirs = RZFPrecoder(*settings, precision="double")
    found = []
    for block in (ours, theirs):
        h = one.clone().requires_grad_()
        view = h.expand(-1, -1, -1, -1, -1, SYMBOLS, -1)
        found += torch.autograd.grad(loss(block(x, view)), h)
    assert ours.stats.exact == 2 * FFT_SIZE
    for block in (ours, theirs):
        h = one.expand(-1, -1, -1, -1, -1, SYMBOLS, -1).detach().requires_grad_()
        found += torch.autograd.grad(loss(block(x, h)), h)
    for mine, yours in (found[:2], found[2:]):
        torch.testing.assert_close(mine, yours, rtol=1e-5, atol=1e-8)


def test_a_second_backward() -> None:
    """Twice through the same graph, and once through that of the gradient."""
    given = equalizing(channel("one symbol", 140), constant(0.1), constant(0.3))
    ours, theirs = blocks_of(given, nm.Exact(), "double")
    found = []
    for block in (ours, theirs):
        h = given["h_hat"].clone().requires_grad_()
        value = loss(block(given["y"], h, given["err_var"], given["no"]))
        once = torch.autograd.grad(value, h, retain_graph=True)[0]
        (again,) = torch.autograd.grad(value, h, create_graph=True)
        assert torch.equal(once, again)
        found.append(torch.autograd.grad(again.abs().square().sum(), h)[0])
    error = torch.linalg.vector_norm(found[0] - found[1])
    assert error < 1e-5 * torch.linalg.vector_norm(found[1])


def test_detector_has_sionnas_gradients() -> None:
    given = equalizing(channel("constant", FFT_SIZE), constant(0.1), constant(0.3))
    settings = grid(USERS, 1), UP
    ours = MMSEDetector("bit", "app", *settings, nm.Exact(), "qam", 4, precision="double")
    theirs = LinearDetector("lmmse", "bit", "app", *settings, "qam", 4, precision="double")
    found, expected = (gradients(block, given, torch.float64) for block in (ours, theirs))
    same(found, expected, 1e-5)


def test_interference_and_noise_that_are_whitened() -> None:
    """Two cells of four streams on three antennas, and a channel of equal subcarriers."""
    sm = StreamManagement(np.kron(np.eye(2), np.ones([1, 2])), 1)
    h = noise(1, 2, 3, 4, 1, 1, 1, seed=1).repeat(1, 1, 1, 1, 1, SYMBOLS, FFT_SIZE)
    y = noise(1, 2, 3, SYMBOLS, FFT_SIZE, seed=3)
    given = {"y": y, "h_hat": h, "err_var": constant(0.1), "no": powers(1, 2, 3, seed=5)}
    ours = MMSEEqualizer(grid(4, 1), sm, nm.Exact(), precision="double")
    theirs = LMMSEEqualizer(grid(4, 1), sm, precision="double")
    found, expected = (gradients(block, given, torch.float64) for block in (ours, theirs))
    same(found, expected, 1e-5)


OTHERS = {
    "slnr": (SLNRPrecoder, 2, ANTENNAS),
    "bd": (BDPrecoder, 2, None),
    "max_min": (MaxMinPrecoder, 1, ANTENNAS),
    "wmmse": (WMMSEPrecoder, 1, ANTENNAS),
    "beams": (SVDBeamformer, 4, None),
}


@pytest.mark.parametrize("cls, num_rx_ant, power", OTHERS.values(), ids=OTHERS)
def test_precoders_that_sionna_has_not(cls: Any, num_rx_ant: int, power: int | None) -> None:
    """Against differences of the block's own values."""
    num_streams = 2 if cls is SVDBeamformer else 4
    num_rx = 4 // num_rx_ant
    sm = StreamManagement(np.ones([num_rx, 1]), num_streams)
    block = cls(grid(1, num_streams), sm, nm.Exact(), precision="double")
    x = noise(1, 1, num_streams, SYMBOLS, FFT_SIZE, seed=3)
    h = noise(1, num_rx, num_rx_ant, 1, 8, 1, FFT_SIZE, seed=1).repeat(1, 1, 1, 1, 1, SYMBOLS, 1)
    no = () if power is None else (0.2,)
    _follows(lambda h: loss(block(x, h, *no)), h)


@pytest.mark.parametrize("power", ["uniform", "waterfilling"])
def test_combiner(power: Any) -> None:
    rg, sm = grid(1, 2), StreamManagement(np.ones([1, 1]), 2)
    block = SVDCombiner(rg, sm, nm.Exact(), power=power, precision="double")
    y = noise(1, 1, 4, SYMBOLS, FFT_SIZE, seed=3)
    h = noise(1, 1, 4, 1, 8, 1, FFT_SIZE, seed=1).repeat(1, 1, 1, 1, 1, SYMBOLS, 1)
    _follows(lambda h: loss(block(y, h, 0.2)), h)
    _follows(lambda no: loss(block(y, h, no)), constant(0.2, 1, 1, 4))


@pytest.mark.parametrize("way", ["exact", "model", "auto"])
def test_a_network_that_refines_h_is_trained_alike(small_model: nm.ScenarioModel, way: str) -> None:
    """A correction of scale 0 over the estimate, which is a link's channel at the first step."""
    solver = {"exact": nm.Exact(), "model": small_model, "auto": nm.Auto(small_model)}[way]
    links = small_model.models["pseudo_inverse"].links
    h = links.channel(links.grid_frequencies(), torch.tensor([2])).permute(0, 2, 3, 1)
    h = h[..., None, :].repeat(1, 1, 1, SYMBOLS, 1)
    given = equalizing(h.to(torch.complex128), constant(0.0), constant(0.05))
    scales = []
    for block, dtype in zip(
        blocks_of(given, solver, "single"), (torch.float32, torch.float64), strict=True
    ):
        y, estimate, err_var, no = (v.to(_kind(v, dtype)) for v in given.values())
        correction = noise(*estimate.shape, seed=8).to(estimate.dtype)
        scale = torch.zeros(USERS, dtype=dtype, requires_grad=True)
        optimiser = torch.optim.SGD([scale], lr=1.0)
        for _ in range(3):
            optimiser.zero_grad()
            refined = estimate * (1 + scale[:, None, None, None] * correction)
            x_hat, no_eff = block(y, refined, err_var, no)
            value = (x_hat.abs().square() + no_eff).log().mean()
            value.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        scales.append(scale.detach().double())
    torch.testing.assert_close(*scales, rtol=1e-3, atol=1e-5)
    assert scales[1].abs().max() > 1e-3


def test_zero_noise_is_refused_with_a_gradient_or_without() -> None:
    block = WMMSEPrecoder(grid(1, USERS), DOWN, nm.Exact(), precision="double")
    given = precoding(channel("constant", FFT_SIZE), constant(0.0).requires_grad_())
    with pytest.raises(ValueError, match="no is zero"):
        block(*given.values())


def test_transforms_of_functions() -> None:
    given = equalizing(channel("constant", FFT_SIZE), constant(0.1), constant(0.3))
    ours, theirs = blocks_of(given, nm.Exact(), "double")
    y, h, err_var, no = given.values()
    found, expected = (
        torch.func.grad(lambda h, block=block: loss(block(y, h, err_var, no)))(h)
        for block in (ours, theirs)
    )
    same({"h": found}, {"h": expected}, 1e-5)


@pytest.mark.parametrize("kind", ["exact", "cached", "model", "auto"])
@pytest.mark.parametrize("time", ["constant", "every symbol"])
@pytest.mark.parametrize("fft_size", [FFT_SIZE, 192])
def test_blocks_are_mapped(
    small_model: nm.ScenarioModel, kind: str, time: str, fft_size: int
) -> None:
    """Under ``vmap`` as one call after the other, and so are gradients there."""
    solvers = {"cached": Cached(nm.Exact()), "model": small_model, "auto": nm.Auto(small_model)}
    given = equalizing(channel(time, fft_size), constant(0.1), constant(0.3))
    ours, theirs = blocks_of(given, solvers.get(kind, nm.Exact()), "double")
    y, h, err_var, no = given.values()
    pairs = [
        (lambda block: lambda y, h: block(y, h, err_var, no), (y[:, None], h[:, None])),
        (lambda block: lambda no: block(y, h, err_var, no), (powers(3, seed=5),)),
        (
            lambda block: torch.func.grad(
                lambda h: sum(v.abs().square().sum() for v in block(y[:1], h, err_var, no))
            ),
            (h[:, None],),
        ),
    ]
    for function, inputs in pairs:
        found, expected = (torch.vmap(function(block))(*inputs) for block in (ours, theirs))
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["x", "h", "alpha", "tx_power"])
def test_every_input_is_mapped(name: str) -> None:
    """One input stands for many, the others for themselves."""
    given = precoding(channel("one symbol", FFT_SIZE), constant(0.3))
    if name == "tx_power":
        power = powers(2, 1, USERS, seed=6)
        given = {"h": given["h"], "tx_power": power, "h_hat": given["h"], "alpha": given["alpha"]}
    ours, theirs = blocks_of(given, nm.Exact(), "double")
    many = given[name] * powers(3, *[1] * given[name].dim(), seed=7)
    found, expected = (
        torch.vmap(lambda one, block=block: block(*(given | {name: one}).values()))(many)
        for block in (ours, theirs)
    )
    torch.testing.assert_close(found, expected)


def test_symbols_are_mapped(small_model: nm.ScenarioModel) -> None:
    """One channel for many symbols: a model answers once."""
    links = small_model.models["pseudo_inverse"].links
    h = links.channel(links.grid_frequencies(), torch.tensor([2]), dtype=torch.complex128)
    given = precoding(
        h.permute(0, 2, 3, 1)[..., None, :].expand(-1, -1, -1, SYMBOLS, -1), constant(0.0)
    )
    x = noise(4, *given["x"].shape, seed=5)
    for solver in (nm.Exact(), small_model):
        ours, theirs = blocks_of(given, solver, "double")
        found = torch.vmap(lambda x, block=ours: block(x, given["h"])[0])(x)
        expected = torch.vmap(lambda x, block=theirs: block(x, given["h"])[0])(x)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_other_blocks_are_mapped() -> None:
    for cls, num_rx_ant, power in OTHERS.values():
        num_streams = 2 if cls is SVDBeamformer else 4
        sm = StreamManagement(np.ones([4 // num_rx_ant, 1]), num_streams)
        block = cls(grid(1, num_streams), sm, nm.Exact(), precision="double")
        x = noise(2, 1, 1, num_streams, SYMBOLS, FFT_SIZE, seed=3)
        h = noise(2, 1, 4 // num_rx_ant, num_rx_ant, 1, 8, SYMBOLS, FFT_SIZE, seed=1)
        no = () if power is None else (0.2,)
        found = torch.vmap(lambda x, h, block=block, no=no: block(x, h, *no))(x, h)
        each = [block(one, channel, *no) for one, channel in zip(x, h, strict=True)]
        torch.testing.assert_close(found, torch.stack(each))
    block = SVDCombiner(grid(1, 2), StreamManagement(np.ones([1, 1]), 2), nm.Exact(), "double")
    y = noise(2, 1, 1, 4, SYMBOLS, FFT_SIZE, seed=3)
    h = noise(2, 1, 1, 4, 1, 8, SYMBOLS, FFT_SIZE, seed=1)
    found = torch.vmap(lambda y, h: block(y, h, 0.2))(y, h)
    each = [block(one, channel, 0.2) for one, channel in zip(y, h, strict=True)]
    for ours, *others in zip(found, *each, strict=True):
        torch.testing.assert_close(ours, torch.stack(others))


def test_compiled_blocks(small_model: nm.ScenarioModel) -> None:
    """Compiled, the same choices are made of what requires a gradient."""
    given = precoding(channel("constant", 192).to(torch.complex64), constant(0.3))
    ours, theirs = blocks_of(given, small_model, "double")
    compiled = torch.compile(ours, backend="eager")
    found, expected = (gradients(b, given, torch.float64) for b in (compiled, theirs))
    same(found, expected, 1e-5)


# PyTorch's own, when forward mode is first used.
def test_inverse_has_the_derivatives_of_linalg() -> None:
    """By reverse and forward mode, mapped over a batch, and of a batch of one bad matrix."""
    root = noise(300, 3, 5, seed=1)
    a = root @ root.mH
    tangent = noise(300, 3, 3, seed=2)
    tangent = tangent + tangent.mH
    expected = torch.func.jvp(torch.linalg.inv, (a,), (tangent,))
    for ours, theirs in zip(
        torch.func.jvp(definite_inverse, (a,), (tangent,)), expected, strict=True
    ):
        torch.testing.assert_close(ours, theirs)

    def power(inverse: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda root: inverse(root @ root.mH).abs().square().sum()

    batch = root[:4]
    for mapped in (torch.func.grad, lambda f: torch.func.vmap(torch.func.grad(f))):
        ours, theirs = (mapped(power(f))(batch) for f in (definite_inverse, torch.linalg.inv))
        torch.testing.assert_close(ours, theirs)
    bad = a.clone()
    bad[7] = -bad[7]
    bad.requires_grad_()
    (gradient,) = torch.autograd.grad(definite_inverse(bad).real.sum(), bad)
    assert gradient[7].isnan().any() and gradient[8:].isfinite().all()


def _compare(given: Given, solver: nm.Solver, precision: str, wanted: Any = None) -> None:
    ours, theirs = blocks_of(given, solver, precision)
    dtype, limit = LIMITS[precision]
    found = gradients(ours, given, dtype, wanted)
    same(found, gradients(theirs, given, torch.float64, wanted), limit)


def _follows(f: Callable[[Tensor], Tensor], at: Tensor) -> None:
    """The derivative of f along a random direction is that of differences."""
    at = at.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(f(at), at)
    step = 1e-6 * noise(*at.shape, seed=9)
    step = step if at.is_complex() else step.real
    with torch.no_grad():
        difference = f(at + step) - f(at - step)
    along = 2 * (gradient.conj() * step).real.sum()
    torch.testing.assert_close(along, difference, rtol=1e-5, atol=1e-12)
