"""The Munich scenario with groups of another size, and its trained model."""

from __future__ import annotations

import sys

from benchmarks.paper.sheet import ROOT
from neumatc_mimo import Scenario, ScenarioModel, load_scenario, train


def munich(num_users: int, num_links: int) -> tuple[Scenario, ScenarioModel]:
    """Links of so many single-antenna users on 64 antennas, and a model of their filters.

    The model is kept in ``models/`` and trained where it is missing or of other links.
    """
    config = load_scenario("munich").config
    assert config.multi_user is not None
    # An array of 64 receives few users well below the noise of one antenna.
    noise = (-40.0, 12.0)
    groups = {"users_per_link": num_users, "num_links": num_links, "noise_db": noise}
    changes = {"multi_user": config.multi_user.model_copy(update=groups), "single_user": None}
    scenario = Scenario(config.model_copy(update=changes))
    folder = ROOT / f"models/munich_{num_users}_users_{num_links}_links"
    try:
        model = ScenarioModel.load(folder)
        model.check(scenario.fingerprint)
    except (FileNotFoundError, ValueError):
        print(f"Training {num_links} links of {num_users} users.", file=sys.stderr, flush=True)
        model = train(scenario)
        model.save(folder)
    return scenario, model
