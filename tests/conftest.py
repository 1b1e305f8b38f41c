"""Fixtures that several test modules share."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

# Before PyTorch is imported: also what tests start in processes of their own takes one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import HealthCheck, settings

import neumatc_mimo as nm
from neumatc_mimo.scenario.bundled import scenarios_folder
from neumatc_mimo.scenario.links import LinkSet

if not torch.cuda.is_available():
    # Triton reads it when it is imported: kernels then run in its interpreter.
    os.environ.setdefault("TRITON_INTERPRET", "1")

# In small problems threads only wait for each other, and processes test side by side.
torch.set_num_threads(1)

# Drawn examples are the same in each run, and have no deadline: a first call compiles and plans.
# `make test-random` takes the large profile.
for name, count in {"small": 60, "large": 240}.items():
    settings.register_profile(
        name,
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
settings.load_profile("small")

ScenarioWriter = Callable[..., Path]
Trainer = Callable[..., nm.ScenarioModel]

_CITIES = ["city_0_newyork_3p5", "city_1_losangeles_3p5"]


@pytest.fixture(scope="session")
def munich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of Munich with one in 200 of its buildings, which take most of the time to read."""
    folder = tmp_path_factory.mktemp("deepmimo") / "munich_3p5"
    shutil.copytree(scenarios_folder() / "data/munich_3p5", folder)
    objects = json.loads((folder / "objects.json").read_text())
    ground = [one for one in objects if one["label"] == "terrain"]
    kept = [one for one in objects if one["label"] != "terrain"][::200] + ground
    (folder / "objects.json").write_text(
        json.dumps([{**one, "id": number} for number, one in enumerate(kept)])
    )
    return folder


@pytest.fixture(scope="session")
def write_scenario(tmp_path_factory: pytest.TempPathFactory, munich: Path) -> ScenarioWriter:
    """Return a function that writes a small scenario TOML on the Munich data to a new folder.

    Keyword arguments replace keys of sections; None removes a key or a section.
    """

    def write(**changes: Any) -> Path:
        sections: dict[str, Any] = {
            "deepmimo": {"path": str(munich), "base_station": 0},
            "array": {"bs": [4, 2]},
            "grid": {"fft_size": 128, "subcarrier_spacing": 480e3},
            "multi_user": {"users_per_link": 3, "num_links": 4},
            "single_user": {"ue": [2, 2], "num_streams": 2, "num_links": 4},
        }
        top = {"name": "small", "seed": 0}
        for key, value in changes.items():
            if isinstance(value, dict):
                section = {**sections.get(key, {}), **value}
                sections[key] = {k: v for k, v in section.items() if v is not None}
            elif key in sections:
                del sections[key]
            else:
                top[key] = value
        lines = [f"{key} = {_toml(value)}" for key, value in top.items()]
        for name, section in sections.items():
            tables = {key: value for key, value in section.items() if _is_tables(value)}
            lines.append(f"[{name}]")
            lines += [f"{k} = {_toml(v)}" for k, v in section.items() if k not in tables]
            for key, entries in tables.items():
                for entry in entries:
                    lines.append(f"[[{name}.{key}]]")
                    lines += [f"{k} = {_toml(v)}" for k, v in entry.items()]
        file = tmp_path_factory.mktemp("scenario") / "small.toml"
        file.write_text("\n".join(lines))
        return file

    return write


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """Return a function from a scenario, and a device, to its model: a new object at each call.

    A model is trained by the first process of a run that asks for it; files pass it on.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # the workers'

    def load(scenario: nm.Scenario, device: str = "cpu") -> nm.ScenarioModel:
        settings = scenario.config.model_dump_json(exclude={"deepmimo"})
        key = hashlib.sha256(f"{settings} {scenario.fingerprint}".encode()).hexdigest()
        place = folder / "models" / key
        with FileLock(f"{place}.lock"), warnings.catch_warnings():
            # Small models are patched in many places.
            warnings.filterwarnings("ignore", ".* are (patched|corrected)", nm.NeuMatCWarning)
            if not place.exists():
                nm.train(scenario, progress=False).save(place)
        return nm.ScenarioModel.load(place, device)

    (folder / "models").mkdir(exist_ok=True)
    return load


@pytest.fixture(scope="session")
def small_model(write_scenario: ScenarioWriter, trained: Trainer) -> nm.ScenarioModel:
    """Return a model of four links of 3 users, and four of a user of 2 x 2 antennas, on 192
    subcarriers: trained in a quarter of a second, with corrected and patched subcarriers.
    """
    file = write_scenario(
        array={"bs": [4, 4]},
        grid={"fft_size": 192, "subcarrier_spacing": 120e3},
        model={"width": 96, "samples": 128, "collocation": 128},
    )
    return trained(nm.load_scenario(file))


@pytest.fixture(scope="module")
def eager() -> Iterator[None]:
    """Sionna's lists of candidates are compiled otherwise, for seconds."""
    with torch.compiler.set_stance("force_eager"):
        yield


@pytest.fixture(scope="session")
def two_stations(tmp_path_factory: pytest.TempPathFactory, munich: Path) -> Path:
    """Folder of Munich with a second base station, which sees the users in reverse: each user has
    the paths that another one has from the first base station.
    """
    folder = tmp_path_factory.mktemp("deepmimo") / "two_stations"
    shutil.copytree(munich, folder)
    for file in folder.glob("*_t000_*.npz"):
        name = file.name.split("_t0")[0]
        values = np.load(file)[name]
        if not name.startswith(("rx_pos", "tx_pos")):
            values = values[::-1]
        np.savez_compressed(file.with_name(file.name.replace("_t000", "_t002")), **{name: values})
    parameters = json.loads((folder / "params.json").read_text())
    second = parameters["txrx_sets"]["txrx_set_0"] | {"id": 2, "id_orig": 2}
    parameters["txrx_sets"]["txrx_set_2"] = second
    (folder / "params.json").write_text(json.dumps(parameters))
    return folder


@pytest.fixture
def links(scenario: nm.Scenario) -> LinkSet:
    """The links of several users of a module's own fixture ``scenario``."""
    assert scenario.multi_user is not None
    return scenario.multi_user


@pytest.fixture(params=_CITIES)
def city(request: pytest.FixtureRequest) -> Path:
    """Folder of a city scenario; skipped where ``NEUMATC_DATA`` is not set."""
    root = os.environ.get("NEUMATC_DATA")
    if not root:
        pytest.skip("NEUMATC_DATA, the folder of the city scenarios, is not set")
    return Path(root) / request.param


@pytest.fixture
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few blocks find the fall of an error curve, and each way to run a block is timed thrice: for
    tests that look neither at rates nor at times.
    """
    # Sionna, which these import, takes seconds that other tests need not wait for.
    from neumatc_mimo.bench import blocks, plan, report

    waterfall = import_module("neumatc_mimo.simulation.waterfall")  # not the function

    def rate(pipeline: Any, batch_size: int, ebno_db: float, num_blocks: int = 100) -> float:
        found: float = block_error_rate(pipeline, batch_size, ebno_db, num_blocks)
        return found

    def rows(*arguments: Any, **options: Any) -> Any:
        return at_point(*arguments, **options | {"seconds": 0.0})

    block_error_rate, at_point = waterfall._block_error_rate, blocks.at_point
    monkeypatch.setattr(waterfall, "_block_error_rate", rate)
    for module in (blocks, plan, report):
        monkeypatch.setattr(module, "at_point", rows)


def _is_tables(value: Any) -> bool:
    """Whether a value is a list of tables."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value).replace("'", '"')
