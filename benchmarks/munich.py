"""The Munich scenario with groups of another size, and its trained model."""

from __future__ import annotations

import sys

from benchmarks.paper.sheet import ROOT
from neumatc_mimo import Scenario, ScenarioModel, load_scenario, train
from neumatc_mimo.scenario.schema import MotionConfig


def munich(
    num_users: int, num_links: int, speed: float | None = None
) -> tuple[Scenario, ScenarioModel]:
    """Links of so many single-antenna users on 64 antennas, and a model of their filters.

    Users move with ``speed`` [m/s] over a burst of 20 slots, if it is given. The model is kept in
    ``models/`` and trained where it is missing or of other links.
    """
    config = load_scenario("munich").config
    assert config.multi_user is not None
    # An array of 64 receives few users well below the noise of one antenna.
    noise = (-40.0, 12.0)
    groups = {"users_per_link": num_users, "num_links": num_links, "noise_db": noise}
    changes = {
        "multi_user": config.multi_user.model_copy(update=groups),
        "single_user": None,
        "motion": None if speed is None else MotionConfig(speed=speed),
    }
    scenario = Scenario(config.model_copy(update=changes))
    pace = "" if speed is None else f"_{3.6 * speed:.0f}_kmh"
    folder = ROOT / f"models/munich_{num_users}_users_{num_links}_links{pace}"
    try:
        model = ScenarioModel.load(folder)
        model.check(scenario.fingerprint)
    except (FileNotFoundError, ValueError):
        print(f"Training {num_links} links of {num_users} users.", file=sys.stderr, flush=True)
        model = train(scenario)
        model.save(folder)
    return scenario, model
