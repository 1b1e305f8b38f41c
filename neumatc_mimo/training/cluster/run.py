"""Training on a Ray cluster: the front door."""

from __future__ import annotations

from collections.abc import Mapping

from neumatc_mimo.progress import Callbacks, Event, reported
from neumatc_mimo.scenario import Scenario
from neumatc_mimo.training.cluster.driver import connected, train_missing
from neumatc_mimo.training.cluster.folder import ModelInParts, TrainedModel


def train(
    scenarios: Mapping[str, Scenario],
    *,
    address: str = "local",
    seed: int = 0,
    task_seconds: float = 60.0,
    progress: bool = True,
    callback: Callbacks = None,
) -> dict[str, TrainedModel]:
    """Train the models of scenarios on a Ray cluster, each in a folder of its own.

    Links are split into tasks of one core each. A few links of each operation, as many as are
    trained together, come first, and what they took tells how many the other tasks get. Each task
    writes one shard; where its worker dies, that shard is trained again. What is valid in a folder
    is not, so the same call goes on with a training that was interrupted. Results are those of
    :func:`neumatc_mimo.train`, up to rounding.

    .. code-block:: python

        cluster.train({"models/munich": nm.load_scenario("munich")}, address="auto")
        model = nm.ScenarioModel.load("models/munich")

    :param scenarios: folder of a model → what it is trained on; all machines of the cluster must
        see these folders under the same paths
    :param address: of the cluster, such as "10.0.0.1:6379"; "auto" is the one that this machine
        belongs to, "local" starts one of this machine alone. A process that is connected to Ray
        already stays so
    :param seed: recorded with the models; the links' mappings draw nothing at random
    :param task_seconds: what a task is to take, and so what a worker that dies costs at most
    :param progress: show a progress bar for each operation and each task, in a terminal or a
        notebook
    :param callback: told of the links that are done, of each operation and of each task

    :return: folder, as given → its model

    :raises ImportError: if Ray is not installed
    :raises ConnectionError: if no cluster answers
    :raises ValueError: if a folder holds something else
    :raises RuntimeError: if a task fails, or its workers die again and again; finished shards stay
    """
    if not task_seconds > 0:
        raise ValueError(f"task_seconds is {task_seconds}, a positive time is needed.")
    with reported(callback, progress) as tell, connected(address) as ray:
        models = []
        for folder, scenario in scenarios.items():
            tell(Event(f"{folder}: links and finished shards"))
            models.append(ModelInParts.begun(folder, scenario, seed))
        train_missing(ray, [part for model in models for part in model.parts], task_seconds, tell)
        return {model.folder: model.finish() for model in models}
