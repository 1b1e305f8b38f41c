"""The folder of a model while it is trained: who it belongs to, what of it is finished."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from neumatc_mimo.model.packing import write_manifest
from neumatc_mimo.scenario import Scenario
from neumatc_mimo.storage.files import write_text
from neumatc_mimo.storage.manifest import FORMAT_VERSION
from neumatc_mimo.storage.shards import write_index
from neumatc_mimo.training.cluster.sizes import missing
from neumatc_mimo.training.jobs import Job, jobs
from neumatc_mimo.training.reports import add_choices, mean_report, warn_of_repairs
from neumatc_mimo.training.scenario import origin
from neumatc_mimo.training.store import Store

# The file that tells whose a folder is, from the first task on.
RUN = "run.json"

# Of a scenario, what tells how its links are trained and for which operations.
_SECTIONS = ("model", "multi_user", "single_user", "motion")


@dataclass(frozen=True)
class TrainedModel:
    """A model in a folder.

    :param folder: for ``ScenarioModel.load``
    :param num_bytes: of all its mappings
    :param training: report of each operation
    """

    folder: Path
    num_bytes: int
    training: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Assignment:
    """One operation of a model.

    :param step: its name in events
    :param job: what is trained
    :param store: where its shards lie
    :param seed: of all that is random
    :param finished: links of each shard → values of their model
    """

    step: str
    job: Job
    store: Store
    seed: int
    finished: dict[range, dict[str, Any]]

    @property
    def shards(self) -> list[range]:
        """Links of the finished shards, in their order."""
        return sorted(self.finished, key=lambda links: links.start)

    @property
    def missing(self) -> list[range]:
        """Links that are not finished, in their order."""
        return missing(self.job.links.num_links, self.shards)

    @property
    def num_finished(self) -> int:
        """Number of links that are finished."""
        return sum(map(len, self.finished))

    def job_of(self, links: range) -> Job:
        """What is trained of some links alone."""
        return replace(self.job, links=self.job.links.select(list(links)))

    def finish(self) -> dict[str, Any]:
        """Join the shards by their index; the values of the whole model."""
        self.store.discard(self.shards)
        write_index(self.store.folder, self.store.name, self.shards)
        training = mean_report(
            [(len(links), self.finished[links]["training"]) for links in self.shards]
        )
        add_choices(self.job, training)
        shares = training["patched_share"], training["corrected_share"]
        warn_of_repairs(self.store.name, *shares, self.job.tolerance)
        _, links = self.job.links.to_tensors()
        return self.finished[self.shards[0]] | {"links": links, "training": training}


@dataclass(frozen=True)
class ModelInParts:
    """A model that is being trained.

    :param folder: where it lies, as the caller calls it
    :param scenario: what it is trained on
    :param seed: recorded with it
    :param parts: its operations
    """

    folder: str
    scenario: Scenario
    seed: int
    parts: list[Assignment]

    @classmethod
    def begun(cls, folder: str, scenario: Scenario, seed: int) -> ModelInParts:
        """A new model, or one that was begun before, with what is valid of it.

        :raises ValueError: if the folder holds something else
        :raises OSError: if it cannot be written
        """
        # Links are not followed: they may lead elsewhere on other machines.
        path = Path(folder).absolute()
        _claim(path, scenario, seed)
        parts = []
        for job in map(Job.prepared, jobs(scenario)):
            store = Store(path, job.operation.name, job.key)
            parts.append(Assignment(f"{folder}: {store.name}", job, store, seed, store.finished()))
        return cls(folder, scenario, seed, parts)

    def finish(self) -> TrainedModel:
        """Make the folder a model that can be loaded."""
        values = {part.store.name: part.finish() for part in self.parts}
        path = Path(self.folder).absolute()
        write_manifest(path, self.scenario.name, origin(self.scenario, self.seed), values)
        training = {name: value["training"] for name, value in values.items()}
        num_bytes = sum(
            part.job.links.num_links * training[part.store.name]["bytes_per_link"]
            for part in self.parts
        )
        return TrainedModel(path, round(num_bytes), training)


def _claim(folder: Path, scenario: Scenario, seed: int) -> None:
    """Write into a new folder what is trained there; refuse one that is another's."""
    config = json.loads(scenario.config.model_dump_json())
    mine: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "fingerprint": scenario.fingerprint,
        "seed": seed,
    } | {section: config[section] for section in _SECTIONS}
    file = folder / RUN
    if file.exists():
        try:
            theirs = dict(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{file} is damaged ({error}), remove {folder}.") from None
        old, new = _by_key(theirs), _by_key(mine)
        other = [key for key in new | old if new.get(key) != old.get(key)]
        if other:
            told = ", ".join(f"{k} = {old.get(k)} and not {new.get(k)}" for k in other)
            raise ValueError(
                f"{folder} contains a training with {told}; give another folder or remove it."
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(
            f"{folder} contains files that belong to no training on a cluster; give another folder "
            "or remove it."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{folder} cannot be written ({error.strerror}).") from None
    write_text(file, json.dumps(mine, indent=2))


def _by_key(run: dict[str, Any]) -> dict[str, Any]:
    """The values of a run with those of its sections one by one, such as "model.rank"."""
    values: dict[str, Any] = {}
    for key, value in run.items():
        inner = value if isinstance(value, dict) else None
        values |= {key: value} if inner is None else {f"{key}.{k}": v for k, v in inner.items()}
    return values
