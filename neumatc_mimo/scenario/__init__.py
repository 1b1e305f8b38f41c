"""Scenarios: from a TOML file and ray-traced paths to link sets."""

from neumatc_mimo.scenario.bundled import bundled_scenarios
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.scenario.scenario import Scenario, load_scenario
from neumatc_mimo.scenario.schema import ScenarioConfig
from neumatc_mimo.scenario.selection import semi_orthogonal_users, sum_rate_users

__all__ = [
    "LinkSet",
    "Scenario",
    "ScenarioConfig",
    "bundled_scenarios",
    "load_scenario",
    "semi_orthogonal_users",
    "sum_rate_users",
]
