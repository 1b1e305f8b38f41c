"""The trained models of a scenario."""

from neumatc_mimo.model.scenario_model import (
    OperationModel,
    ScenarioModel,
)

__all__ = [
    "OperationModel",
    "ScenarioModel",
]
