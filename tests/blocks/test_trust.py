"""``trust="model"``: filters of named links, whatever the estimate that a block is given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LMMSEEqualizer, ResourceGrid, RZFPrecoder
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.blocks import (
    MMSEDetector,
    MMSEEqualizer,
    SVDBeamformer,
    SVDCombiner,
    ZFPrecodedChannel,
    ZFPrecoder,
)
from neumatc_mimo.solvers import Counts
from tests.blocks.common import close, noise
from tests.conftest import Trainer
from tests.warned import beyond, strangers, unwarned

SYMBOLS, FFT_SIZE, USERS, ANTENNAS = 3, 128, 3, 8
LINKS = torch.tensor([2, 0])
NO = 0.05
DOWN = StreamManagement(np.ones([USERS, 1]), USERS)
UP = StreamManagement(np.ones([1, USERS]), 1)
ONE = StreamManagement(np.ones([1, 1]), 2)
# What a certificate allows a queried filter, and more than that what single precision leaves.
CERTIFIED, SAME = 2e-2, 1e-5


@pytest.fixture(scope="module")
def model(write_scenario: Any, trained: Trainer) -> nm.ScenarioModel:
    return trained(nm.load_scenario(write_scenario()))


def grid(num_tx: int, num_streams: int) -> ResourceGrid:
    return ResourceGrid(SYMBOLS, FFT_SIZE, 480e3, num_tx=num_tx, num_streams_per_tx=num_streams)


def channel(model: nm.ScenarioModel, operation: str, links: Tensor = LINKS) -> Tensor:
    """The links' own channels, [batch_size, K, M, num_ofdm_symbols, fft_size], a view."""
    of = model.models[operation].links
    h = of.channel(of.grid_frequencies(), links).permute(0, 2, 3, 1)
    return h[..., None, :].expand(-1, -1, -1, SYMBOLS, -1)


def estimated(h: Tensor) -> Tensor:
    """An estimate far from h, another one in every OFDM symbol."""
    return h + 0.5 * noise(*h.shape, seed=3).to(h.dtype)


def downlink(h: Tensor) -> Tensor:
    return h[:, :, None, None]


def uplink(h: Tensor) -> Tensor:
    return h.transpose(1, 2)[:, None, :, :, None]


def symbols(*shape: int) -> Tensor:
    return noise(*shape, seed=1).to(torch.complex64)


def x_down() -> Tensor:
    return symbols(2, 1, USERS, SYMBOLS, FFT_SIZE)


def y_up() -> Tensor:
    return symbols(2, 1, ANTENNAS, SYMBOLS, FFT_SIZE)


@pytest.mark.parametrize("certify", ["link", "call", None])
@pytest.mark.parametrize("alpha", [0.0, NO])
def test_precoder_is_that_of_the_true_channel(
    model: nm.ScenarioModel, alpha: float, certify: str | None
) -> None:
    h = downlink(channel(model, "pseudo_inverse"))
    block = ZFPrecoder(grid(1, USERS), DOWN, model, certify=certify, trust="model")
    found = block(x_down(), estimated(h), alpha, LINKS)
    close(found, RZFPrecoder(grid(1, USERS), DOWN)(x_down(), h, alpha), CERTIFIED)
    recognised = ZFPrecoder(grid(1, USERS), DOWN, model, certify=certify)
    close(found, recognised(x_down(), h, alpha, LINKS), SAME)
    assert block.stats.links_trusted == 2
    assert block.stats.links_recalled == block.stats.links_unknown == 0
    assert "trust: model" in repr(block)


@pytest.mark.parametrize("certify", ["link", "call", None])
def test_equalizer_is_that_of_perfect_csi(model: nm.ScenarioModel, certify: str | None) -> None:
    h = uplink(channel(model, "pseudo_inverse"))
    block = MMSEEqualizer(grid(USERS, 1), UP, model, certify=certify, trust="model")
    # An error variance tells of the estimate, which is not used.
    err_var = torch.rand(h.shape, generator=torch.Generator().manual_seed(5))
    found = block(y_up(), estimated(h), err_var, NO, LINKS)
    perfect = LMMSEEqualizer(grid(USERS, 1), UP)(y_up(), h, torch.zeros(1), torch.tensor(NO))
    for one, other in zip(found, perfect, strict=True):
        close(one, other, CERTIFIED)


def test_svd_blocks_are_those_of_the_true_channel(model: nm.ScenarioModel) -> None:
    h = channel(model, "svd")[:, None, :, None]
    x, y = symbols(2, 1, 2, SYMBOLS, FFT_SIZE), symbols(2, 1, 4, SYMBOLS, FFT_SIZE)
    known = SVDBeamformer(grid(1, 2), ONE, model)(x, h, LINKS)
    trusting = SVDBeamformer(grid(1, 2), ONE, model, trust="model")
    close(trusting(x, estimated(h), LINKS), known, SAME)
    known = SVDCombiner(grid(1, 2), ONE, model)(y, h, NO, LINKS)
    for trusted in (model, nm.Cached(model)):
        trusting = SVDCombiner(grid(1, 2), ONE, trusted, trust="model")
        for _ in range(2):
            found = trusting(y, estimated(h), NO, LINKS)
            for one, other in zip(found, known, strict=True):
                close(one, other, 1e-4)
        assert trusting.stats.links_trusted == 4


def test_unknown_links_of_a_batch_are_computed_from_the_estimate(model: nm.ScenarioModel) -> None:
    links = torch.tensor([2, -1])
    h = channel(model, "pseudo_inverse")
    h_hat = estimated(h)
    block = MMSEEqualizer(grid(USERS, 1), UP, model, trust="model")
    found = block(y_up(), uplink(h_hat), 0.1, NO, links)
    named = MMSEEqualizer(grid(USERS, 1), UP, model)(y_up(), uplink(h), 0.0, NO)
    exact = MMSEEqualizer(grid(USERS, 1), UP, nm.Exact())(y_up(), uplink(h_hat), 0.1, NO)
    for one, first, second in zip(found, named, exact, strict=True):
        close(one, torch.stack([first[0], second[1]]), 1e-4)
    assert (block.stats.links_trusted, block.stats.links_unknown) == (1, SYMBOLS)
    assert block.stats.exact >= SYMBOLS * FFT_SIZE

    precoder = ZFPrecoder(grid(1, USERS), DOWN, model, True, trust="model")
    of_named = ZFPrecoder(grid(1, USERS), DOWN, model)(x_down(), downlink(h))
    of_exact = ZFPrecoder(grid(1, USERS), DOWN, nm.Exact())(x_down(), downlink(h_hat))
    x_precoded, h_eff = precoder(x_down(), downlink(h_hat), links=links)
    close(x_precoded, torch.stack([of_named[0], of_exact[1]]), 1e-4)
    # The effective channel is that of the channel given, symbol by symbol.
    gains = h_hat.permute(0, 3, 4, 1, 2) @ x_precoded[:, 0].permute(0, 2, 3, 1)[..., None]
    sent = h_eff[:, :, 0, 0].permute(0, 3, 4, 1, 2) @ x_down()[:, 0].permute(0, 2, 3, 1)[..., None]
    close(gains, sent, 1e-4)


def test_links_of_some_transmitters_only(model: nm.ScenarioModel) -> None:
    """Two cells: in each item another one's link is named."""
    association = np.kron(np.eye(2), np.ones([USERS, 1]))
    rg, sm = grid(2, USERS), StreamManagement(association, USERS)
    own = channel(model, "pseudo_inverse")
    h = symbols(2, 2 * USERS, 1, 2, ANTENNAS, SYMBOLS, FFT_SIZE)
    links = torch.tensor([[2, -1], [-1, 0]])
    true = h.clone()
    true[0, :USERS, 0, 0], true[1, USERS:, 0, 1] = own[0], own[1]
    x = symbols(2, 2, USERS, SYMBOLS, FFT_SIZE)
    found = ZFPrecoder(rg, sm, model, trust="model")(x, h, links=links)
    close(found, RZFPrecoder(rg, sm)(x, true), CERTIFIED)


def test_an_estimate_is_computed_exactly_by_default(model: nm.ScenarioModel) -> None:
    h_hat = uplink(estimated(channel(model, "pseudo_inverse")))
    exact = MMSEEqualizer(grid(USERS, 1), UP, nm.Exact())(y_up(), h_hat, 0.1, NO)
    for links in (None, LINKS):
        block = MMSEEqualizer(grid(USERS, 1), UP, model)
        with strangers():
            found = block(y_up(), h_hat, 0.1, NO, links)
        for one, other in zip(found, exact, strict=True):
            close(one, other, SAME)
        assert block.stats == Counts(links_unknown=2 * SYMBOLS, exact=2 * SYMBOLS * FFT_SIZE)


def test_noise_that_the_model_does_not_know(model: nm.ScenarioModel) -> None:
    h = uplink(channel(model, "pseudo_inverse"))
    block = MMSEEqualizer(grid(USERS, 1), UP, unwarned(model), trust="model")
    no = torch.tensor([NO, 100.0])
    perfect = LMMSEEqualizer(grid(USERS, 1), UP)(y_up(), h, torch.zeros(1), no)
    with beyond():
        found = block(y_up(), estimated(h), 0.1, no, LINKS)
    for one, other in zip(found, perfect, strict=True):
        close(one[1], other[1], 1e-4)
        close(one[0], other[0], CERTIFIED)


def test_precoded_channel_and_auto(model: nm.ScenarioModel) -> None:
    h = downlink(channel(model, "pseudo_inverse"))
    power = torch.ones(2, 1, USERS)
    known = ZFPrecodedChannel(grid(1, USERS), DOWN, model)(h, power)
    block = ZFPrecodedChannel(grid(1, USERS), DOWN, nm.Auto(model), trust="model")
    for _ in range(3):
        close(block(h, power, estimated(h), links=LINKS), known, 1e-4)
    assert block.stats.links_trusted == 6


def test_one_graph(model: nm.ScenarioModel) -> None:
    """Estimates change with the symbols, the graph does not look at them."""
    torch.compiler.reset()
    h = uplink(channel(model, "pseudo_inverse"))
    inputs = (y_up(), estimated(h), 0.1, NO)
    settings: dict[str, Any] = {"certify": None, "trust": "model", "time_varying": True}
    block = MMSEEqualizer(grid(USERS, 1), UP, model, **settings)
    compiled = torch.compile(block, fullgraph=True, backend="eager")
    for one, other in zip(compiled(*inputs, links=LINKS), block(*inputs, links=LINKS), strict=True):
        close(one, other, 1e-4)


REFUSALS = {
    "no links": ((0.1, NO, None), "needs links"),
    "a link that is none": ((0.1, NO, torch.tensor([0, 9])), "links has the entry 9"),
    "noise of antennas": ((0.1, torch.rand(2, 1, ANTENNAS), LINKS), "equal at all antennas"),
}


@pytest.mark.parametrize("inputs, message", REFUSALS.values(), ids=REFUSALS)
def test_what_cannot_be_trusted_is_refused(
    model: nm.ScenarioModel, inputs: Any, message: str
) -> None:
    h = uplink(channel(model, "pseudo_inverse"))
    block = MMSEDetector("bit", "app", grid(USERS, 1), UP, model, "qam", 2, trust="model")
    with pytest.raises(ValueError, match=message):
        block(y_up(), h, *inputs)


def test_noise_over_subcarriers_is_refused(model: nm.ScenarioModel) -> None:
    block = ZFPrecoder(grid(1, USERS), DOWN, model, trust="model")
    h, alpha = downlink(channel(model, "pseudo_inverse")), torch.linspace(0.1, 0.2, FFT_SIZE)
    with pytest.raises(ValueError, match="the same on all subcarriers"):
        block(x_down(), h, alpha, LINKS)


@pytest.mark.parametrize("solver", [nm.Exact(), nm.Spline(16), nm.Auto(nm.Exact())])
def test_solvers_that_know_no_links_are_refused(solver: Any) -> None:
    with pytest.raises(ValueError, match="needs a solver with trained links"):
        ZFPrecoder(grid(1, USERS), DOWN, solver, trust="model")
    with pytest.raises(ValueError, match="trust is 'true'"):
        ZFPrecoder(grid(1, USERS), DOWN, solver, trust="true")
