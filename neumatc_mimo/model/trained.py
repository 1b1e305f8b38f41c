"""Trained models of several operations, as users query and look at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from neumatc_mimo.foundation.display import Displayed, Facts
from neumatc_mimo.model.operation_model import OperationModel, figures
from neumatc_mimo.model.querying import query, residual
from neumatc_mimo.operations.base import Components


@dataclass(eq=False, repr=False)
class TrainedModels(Displayed):
    """Trained models of a scenario, one for each operation.

    :param name: name of the scenario
    :param models: the model of each operation, by its name
    :param scenario: description of the scenario that the models were trained on, plain values
    """

    name: str
    models: Mapping[str, OperationModel]
    scenario: dict[str, Any] = field(default_factory=dict)

    def query(
        self,
        operation: str,
        frequencies: Tensor,
        links: Tensor | Sequence[int] | None = None,
        no: Tensor | float = 0.0,
        time: float = 0.0,
    ) -> Components:
        """Components of trained links at any frequency of the trained band, patches applied.

        :param operation: "pseudo_inverse" → (w,) with w [num_links, num_frequencies, M, K];
            "svd" → (u, s, v), [.., K, L], [.., L], [.., M, L]
        :param frequencies: Hz relative to the carrier, [num_frequencies]
        :param links: link indices; None means all
        :param no: noise power, linear, scalar or [num_links]; 0 is zero forcing
        :param time: seconds since the burst began; users that move were trained without noise

        :raises ValueError: for an unknown operation, or frequencies, noise powers or a time out of
            range
        """
        return query(self._model(operation), frequencies, links, no, time)

    def residual(
        self,
        operation: str,
        frequencies: Tensor,
        links: Tensor | Sequence[int] | None = None,
        no: float = 0.0,
        time: float = 0.0,
    ) -> Tensor:
        """Relative residual of the answers, [num_links, num_frequencies]."""
        return residual(self._model(operation), frequencies, links, no, time)

    @property
    def training(self) -> dict[str, dict[str, Any]]:
        """Training report of each operation."""
        return {name: model.training for name, model in self.models.items()}

    @property
    def num_bytes(self) -> int:
        """Bytes of all mappings."""
        return sum(model.num_bytes for model in self.models.values())

    def facts(self) -> Facts:
        size = {"size": f"{self.num_bytes / 1e6:.3g} MB"}
        return Facts(self.name, size | {k: figures(model) for k, model in self.models.items()})

    def _model(self, operation: str) -> OperationModel:
        if operation not in self.models:
            raise ValueError(
                f'There is no model of "{operation}", known are {", ".join(self.models)}.'
            )
        return self.models[operation]
