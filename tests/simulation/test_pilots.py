"""Pipelines with estimated channels: paired, and what each kind of trust gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import neumatc_mimo as nm
from neumatc_mimo.simulation.pilots import PilotDownlink, PilotUplink
from tests.conftest import Trainer
from tests.warned import strangers

PIPELINES = {"downlink": PilotDownlink, "uplink": PilotUplink}
SMALL: dict[str, Any] = {"block_length": 240, "stride": 1, "num_ofdm_symbols": 2}


@pytest.fixture(scope="module")
def scenario(write_scenario: Any) -> nm.Scenario:
    return nm.load_scenario(write_scenario())


@pytest.fixture(scope="module")
def model(scenario: nm.Scenario, trained: Trainer) -> nm.ScenarioModel:
    return trained(scenario)


@pytest.mark.parametrize("csi", ["perfect", "nn", "lin"])
@pytest.mark.parametrize("name", PIPELINES)
def test_exact_and_queried_decide_as_sionna(
    scenario: nm.Scenario, model: nm.ScenarioModel, name: str, csi: Any
) -> None:
    kind = PIPELINES[name]
    theirs, exact, queried = (
        kind(scenario.multi_user, solver, csi=csi, coded=False, **SMALL)
        for solver in (None, nm.Exact(), model)
    )
    (bits, theirs), (same, exact) = theirs(4, 4.0), exact(4, 4.0)
    with strangers(csi != "perfect"):
        _, queried = queried(4, 4.0)
    assert torch.equal(bits, same)
    # Rounding may turn a decision that is at its threshold.
    assert (exact != theirs).double().mean() < 1e-4
    assert (queried != exact).double().mean() < (5e-3 if csi == "perfect" else 1e-4)
    assert 0 < (bits != theirs).double().mean() < 0.5


@pytest.mark.parametrize("name", PIPELINES)
def test_trust_gives_the_decisions_of_perfect_csi(
    scenario: nm.Scenario, model: nm.ScenarioModel, name: str
) -> None:
    kind = PIPELINES[name]
    settings: dict[str, Any] = {"coded": False, **SMALL}
    bits, perfect = kind(scenario.multi_user, None, csi="perfect", **settings)(4, 4.0)
    _, estimated = kind(scenario.multi_user, None, csi="nn", **settings)(4, 4.0)
    for csi in ("nn", "lin"):
        trusting = kind(scenario.multi_user, model, csi=csi, trust="model", **settings)
        _, found = trusting(4, 4.0)
        assert (found != perfect).double().mean() < 5e-3
    assert (estimated != bits).double().mean() > (perfect != bits).double().mean()


@pytest.mark.parametrize("name", PIPELINES)
def test_coded_bits_arrive_without_noise(scenario: nm.Scenario, name: str) -> None:
    pipeline = PIPELINES[name](scenario.multi_user, nm.Exact(), csi="perfect", **SMALL)
    bits, bits_hat = pipeline(2, 90.0)
    assert torch.equal(bits, bits_hat)


def test_an_unknown_csi_is_refused(scenario: nm.Scenario) -> None:
    with pytest.raises(ValueError, match="csi is 'cubic'"):
        PilotUplink(scenario.multi_user, None, csi="cubic")  # type: ignore[arg-type]
