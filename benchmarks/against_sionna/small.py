"""A model that is trained within a second: of few links, with corrected and patched subcarriers."""

from __future__ import annotations

import warnings

import neumatc_mimo as nm
from neumatc_mimo.scenario.scenario import Scenario


def small_model() -> nm.ScenarioModel:
    """Four links of Munich of 3 users, and four of a user of 2 x 2 antennas, on 192 subcarriers of
    120 kHz, at a base station of 16 antennas.
    """
    config = nm.load_scenario("munich").config
    assert config.multi_user is not None and config.single_user is not None
    changes = {
        "array": config.array.model_copy(update={"bs": (4, 4)}),
        "grid": config.grid.model_copy(update={"fft_size": 192, "subcarrier_spacing": 120e3}),
        "multi_user": config.multi_user.model_copy(update={"users_per_link": 3, "num_links": 4}),
        "single_user": config.single_user.model_copy(update={"ue": (2, 2), "num_links": 4}),
        "model": config.model.model_copy(update={"width": 96, "samples": 128, "collocation": 128}),
    }
    with warnings.catch_warnings():
        # Small models are patched in many places.
        warnings.filterwarnings("ignore", ".* are patched", nm.NeuMatCWarning)
        return nm.train(Scenario(config.model_copy(update=changes)), progress=False)
