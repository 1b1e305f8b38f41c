"""What a model is asked for and does not know: exact results, counted, and a word of it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LMMSEEqualizer, ResourceGrid, RZFPrecoder
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.blocks import (
    BDPrecoder,
    MMSEEqualizer,
    SLNRPrecoder,
    SVDBeamformer,
    WMMSEPrecoder,
    ZFPrecoder,
)
from tests.blocks.common import close, noise
from tests.conftest import Trainer

SYMBOLS, SPACING = 2, 480e3
SINGLE = 1e-4


@pytest.fixture(scope="module")
def trained_model(write_scenario: Any, trained: Trainer) -> nm.ScenarioModel:
    return trained(nm.load_scenario(write_scenario()))


@pytest.fixture
def model(trained_model: nm.ScenarioModel) -> nm.ScenarioModel:
    """One that has not warned yet."""
    return nm.ScenarioModel(trained_model.name, trained_model.models)


def down(users: int, fft_size: int) -> tuple[ResourceGrid, StreamManagement]:
    grid = ResourceGrid(SYMBOLS, fft_size, SPACING, num_tx=1, num_streams_per_tx=users)
    return grid, StreamManagement(np.ones([users, 1]), users)


def up(users: int, fft_size: int) -> tuple[ResourceGrid, StreamManagement]:
    grid = ResourceGrid(SYMBOLS, fft_size, SPACING, num_tx=users, num_streams_per_tx=1)
    return grid, StreamManagement(np.ones([1, users]), 1)


def samples(*shape: int, seed: int) -> Tensor:
    return noise(*shape, seed=seed).to(torch.complex64)


@pytest.mark.parametrize("wrap", [lambda m: m, nm.Auto, nm.Cached], ids=["model", "auto", "cached"])
@pytest.mark.parametrize(("users", "antennas"), [(1, 8), (2, 8), (5, 8), (3, 16), (3, 4)])
def test_other_sizes_are_exact_and_told_once(
    model: nm.ScenarioModel, users: int, antennas: int, wrap: Any
) -> None:
    x, h = samples(2, 1, users, 2, 24, seed=1), samples(2, users, 1, 1, antennas, 2, 24, seed=2)
    grid, streams = down(users, 24)
    block = ZFPrecoder(grid, streams, wrap(model))
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        for _ in range(3):
            found = block(x, h, 0.3)
    expected = RZFPrecoder(grid, streams, precision="double")(x, h, 0.3)
    close(found, expected.to(found.dtype), SINGLE)
    if wrap is not nm.Cached:
        assert block.stats.exact == 3 * 2 * 2 * 24
    if wrap is nm.Auto:
        assert not given
        return
    (warning,) = given
    assert issubclass(warning.category, nm.NeuMatCWarning)
    assert "The model knows" in str(warning.message)
    assert f"of {users} x {antennas} is needed" in str(warning.message)
    assert block.stats.links_recalled == 0


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        (WMMSEPrecoder, (0.1,)),
        (SLNRPrecoder, (0.1,)),
        (BDPrecoder, ()),
    ],
    ids=["wmmse", "slnr", "bd"],
)
@pytest.mark.parametrize("certify", ["link", "call"])
def test_other_operations_are_exact_and_told(
    model: nm.ScenarioModel, kind: Any, inputs: Any, certify: str
) -> None:
    x, h = samples(2, 1, 3, 2, 24, seed=1), samples(2, 3, 1, 1, 8, 2, 24, seed=2)
    block = kind(*down(3, 24), model, certify=certify)
    with pytest.warns(nm.NeuMatCWarning, match="The model knows .* is needed") as given:
        found = block(x, h, *inputs)
    assert len(given) == 1
    expected = kind(*down(3, 24), nm.Exact())(x, h, *inputs)
    # A model may adapt to links where that takes less time than exact results.
    close(found, expected, 1e-2)
    assert block.stats.links_recalled == block.stats.links_trusted == 0
    assert block.stats.links_unknown + block.stats.links_adapted == 4


def test_more_streams_than_a_model_has(model: nm.ScenarioModel) -> None:
    grid = ResourceGrid(SYMBOLS, 24, SPACING, num_tx=1, num_streams_per_tx=3)
    streams = StreamManagement(np.ones([1, 1]), 3)
    x, h = samples(2, 1, 3, 2, 24, seed=1), samples(2, 1, 4, 1, 8, 2, 24, seed=2)
    block = SVDBeamformer(grid, streams, model)
    with pytest.warns(nm.NeuMatCWarning, match="The model knows .* of 4 x 8 is needed"):
        found = block(x, h)
    close(found, SVDBeamformer(grid, streams, nm.Exact())(x, h), SINGLE)


def test_receivers_of_other_sizes(model: nm.ScenarioModel) -> None:
    y, h = samples(2, 1, 8, 2, 24, seed=1), samples(2, 1, 8, 5, 1, 2, 24, seed=2)
    grid, streams = up(5, 24)
    block = MMSEEqualizer(grid, streams, model)
    with pytest.warns(nm.NeuMatCWarning, match="of 5 x 8 is needed"):
        found = block(y, h, 0.0, 0.1)
    expected = LMMSEEqualizer(grid, streams, precision="double")(y, h, 0.0, torch.tensor(0.1))
    for ours, theirs in zip(found, expected, strict=True):
        close(ours, theirs.to(ours.dtype), SINGLE)


def test_side_information_of_other_sizes_is_an_error(model: nm.ScenarioModel) -> None:
    x, h = samples(2, 1, 2, 2, 24, seed=1), samples(2, 2, 1, 1, 8, 2, 24, seed=2)
    block = ZFPrecoder(*down(2, 24), model, trust="model")
    with pytest.raises(ValueError, match="The model knows .* of 2 x 8 is needed"):
        block(x, h, links=torch.tensor([0, 1]))


@pytest.mark.parametrize("fft_size", [1, 2, 3])
@pytest.mark.parametrize("link", [True, False])
@pytest.mark.parametrize("certify", ["link", "call"])
@pytest.mark.filterwarnings("ignore::neumatc_mimo.NeuMatCWarning")
def test_few_subcarriers(model: nm.ScenarioModel, fft_size: int, link: bool, certify: str) -> None:
    """A band of few subcarriers, of a link or of none."""
    x = samples(2, 1, 3, 2, fft_size, seed=1)
    links = model.models["pseudo_inverse"].links
    h = samples(2, 3, 1, 1, 8, 1, fft_size, seed=2).expand(-1, -1, -1, -1, -1, 2, -1)
    if link:
        frequencies = (torch.arange(fft_size) - fft_size // 2) * SPACING
        h = links.channel(frequencies, [0, 1]).permute(0, 2, 3, 1)[:, :, None, None, :, None]
        h = h.expand(-1, -1, -1, -1, -1, 2, -1)
    for solver in (model, nm.Auto(model), nm.Exact()):
        block = ZFPrecoder(*down(3, fft_size), solver, certify=certify)
        found = block(x, h)
        expected = RZFPrecoder(*down(3, fft_size), precision="double")(x, h)
        close(found, expected.to(found.dtype), 2e-2 if link else SINGLE)
        stats = block.stats
        answers = stats.queried + stats.corrected + stats.patched + stats.exact
        assert answers == 2 * fft_size
        if not link:
            assert stats.exact == 2 * fft_size
