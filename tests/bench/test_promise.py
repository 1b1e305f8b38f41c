"""A promise that is not kept is found and said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import neumatc_mimo as nm
from neumatc_mimo.bench.fidelity import BELOW, broken_promises, fidelity
from neumatc_mimo.bench.promise import served
from neumatc_mimo.cli import app
from neumatc_mimo.mapping.latent import Latent
from tests.conftest import ScenarioWriter, Trainer


@pytest.fixture(scope="module")
def file(write_scenario: ScenarioWriter) -> Path:
    return write_scenario(
        grid={"fft_size": 256, "subcarrier_spacing": 120e3},
        multi_user={"num_links": 2},
        single_user=None,
        model={"width": 128, "samples": 96, "collocation": 128},
    )


@pytest.fixture(scope="module")
def scenario(file: Path) -> nm.Scenario:
    return nm.load_scenario(file)


@pytest.fixture
def model(scenario: nm.Scenario, trained: Trainer) -> nm.ScenarioModel:
    return trained(scenario)


@pytest.fixture
def broken(model: nm.ScenarioModel) -> nm.ScenarioModel:
    """A model whose first link was trained for something else than was proven."""
    part = model.models["pseudo_inverse"]
    first = torch.arange(len(part.mapping.latents[0].numbers)) < part.mapping.starts[1]
    latents = tuple(
        Latent(
            c.values * torch.where(first, 1.05, 1.0)[:, None, None] if i else c.values.roll(1, -1)
        )
        for i, c in enumerate(part.mapping.latents)
    )
    changed = replace(part, mapping=replace(part.mapping, latents=latents))
    return replace(model, models=model.models | {"pseudo_inverse": changed})


@pytest.mark.parametrize("no", [0.0, 1e-3, 1.0])
@pytest.mark.parametrize("certify", ["link", "call"])
def test_all_filters_are_as_promised(
    scenario: nm.Scenario, model: nm.ScenarioModel, no: float, certify: str
) -> None:
    assert scenario.multi_user is not None
    found = served(model, scenario.multi_user, no, certify)
    assert found.least >= 40 and found.below == 0
    assert found.counts.links_recalled == 2


def test_a_broken_promise_is_found(scenario: nm.Scenario, broken: nm.ScenarioModel) -> None:
    links = scenario.multi_user
    assert links is not None
    assert served(broken, links, 0.0).below > links.fft_size
    assert served(broken, links, 0.0, "call").below == 0  # proven at each call
    results = fidelity(broken, scenario, progress=False, num_receivers=1)
    assert {"zero_forcing", "mmse_0_db", "pseudo_inverse"} <= set(broken_promises(results))
    assert results["zero_forcing"]["least_served_sir_db"] < 40


def test_a_kept_promise_is_not_called_broken(
    scenario: nm.Scenario, model: nm.ScenarioModel
) -> None:
    results = fidelity(model, scenario, progress=False, num_receivers=1)
    assert results["zero_forcing"][BELOW] == 0 and not broken_promises(results)


def test_the_command_says_so(file: Path, broken: nm.ScenarioModel, tmp_path: Path) -> None:
    broken.save(tmp_path / "model")
    arguments = ["evaluate", str(file), "--model", str(tmp_path / "model"), "--blocks", "0"]
    result = CliRunner().invoke(app, arguments)
    text = " ".join(result.stdout.split())
    assert "The promise is broken" in text and "of zero_forcing" in text
