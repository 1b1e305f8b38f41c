"""Scenarios: from a TOML file and ray-traced paths to link sets."""

from .links import LinkSet
from .resources import bundled_scenarios
from .scenario import Scenario, load_scenario
from .schema import ScenarioConfig

__all__ = ["LinkSet", "Scenario", "ScenarioConfig", "bundled_scenarios", "load_scenario"]
