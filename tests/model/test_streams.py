"""Every number of streams: models trained for it, and models of more streams that serve it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.blocks import SVDBeamformer, SVDCombiner
from neumatc_mimo.operations.svd import SVD
from tests.conftest import Trainer

ROWS, COLS, SYMBOLS, NO = 4, 8, 2, 0.05


def _scenario(write_scenario: Any, num_streams: int) -> nm.Scenario:
    file = write_scenario(
        grid={"fft_size": 256, "subcarrier_spacing": 120e3},
        multi_user=None,
        single_user={"ue": [ROWS, 1], "num_streams": num_streams, "num_links": 2}
        | {"min_singular_ratio": 1e-3},
        model={"width": 128, "samples": 96, "collocation": 192},
    )
    return nm.load_scenario(file)


@pytest.fixture(scope="module")
def models(write_scenario: Any, trained: Trainer) -> dict[int, nm.ScenarioModel]:
    """A model for each number of streams, from one to as many as the user has antennas."""
    return {num: trained(_scenario(write_scenario, num)) for num in range(1, ROWS + 1)}


def _received(
    solver: Any, h: Tensor, x: Tensor, links: Tensor | None, power: str
) -> tuple[Tensor, Tensor, Tensor, Any]:
    """Precoded grid, symbols and noise after the combiner, and the blocks' counts."""
    num_streams = x.shape[2]
    rg = ResourceGrid(SYMBOLS, h.shape[-1], 120e3, num_tx=1, num_streams_per_tx=num_streams)
    sm = StreamManagement(np.ones([1, 1]), num_streams)
    beamformer = SVDBeamformer(rg, sm, solver, power=power)
    combiner = SVDCombiner(rg, sm, solver, power=power)
    x_precoded = beamformer(x, h, links, no=NO)
    y = torch.einsum("brmtnsf,btnsf->brmsf", h, x_precoded)
    return x_precoded, *combiner(y, h, NO, links), beamformer.stats


@pytest.mark.parametrize("power", ["uniform", "waterfilling"])
@pytest.mark.parametrize("recognised", [True, False])
@pytest.mark.parametrize(
    ("most", "asked"),
    [(most, asked) for most in range(1, ROWS + 1) for asked in range(1, most + 1)],
)
def test_streams_of_a_model_are_the_exact_ones(
    models: dict[int, nm.ScenarioModel], most: int, asked: int, recognised: bool, power: str
) -> None:
    model = models[most]
    links = model.models["svd"].links
    h = links.channel(links.grid_frequencies()).permute(0, 2, 3, 1)[:, None, :, None, :, None]
    # A channel that no link is, too: its streams are computed.
    h = torch.cat([h, h[:1] + 0.5 * h[1:].flip(2)]).expand(*[-1] * 5, SYMBOLS, -1)
    g = torch.Generator().manual_seed(asked)
    x = torch.randn(3, 1, asked, *h.shape[-2:], dtype=torch.complex64, generator=g)
    index = None if recognised else torch.tensor([0, 1, -1])
    precoded, x_hat, no_eff, stats = _received(model, h, x, index, power)
    expected, _, their_no_eff, _ = _received(nm.Exact(), h, x, None, power)
    assert (stats.links_recalled, stats.links_unknown) == (2, 1)
    assert torch.linalg.norm(precoded - expected) < 1e-2 * torch.linalg.norm(expected)
    on = their_no_eff.isfinite() & no_eff.isfinite()
    assert on.double().mean() >= their_no_eff.isfinite().double().mean() - 1e-3
    # A symbol's error is that of the triplets over its own strength.
    sent = x.flatten(-2)
    assert ((x_hat - sent)[on].abs().square() <= 1e-3 * (1 + no_eff[on])).double().mean() > 0.995
    assert ((no_eff / their_no_eff)[on] - 1).abs().median() < 1e-2


def test_the_strongest_triplets_are_the_first() -> None:
    g = torch.Generator().manual_seed(0)
    a = torch.randn(5, ROWS, COLS, dtype=torch.complex64, generator=g)
    whole, few = SVD(ROWS).solve(a), SVD(2).restricted(SVD(ROWS).solve(a))
    assert torch.equal(few.s, whole.s[..., :2])
    assert torch.equal(few.u, whole.u[..., :2]) and torch.equal(few.v, whole.v[..., :2])
    turned = whole.complete()._replace(order=torch.arange(ROWS - 1, -1, -1).expand(5, ROWS))
    reordered = turned.strongest(2)
    assert torch.allclose(reordered.v, turned.v[..., :2])
    x = torch.randn(5, 2, 3, dtype=torch.complex64, generator=g)
    assert torch.allclose(turned.right @ reordered.before(x), reordered.v @ x, atol=1e-5)


def test_combiners_of_several_numbers_of_streams_share_a_model(
    models: dict[int, nm.ScenarioModel],
) -> None:
    """What a model keeps between calls is not taken for another number of streams."""
    links = models[3].models["svd"].links
    h = links.channel(links.grid_frequencies()).permute(0, 2, 3, 1)[:, None, :, None, :, None]
    h = h.expand(*[-1] * 5, SYMBOLS, -1)
    for num_streams in (3, 1, 2, 3):
        x = torch.ones(2, 1, num_streams, *h.shape[-2:], dtype=torch.complex64)
        _, _, no_eff, stats = _received(models[3], h, x, torch.tensor([0, 1]), "uniform")
        _, _, expected, _ = _received(nm.Exact(), h, x, None, "uniform")
        assert stats.links_recalled == 2
        assert ((no_eff / expected - 1).abs() < 2e-2).double().mean() > 0.99


@pytest.mark.parametrize("power", ["uniform", "waterfilling"])
@pytest.mark.parametrize("recognised", [True, False])
def test_cells_are_recalled_by_their_links(
    models: dict[int, nm.ScenarioModel], recognised: bool, power: str
) -> None:
    """Two base stations, each with a link of its own, in the other one's weak interference."""
    links = models[2].models["svd"].links
    own = links.channel(links.grid_frequencies()).permute(0, 2, 3, 1)  # [2, ROWS, COLS, F]
    h = 0.1 * torch.stack([own, own.flip(0, 2)], dim=2)  # [rx, ROWS, tx, COLS, F]
    h[[0, 1], :, [0, 1]] = own
    h = h[None, ..., None, :].expand(*[-1] * 5, SYMBOLS, -1)
    rg = ResourceGrid(SYMBOLS, h.shape[-1], 120e3, num_tx=2, num_streams_per_tx=2)
    sm = StreamManagement(np.eye(2), 2)
    g = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, 2, *h.shape[-2:], dtype=torch.complex64, generator=g)
    index = None if recognised else torch.tensor([[0, 1]])
    results = []
    for solver in (models[2], nm.Exact()):
        beamformer = SVDBeamformer(rg, sm, solver, power=power)
        combiner = SVDCombiner(rg, sm, solver, power=power)
        precoded = beamformer(x, h, index, no=NO)
        y = torch.einsum("brmtnsf,btnsf->brmsf", h, precoded)
        results.append((precoded, *combiner(y, h, NO, index), beamformer.stats, combiner.stats))
    (precoded, x_hat, no_eff, *stats), (expected, their_hat, their_no_eff, *_) = results
    assert [count.links_recalled for count in stats] == [2, 2]
    assert torch.linalg.norm(precoded - expected) < 1e-2 * torch.linalg.norm(expected)
    on = no_eff.isfinite() & their_no_eff.isfinite()
    assert ((no_eff / their_no_eff)[on] - 1).abs().median() < 1e-2
    assert ((x_hat - their_hat)[on].abs().square() < 1e-2 * no_eff[on]).double().mean() > 0.99


def test_more_streams_than_a_model_has_are_computed_exactly(
    models: dict[int, nm.ScenarioModel],
) -> None:
    links = models[2].models["svd"].links
    h = links.channel(links.grid_frequencies()).permute(0, 2, 3, 1)[:, None, :, None, :, None]
    h = h.expand(*[-1] * 5, SYMBOLS, -1)
    x = torch.zeros(2, 1, 3, *h.shape[-2:], dtype=torch.complex64)
    with pytest.warns(nm.NeuMatCWarning, match="The model knows .*'num_streams': 2") as given:
        found = _received(models[2], h, x, None, "uniform")
    assert len(given) == 1
    expected = _received(nm.Exact(), h, x, None, "uniform")
    for ours, theirs in zip(found[:2], expected[:2], strict=True):
        assert torch.equal(ours, theirs)
    assert found[3].links_unknown == 2 and found[3].exact == 2 * h.shape[-1]
