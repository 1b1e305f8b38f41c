"""The trained models of a scenario: a solver, queries, files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from neumatc_mimo.foundation.warnings import Warned
from neumatc_mimo.kernels.lanes import computes
from neumatc_mimo.model.folder import load_models, save_models
from neumatc_mimo.model.serving import serve, serve_strangers
from neumatc_mimo.model.trained import TrainedModels
from neumatc_mimo.operations.base import Operation, Tolerance
from neumatc_mimo.scenario.differences import differences
from neumatc_mimo.solvers.adapted import Adapted
from neumatc_mimo.solvers.base import Answers, Channels, Solver
from neumatc_mimo.solvers.exact import Exact
from neumatc_mimo.storage.files import Location
from neumatc_mimo.tensors.tracing import is_traced

# Shared by all models: it keeps what depends on a grid alone.
_ADAPTED = Adapted()


@dataclass(eq=False, repr=False)
class ScenarioModel(TrainedModels, Solver):
    """The trained models of a scenario, usable as the solver of any block.

    :param name: name of the scenario
    :param models: the model of each operation, by its name
    :param scenario: description of the scenario that the models were trained on, plain values
    :param unknown: solver for links that are not recognised. None: the model adapts to them if the
        exact result is expensive (``Operation.adapts``, and there is no kernel), and otherwise
        computes it exactly
    """

    unknown: Solver | None = None
    warned: Warned = field(default_factory=Warned, init=False)

    def knows(self, operation: Operation, num_rows: int, num_cols: int) -> bool:
        model = self.models.get(operation.name)
        return (
            model is not None
            and (num_rows, num_cols) == (model.links.num_rows, model.links.num_cols)
            and model.operation.serves(operation)
        )

    def start(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
    ) -> Answers:
        shape = channels.a.shape[-2:]
        unknown = self.unknown or Exact()
        # What adapts proves its results, which a pure query does without. Where a kernel computes
        # them, exact results cost a small part of that.
        dear = operation.adapts(*shape) and not computes(operation, channels.a, channels.no)
        if self.unknown is None and certify is not None and dear:
            unknown = _ADAPTED
        if not self.knows(operation, *shape):
            if channels.trusted:
                raise ValueError(self._ignorance(operation, shape))
            self._warn_of(operation, shape)
            beyond = len(channels.a)
            return serve_strangers(channels, operation, certify, tolerance, unknown, beyond)
        return serve(self.models[operation.name], operation, channels, certify, tolerance, unknown)

    def _warn_of(self, operation: Operation, shape: Sequence[int]) -> None:
        """Say once that an operation, or matrices of a shape, are none that the model has."""
        if not is_traced():
            self.warned.once(
                f"{operation.name} of {list(shape)}",
                self._ignorance(operation, shape) + " It is computed exactly: use nm.Exact(), or "
                "train a model for it.",
            )

    def _ignorance(self, operation: Operation, shape: Sequence[int]) -> str:
        known = ", ".join(
            f"{m.operation.settings()} of {m.links.num_rows} x {m.links.num_cols}"
            for m in self.models.values()
        )
        return (
            f"The model knows {known}; {operation.settings()} of {shape[0]} x {shape[1]} is needed."
        )

    def choosing(self, choose: Callable[[Solver], Solver]) -> ScenarioModel:
        return self if self.unknown else replace(self, unknown=choose(_ADAPTED))

    @property
    def knows_links(self) -> bool:
        return True

    @property
    def num_made(self) -> int:
        return sum(part.kept.num_made for part in self.models.values())

    def timing_advanced(self) -> ScenarioModel:
        """The model for the same links with timing advance, see ``LinkSet.timing_advanced``.

        The mappings are for aligned links, so they are valid for any delays of the users.
        """
        models = {k: replace(m, links=m.links.timing_advanced()) for k, m in self.models.items()}
        return replace(self, models=models)

    def save(self, folder: Location) -> Path | str:
        """Write safetensors and a JSON manifest to a folder, completely or not at all.

        An existing model is replaced; other files are kept. Other processes may save and load there
        at the same time: each load returns one whole model, and the folder keeps the last one
        saved. The tensors of each operation are written to one file; a training on several machines
        writes several (:mod:`neumatc_mimo.storage.shards`), which :meth:`load` can read, too.

        :param folder: a path, or a URL of any file system that fsspec knows, "s3://bucket/model"

        :return: the path, or the URL as it was given
        :raises ValueError: if the folder contains files but no model, or if the name of the
            scenario or of an operation could lead out of the folder
        :raises OSError: if the folder cannot be written; the files in it are then unchanged
        """
        return save_models(folder, self.name, self.models, self.scenario)

    @classmethod
    def load(cls, folder: Location, device: str = "cpu") -> ScenarioModel:
        """Read a model folder. Nothing in it is executed, and no file stays open or mapped into
        memory.

        Each tensor is compared with its SHA-256 in the manifest, so the loaded model is the saved
        one, bit by bit.

        :param folder: a path, or a URL as for :meth:`save`; its files are copied to this machine
            while they are read

        :raises FileNotFoundError: if there is no model in the folder
        :raises ValueError: if it is damaged, of another format, or invalid
        :raises OSError: if it cannot be read, or was replaced again and again during the reading
        """
        return cls(*load_models(folder, device))

    def check(
        self, scenario_fingerprint: str, scenario_config: Mapping[str, Any] | None = None
    ) -> None:
        """Refuse a scenario other than the one that the model was trained on.

        :param scenario_fingerprint: of the scenario
        :param scenario_config: its sections as plain values, to report what differs

        :raises ValueError: if it is another
        """
        if self.scenario.get("fingerprint") == scenario_fingerprint:
            return
        what = "its data are others"
        mine = self.scenario.get("config")
        if scenario_config is not None and isinstance(mine, Mapping):
            what = ", ".join(differences(mine, scenario_config)) or (
                "its keys are the same, the data that they name are others"
            )
        raise ValueError(
            f'The model of "{self.name}" was trained on another scenario than this one: {what}; '
            "train again, or give the model of this one."
        )
