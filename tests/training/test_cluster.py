"""Training on a Ray cluster of two workers, one of which is killed half-way."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import neumatc_mimo as nm
from neumatc_mimo.cli import app
from neumatc_mimo.model.packing import pack_model
from neumatc_mimo.progress import Event
from neumatc_mimo.storage.shards import found_shards, shard_file
from neumatc_mimo.training import cluster
from neumatc_mimo.training.cluster.driver import connected, first_line, with_cores
from neumatc_mimo.training.cluster.folder import ModelInParts
from neumatc_mimo.training.cluster.sizes import Cost, links_per_task, missing, split
from neumatc_mimo.training.jobs import jobs
from neumatc_mimo.training.store import Store
from tests.warned import patched

ray = pytest.importorskip("ray", reason="Ray is not installed")


LINKS = 10


@pytest.fixture(scope="module")
def workers() -> Iterator[None]:
    """A cluster of this machine alone, of two workers."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Other programs beside the tests may take the memory: their lack of it is not ours.
    os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
    ray.init(
        "local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=2**27,
        _memory=2**33,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def scenario(write_scenario: Any) -> nm.Scenario:
    return nm.load_scenario(
        write_scenario(
            array={"bs": [4, 4]},
            grid={"fft_size": 512, "subcarrier_spacing": 60e3},
            multi_user={"num_links": LINKS},
            single_user={"ue": [2, 1], "num_streams": 1, "num_links": LINKS},
            model={"width": 192, "samples": 96, "collocation": 256},
        )
    )


class _Log:
    """What the events tell of shards: which process took which, in their order."""

    def __init__(self) -> None:
        self.begun: dict[str, list[int]] = {}
        self.totals: list[Event] = []

    def __call__(self, event: Event) -> None:
        if event.unit == "links" and "[" not in event.step:
            self.totals.append(event)
        process = re.search(r"process (\d+)", event.unit)
        if process is not None and event.done == 0:
            shard = event.step.rpartition(": ")[2]
            self.begun.setdefault(shard, []).append(int(process[1]))

    @property
    def links(self) -> dict[str, set[int]]:
        """Links of each operation that were trained."""
        trained: dict[str, set[int]] = {}
        for shard in self.begun:
            name, start, stop = re.fullmatch(r"(.+)\[(\d+):(\d+)\]", shard).groups()  # type: ignore[union-attr]
            trained.setdefault(name, set()).update(range(int(start), int(stop)))
        return trained


class _Killing(_Log):
    """Kills the worker that has begun with a shard; where it was done by then, that of another."""

    def __init__(self) -> None:
        super().__init__()
        self.killed: str | None = None

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        shard = event.step.rpartition(": ")[2]
        if shard == self.killed and event.done == event.total and len(self.begun[shard]) == 1:
            self.killed = None  # it was too late
        if self.killed is None and len(self.begun.get(shard, [])) == 1 and event.done == 0:
            self.killed = shard
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.begun[shard][0], signal.SIGKILL)


@pytest.fixture(scope="module")
def killing(
    workers: None, scenario: nm.Scenario, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, _Killing]:
    """Folder of a model whose training lost a worker, and its log."""
    folder, log = tmp_path_factory.mktemp("trained") / "model", _Killing()
    trained = cluster.train({str(folder): scenario}, progress=False, callback=log)
    assert trained[str(folder)].folder == folder
    return folder, log


@pytest.fixture(scope="module")
def single(scenario: nm.Scenario) -> nm.ScenarioModel:
    """The same model, trained here."""
    return nm.train(scenario, progress=False)


def _assert_same(folder: Path, single: nm.ScenarioModel) -> None:
    """Latent tensors up to rounding, the certificate's marks exactly, links bit by bit."""
    loaded = nm.ScenarioModel.load(folder)
    loaded.check(single.scenario["fingerprint"])
    for name, model in single.models.items():
        mine, _ = pack_model(model)
        again, _ = pack_model(loaded.models[name])
        assert mine.keys() == again.keys()
        for key, tensor in mine.items():
            if key.startswith(("mapping.ragged.latent", "mapping.ragged.scale")):
                assert (again[key] - tensor).abs().max() < 1e-5 * tensor.abs().max()
            else:
                assert torch.equal(again[key], tensor), key


@pytest.mark.slow
def test_a_killed_worker_costs_its_shard_alone(
    killing: tuple[Path, _Killing], single: nm.ScenarioModel
) -> None:
    folder, log = killing
    assert log.killed is not None
    # What each operation's first task takes is what tasks take that fill the memory.
    assert {"pseudo_inverse[0:5]", "svd[0:5]"} <= log.begun.keys()
    first, second = log.begun[log.killed]
    assert first != second
    others = [pids for shard, pids in log.begun.items() if shard != log.killed]
    assert all(len(pids) == 1 for pids in others)
    assert len({pid for pids in log.begun.values() for pid in pids}) > 1
    _assert_same(folder, single)
    assert not list(folder.glob(".*"))
    ends = {event.step.rpartition(" ")[2]: event.done for event in log.totals}
    assert ends == {"pseudo_inverse": LINKS, "svd": LINKS}


@pytest.mark.slow
def test_figures_are_those_of_a_training_here(
    killing: tuple[Path, _Killing], single: nm.ScenarioModel
) -> None:
    report = nm.ScenarioModel.load(killing[0]).training["pseudo_inverse"]
    here = single.training["pseudo_inverse"]
    assert report.keys() == here.keys()
    same = ("corrected_share", "exact_samples_per_link", "bytes_per_link", "untrained_error")
    assert {k: report[k] for k in same} == pytest.approx({k: here[k] for k in same})


@pytest.mark.slow
def test_what_is_valid_is_not_trained_again(
    killing: tuple[Path, _Killing],
    scenario: nm.Scenario,
    single: nm.ScenarioModel,
    tmp_path: Path,
) -> None:
    folder, log = shutil.copytree(killing[0], tmp_path / "model"), _Log()
    cluster.train({str(folder): scenario}, progress=False, callback=log)
    assert not log.begun
    # A training that was cut off: no manifest, a shard damaged, another one missing.
    (folder / "model.json").unlink()
    damaged = found_shards(folder, "svd")[1]
    file = shard_file(folder, "svd", damaged)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    lost = found_shards(folder, "pseudo_inverse")[-1]
    shard_file(folder, "pseudo_inverse", lost).unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.json is missing"):
        nm.ScenarioModel.load(folder)
    cluster.train({str(folder): scenario}, progress=False, callback=log)
    assert log.links == {"svd": set(damaged), "pseudo_inverse": set(lost)}
    _assert_same(folder, single)


class _StoppedError(Exception):
    pass


@pytest.mark.slow
def test_an_interrupted_training_goes_on(
    workers: None, scenario: nm.Scenario, tmp_path: Path
) -> None:
    folder = tmp_path / "model"

    def stop(event: Event) -> None:
        if event.unit == "links" and "svd" in event.step and event.done > 0:
            raise _StoppedError

    with pytest.raises(_StoppedError):
        cluster.train({str(folder): scenario}, progress=False, callback=stop)
    (job,) = (job for job in jobs(scenario) if job.operation.name == "svd")
    finished = {link for links in Store(folder, "svd", job.key).finished() for link in links}
    assert {0, 1} <= finished
    log = _Log()
    cluster.train({str(folder): scenario}, progress=False, callback=log)
    # Tasks that were under way may have come to their end since.
    assert not log.links.get("svd", set()) & finished
    assert nm.ScenarioModel.load(folder).models["svd"].links.num_links == LINKS


@pytest.mark.slow
def test_a_folder_of_something_else_is_refused(
    killing: tuple[Path, _Killing], scenario: nm.Scenario, tmp_path: Path
) -> None:
    folder = killing[0]
    with pytest.raises(ValueError, match="rank = None and not 24"):
        cluster.train({str(folder): scenario.with_model(rank=24)}, progress=False)
    other = nm.Scenario(scenario.config.model_copy(update={"seed": 5}))
    with pytest.raises(ValueError, match="contains a training with fingerprint"):
        cluster.train({str(folder): other}, progress=False)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match="contains files that belong to no training"):
        cluster.train({str(tmp_path): scenario}, progress=False)
    for damaged in ("{", "5"):
        (tmp_path / "run.json").write_text(damaged)
        with pytest.raises(ValueError, match=r"run\.json is damaged"):
            cluster.train({str(tmp_path): scenario}, progress=False)


@pytest.mark.slow
def test_a_task_that_fails_is_told_in_one_sentence(
    workers: None, scenario: nm.Scenario, tmp_path: Path
) -> None:
    def unmount(event: Event) -> None:
        if event.unit == "links" and (tmp_path / "model").exists():
            shutil.rmtree(tmp_path / "model")

    folder = str(tmp_path / "model")
    with pytest.raises(RuntimeError, match="does not see .* storage that all machines share"):
        cluster.train({folder: scenario}, progress=False, callback=unmount)


@pytest.mark.slow
def test_a_grid_on_the_command_line(
    workers: None, write_scenario: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = write_scenario(
        grid={"fft_size": 128}, single_user=None, model={"samples": 64, "collocation": 96}
    )
    ranks = ["--set", "rank=24", "--set", "rank=48"]
    arguments = ["train", str(file), *ranks, "--set", "width=64", "--ray", "local"]
    with patched():  # ranks this low are
        result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [row["folder"] for row in rows] == ["models/small-rank=24", "models/small-rank=48"]
    for row, rank in zip(rows, (24, 48), strict=True):
        model = nm.ScenarioModel.load(row["folder"])
        trunk = model.models["pseudo_inverse"].mapping.trunk
        assert trunk.rank == rank and trunk.basis.width < 100  # 800 unless set
        assert row["mega_bytes"] == pytest.approx(model.num_bytes / 1e6)
    with patched():
        result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0 and "small-rank=48" in result.stdout
    arguments += ["--models", f"file://{tmp_path}/models", "--json"]
    with patched():
        result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert [Path(row["folder"]) for row in json.loads(result.stdout)] == [
        tmp_path / row["folder"] for row in rows
    ]


def test_nobody_at_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with (
        pytest.raises(ConnectionError, match="Cannot connect to a Ray cluster at 127"),
        connected("127.0.0.1:1"),
    ):
        pass


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("multi_user", "wmmse_db", -20.0),
        ("multi_user", "block_diagonalization", True),
        ("model", "rank", 24),
    ],
)
def test_other_operations_are_another_training(
    scenario: nm.Scenario, tmp_path: Path, section: str, key: str, value: Any
) -> None:
    folder = str(tmp_path / "model")
    ModelInParts.begun(folder, scenario, 0)
    ModelInParts.begun(folder, scenario, 0)
    changed = getattr(scenario.config, section).model_copy(update={key: value})
    other = nm.Scenario(scenario.config.model_copy(update={section: changed}))
    with pytest.raises(ValueError, match=rf"{section}\.{key} = .* and not {value}"):
        ModelInParts.begun(folder, other, 0)


def test_a_folder_is_called_as_on_the_other_machines(scenario: nm.Scenario, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "shared").symlink_to(tmp_path / "here")
    begun = ModelInParts.begun(str(tmp_path / "shared/model"), scenario, 0)
    assert {part.store.folder for part in begun.parts} == {tmp_path / "shared/model"}


def test_a_folder_of_the_same_name_is_not_the_shared_one(
    scenario: nm.Scenario, tmp_path: Path
) -> None:
    from neumatc_mimo.training.cluster.worker import train_shard

    job = next(iter(jobs(scenario)))
    store = Store(tmp_path, job.operation.name, job.key)
    with pytest.raises(FileNotFoundError, match="storage that all machines share"):
        train_shard(job, range(2), store, 0, "shard", nm.__version__, None)


def test_errors_without_a_message_and_clusters_without_a_core_are_told() -> None:
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(MemoryError()) == "MemoryError"
    alive = {"Alive": True, "Resources": {"CPU": 2.0, "memory": 1e9}}
    head = {"Alive": True, "Resources": {"memory": 1e9}}
    assert with_cores([alive | {"Alive": False}, head, alive]) == [alive["Resources"]]
    with pytest.raises(
        RuntimeError, match="No machine with cores is left in the cluster; finished shards are kept"
    ):
        with_cores([alive | {"Alive": False}, head])


def test_two_versions_of_the_package_do_not_mix(scenario: nm.Scenario, tmp_path: Path) -> None:
    from neumatc_mimo.training.cluster.worker import train_shard

    job = next(iter(jobs(scenario)))
    store = Store(tmp_path, job.operation.name, job.key)
    with pytest.raises(RuntimeError, match="install one version on all machines"):
        train_shard(job, range(2), store, 0, "shard", "0.0", None)


@given(
    cost=st.builds(
        Cost,
        seconds_per_link=st.floats(1e-3, 1e3),
        bytes_per_link=st.floats(1e3, 1e9),
        peak_bytes=st.floats(1e8, 1e10),
    ),
    seconds=st.floats(1e-2, 1e4),
    memory=st.floats(1e8, 1e12),
    together=st.integers(1, 50),
    share=st.integers(1, 10**6),
)
def test_tasks_take_the_time_and_fit_the_memory(
    cost: Cost, seconds: float, memory: float, together: int, share: int
) -> None:
    size = links_per_task(cost, seconds, memory, together, share)
    assert size >= 1
    assert size == 1 or size * cost.seconds_per_link <= seconds * (1 + 1e-9)
    assert size == 1 or cost.memory(size) <= memory + 1
    assert size <= share
    # A link more, or a batch more, would be too much.
    more = size + (together if size >= together else 1)
    assert (
        more * cost.seconds_per_link > seconds * (1 - 1e-9)
        or cost.memory(more) >= memory
        or more > share
    )


@given(
    num_links=st.integers(1, 60),
    cuts=st.sets(st.integers(1, 59)),
    kept=st.integers(0),
    size=st.integers(1, 9),
)
def test_tasks_are_the_links_that_are_missing(
    num_links: int, cuts: set[int], kept: int, size: int
) -> None:
    ends = [0, *sorted(cut for cut in cuts if cut < num_links), num_links]
    pieces = [range(a, b) for a, b in itertools.pairwise(ends)]
    finished = [piece for i, piece in enumerate(pieces) if kept >> i & 1]
    tasks = split(missing(num_links, finished), size)
    assert all(len(task) <= size for task in tasks)
    assert sorted([*(i for t in tasks for i in t), *(i for f in finished for i in f)]) == list(
        range(num_links)
    )
