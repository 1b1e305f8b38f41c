"""Trained links of users in nearly the same place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LMMSEEqualizer, ResourceGrid, RZFPrecoder
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.blocks import MMSEEqualizer, ZFPrecoder
from neumatc_mimo.scenario.path_links import PathLinks
from tests.blocks.test_multi_cell import Given
from tests.conftest import ScenarioWriter

APART = [0.0, 1e-6, 1e-4, 1e-2, 1.0]
USERS, ANTENNAS, FFT_SIZE, SPACING = 3, 16, 128, 240e3
# Two links' components hold no answers.
LOST = 2


@pytest.fixture(scope="module")
def model(write_scenario: ScenarioWriter) -> nm.ScenarioModel:
    """Of a link for each distance of the second user from the first."""
    generator = torch.Generator().manual_seed(0)
    num, paths = len(APART), 3
    shape = (num, USERS, ANTENNAS, paths)
    a = torch.randn(shape, dtype=torch.complex128, generator=generator)
    a = a * torch.tensor([1.0, 0.3, 0.1])
    a = a / a.abs().square().sum((2, 3), keepdim=True).sqrt() * ANTENNAS**0.5
    delays = 3e-7 * torch.rand(num, USERS, 1, paths, dtype=torch.float64, generator=generator)
    apart = torch.tensor(APART, dtype=torch.float64)[:, None, None]
    a[:, 1] = a[:, 0] + apart * a[:, 1]
    delays[:, 1] = delays[:, 0]
    links = PathLinks(
        kind="multi_user",
        coefficients=a,
        delays=delays,
        row_delays=delays.amin((2, 3)),
        row_gains=torch.ones(num, USERS, dtype=torch.float64),
        users=torch.arange(USERS).repeat(num, 1),
        user_positions=torch.zeros(num, USERS, 3, dtype=torch.float64),
        base_station=torch.zeros(num, dtype=torch.int64),
        base_station_positions=torch.zeros(1, 3, dtype=torch.float64),
        carrier_frequency=3.5e9,
        fft_size=FFT_SIZE,
        subcarrier_spacing=SPACING,
        noise_db=(-40.0, 0.0),
    )
    file = write_scenario(
        array={"bs": [4, 4]},
        grid={"fft_size": FFT_SIZE, "subcarrier_spacing": SPACING},
        multi_user={"users_per_link": USERS, "num_links": num},
        single_user=None,
        model={"width": 96, "samples": 64, "collocation": 96},
    )
    with pytest.warns(nm.NeuMatCWarning, match="are patched"):
        return nm.train(Given(nm.load_scenario(file).config, links), progress=False)


def channel(model: nm.ScenarioModel) -> Tensor:
    """[num, subcarriers, users, antennas], double precision."""
    links = model.models["pseudo_inverse"].links
    return links.channel(links.grid_frequencies(), dtype=torch.complex128)


@pytest.mark.parametrize("no", [1e-4, 1e-2, 1.0])
def test_queries(model: nm.ScenarioModel, no: float) -> None:
    a, links = channel(model), model.models["pseudo_inverse"].links
    (w,) = model.query("pseudo_inverse", links.grid_frequencies(), no=no)
    u, s, vh = torch.linalg.svd(a, full_matrices=False)
    right = vh.mH @ ((s / (s.square() + no))[..., None] * u.mH)
    error = torch.linalg.matrix_norm(w - right) / torch.linalg.matrix_norm(right)
    assert float(error.max()) < 1e-2


@pytest.mark.parametrize("no", [1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("settings", [{}, {"certify": "call"}, {"trust": "model"}])
def test_blocks(model: nm.ScenarioModel, no: float, settings: dict[str, Any]) -> None:
    num, links = len(APART), torch.arange(len(APART))
    h = channel(model).permute(0, 2, 3, 1)[:, :, None, None, :, None].expand(*[-1] * 5, 2, -1)
    h = h.to(torch.complex64)
    generator = torch.Generator().manual_seed(1)
    x, noise = (
        torch.randn(num, 1, size, 2, FFT_SIZE, dtype=torch.complex64, generator=generator)
        for size in (USERS, ANTENNAS)
    )
    down = (
        ResourceGrid(2, FFT_SIZE, SPACING, num_streams_per_tx=USERS),
        StreamManagement(np.ones([USERS, 1]), USERS),
    )
    precoder = ZFPrecoder(*down, model, **settings)
    found = precoder(x, h, no, links)
    expected = RZFPrecoder(*down, precision="double")(
        x.to(torch.complex128), h.to(torch.complex128), no
    )
    norm = torch.linalg.vector_norm
    assert (
        float((norm(found - expected, dim=(1, 2, 3)) / norm(expected, dim=(1, 2, 3))).max()) < 1e-2
    )

    up = ResourceGrid(2, FFT_SIZE, SPACING, num_tx=USERS), StreamManagement(np.ones([1, USERS]), 1)
    y = torch.einsum("bkmsf,bksf->bmsf", h[:, :, 0, 0], x[:, 0])[:, None] + no**0.5 * noise
    h = h.permute(0, 3, 4, 1, 2, 5, 6)
    equalizer = MMSEEqualizer(*up, model, **settings)
    outputs = equalizer(y, h, 0.0, no, links)
    wide = (y.to(torch.complex128), h.to(torch.complex128), *torch.tensor([0.0, no]).double())
    others = LMMSEEqualizer(*up, precision="double")(*wide)
    for one, other in zip(outputs, others, strict=True):
        assert float((norm(one - other, dim=3) / norm(other, dim=3)).max()) < 1e-2
    if "trust" not in settings:
        assert precoder.stats.links_recalled == equalizer.stats.links_recalled == num - LOST
