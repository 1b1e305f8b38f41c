"""The trained models of a scenario."""

from neumatc_mimo.model.operation_model import OperationModel
from neumatc_mimo.model.scenario_model import ScenarioModel

__all__ = ["OperationModel", "ScenarioModel"]
