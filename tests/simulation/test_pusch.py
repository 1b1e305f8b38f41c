"""MMSEDetector in Sionna's PUSCH receiver against Sionna's own detector."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sionna.phy.nr import PUSCHReceiver
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.simulation.pusch import DMRS, PUSCHUplink
from tests.blocks.common import close
from tests.conftest import Trainer
from tests.warned import strangers

SETTINGS = [
    DMRS(),
    DMRS(length=2, num_cdm_groups_without_data=1, additional_position=1),
    DMRS(additional_position=1),
    DMRS(additional_position=3),
    DMRS(config_type=2, num_cdm_groups_without_data=3),
    DMRS(config_type=2, length=2, additional_position=1),
]


@pytest.fixture(scope="module")
def scenario(write_scenario: Any) -> nm.Scenario:
    """Six resource blocks of 60 kHz: estimates are worth something."""
    return nm.load_scenario(write_scenario(grid={"fft_size": 72, "subcarrier_spacing": 60e3}))


@pytest.fixture(scope="module")
def model(scenario: nm.Scenario, trained: Trainer) -> nm.ScenarioModel:
    return trained(scenario).timing_advanced()


def _uplink(scenario: nm.Scenario, solver: Any, **options: Any) -> PUSCHUplink:
    assert scenario.multi_user is not None
    return PUSCHUplink(scenario.multi_user.timing_advanced(), solver, **options)


def _decoded(bits: Tensor, bits_hat: Tensor) -> Tensor:
    """Which transport blocks arrive; what is left of the others depends on rounding."""
    return (bits == bits_hat).all(-1)


@pytest.mark.parametrize("csi", ["perfect", "nn", "lin"])
@pytest.mark.parametrize("dmrs", SETTINGS, ids=str)
def test_detector_and_receiver_equal_sionnas(
    scenario: nm.Scenario, model: nm.ScenarioModel, dmrs: DMRS, csi: Any
) -> None:
    theirs, *ours = (
        _uplink(scenario, solver, csi=csi, dmrs=dmrs) for solver in (None, nm.Exact(), model)
    )
    _, y, h, no = theirs.slots(2, 10.0)
    h_hat, err_var = (h, torch.zeros(1)) if csi == "perfect" else theirs.estimator(y, no)
    llr = theirs.detector(y, h_hat, err_var, no)
    bits, expected = theirs(2, 10.0)
    for pipeline, tolerance in zip(ours, (1e-4, 1e-2), strict=True):
        pipeline.slots(2, 10.0)  # the calls of the others are one further
        with strangers(csi != "perfect" and pipeline is ours[1]):
            close(pipeline.detector(y, h_hat, err_var, no), llr, tolerance)
        same, found = pipeline(2, 10.0)
        assert torch.equal(bits, same)
        assert torch.equal(_decoded(bits, found), _decoded(bits, expected))
        stats = pipeline.detector.stats
        recognised = csi == "perfect" and pipeline is ours[1]
        assert (stats.links_recalled > 0) == recognised
        assert (stats.queried > 0) == recognised


def test_a_detector_is_dropped_into_sionnas_receiver(scenario: nm.Scenario) -> None:
    """By position and without anything around it, with the status of the checks."""
    pipeline = _uplink(scenario, nm.Exact(), csi="lin", dmrs=DMRS(additional_position=1))
    bits, y, _, no = pipeline.slots(2, 30.0)
    found, expected = (
        PUSCHReceiver(pipeline.transmitter, None, detector, return_tb_crc_status=True)(y, no)
        for detector in (pipeline.detector, None)
    )
    assert torch.equal(_decoded(bits, found[0]), _decoded(bits, expected[0]))
    assert torch.equal(found[1], expected[1]) and bool(found[1].any())


@pytest.mark.parametrize("csi", ["nn", "lin"])
def test_trusted_links_decode_as_with_perfect_csi(
    scenario: nm.Scenario, model: nm.ScenarioModel, csi: Any
) -> None:
    dmrs = DMRS(additional_position=1)
    trusting = _uplink(scenario, model, csi=csi, trust="model", dmrs=dmrs)
    perfect = _uplink(scenario, None, dmrs=dmrs)
    for ebno_db in (0.0, 10.0):
        assert torch.equal(_decoded(*trusting(2, ebno_db)), _decoded(*perfect(2, ebno_db)))
    assert trusting.detector.stats.links_trusted == 4


def test_fewer_resource_blocks_lie_around_the_carrier(
    scenario: nm.Scenario, model: nm.ScenarioModel
) -> None:
    pipeline = _uplink(scenario, model, num_resource_blocks=4)
    bits, bits_hat = pipeline(2, 30.0)
    assert torch.equal(bits, bits_hat)
    assert pipeline.detector.stats.links_recalled == 2


def test_what_is_refused(scenario: nm.Scenario) -> None:
    with pytest.raises(ValueError, match="csi is 'cubic'"):
        _uplink(scenario, None, csi="cubic")
    with pytest.raises(ValueError, match="from 1 to 6 fit"):
        _uplink(scenario, None, num_resource_blocks=10)
    with pytest.raises(ValueError, match="3 users need as many DMRS ports"):
        _uplink(scenario, None, dmrs=DMRS(num_cdm_groups_without_data=1))
    with pytest.raises(ValueError, match="single-antenna users are needed"):
        PUSCHUplink(scenario.single_user, None)  # type: ignore[arg-type]
