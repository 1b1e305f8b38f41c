"""The operation of docs/operations.md in a package of its own: trained, saved, loaded in a fresh
process, served in a block, benched and evaluated.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor
from typer.testing import CliRunner

import neumatc_mimo as nm
from neumatc_mimo.bench.blocks import Point, Row, at_point
from neumatc_mimo.bench.tasks import Slot, tasks_of
from neumatc_mimo.blocks import OperationPrecoder
from neumatc_mimo.cli import app
from neumatc_mimo.operations import OPERATIONS
from tests.docs.common import ROOT, blocks
from tests.warned import strangers

USERS, SUBCARRIERS, SYMBOLS = 4, 96, 2
TITLE = "OperationPrecoder of scattering"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder where a package of one file lies, the page's class and nothing else."""
    folder = tmp_path_factory.mktemp("packages")
    (text,) = (
        block.text
        for block in blocks(ROOT / "docs/operations.md")
        if "class Scattering(" in block.text
    )
    (folder / "networks.py").write_text(text)
    information = folder / "networks-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: networks\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[neumatc_mimo.operations]\nscattering = networks:Scattering\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OPERATIONS, "_kinds", dict(OPERATIONS))
        patch.syspath_prepend(str(folder))
        yield folder
    sys.modules.pop("networks", None)


@pytest.fixture(scope="module")
def file(package: Path, write_scenario: Any) -> Path:
    path: Path = write_scenario(
        array={"bs": [2, 2]},
        grid={"fft_size": SUBCARRIERS, "subcarrier_spacing": 60e3},
        multi_user={
            "users_per_link": USERS,
            "num_links": 3,
            "max_condition": 300.0,
            "operation": [{"name": "scattering"}, {"name": "slnr", "noise_db": -20.0}],
        },
        single_user=None,
        model={"width": 64, "samples": 64, "collocation": 72, "tolerance_db": 30.0},
    )
    return path


@pytest.fixture(scope="module")
def scenario(file: Path) -> nm.Scenario:
    return nm.load_scenario(file)


@pytest.fixture(scope="module")
def model(scenario: nm.Scenario) -> nm.ScenarioModel:
    return nm.train(scenario, progress=False)


@pytest.fixture(scope="module")
def folder(model: nm.ScenarioModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "small"
    model.save(folder)
    return folder


def precoder(solver: nm.Solver, operation: nm.Operation) -> OperationPrecoder:
    grid = ResourceGrid(SYMBOLS, SUBCARRIERS, 60e3, num_tx=1, num_streams_per_tx=USERS)
    management = StreamManagement(np.ones([USERS, 1]), USERS)
    return OperationPrecoder(grid, management, solver, operation)


def inputs(scenario: nm.Scenario) -> tuple[Tensor, Tensor]:
    """Symbols, and the channels of all links."""
    links = scenario.multi_user
    assert links is not None
    h = links.channel(links.grid_frequencies()).permute(0, 2, 3, 1)
    h = h[:, :, None, None, :, None].expand(-1, -1, -1, -1, -1, SYMBOLS, -1)
    shape = (links.num_links, 1, USERS, SYMBOLS, SUBCARRIERS)
    x = torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    return x, h


def test_it_is_trained(scenario: nm.Scenario, model: nm.ScenarioModel) -> None:
    assert list(model.models) == ["pseudo_inverse", "scattering", "slnr"]
    part = model.models["scattering"]
    assert type(part.operation).__module__ == "networks"
    assert part.tolerance.quality_db == 30
    # What it is trained on are the channels as they are: their delays are not taken out.
    links = scenario.multi_user
    assert links is not None
    frequencies = links.grid_frequencies()
    a = links.channel(frequencies, dtype=torch.complex128)
    aligned = part.links.channel(frequencies, aligned=True, dtype=torch.complex128)
    torch.testing.assert_close(aligned, a)
    (s,) = model.query("scattering", frequencies)
    assert part.operation.residual(a, (s.to(a),)).max() < 10 ** (-30 / 20)


def test_it_is_served_in_a_block(scenario: nm.Scenario, model: nm.ScenarioModel) -> None:
    operation = model.models["scattering"].operation
    x, h = inputs(scenario)
    expected = precoder(nm.Exact(), operation)(x, h)
    a = h[:, :, 0, 0, :, 0].permute(0, 3, 1, 2).to(torch.complex128)
    (s,) = operation.exact(a)
    by_hand = (s @ x[:, 0].permute(0, 3, 1, 2).to(s)).permute(0, 2, 3, 1)
    torch.testing.assert_close(expected[:, 0].to(by_hand), by_hand, rtol=1e-3, atol=1e-3)
    block = precoder(model, operation)
    found = block(x, h)
    assert block.stats.links_recalled == len(x) and block.stats.queried > 0
    assert torch.linalg.vector_norm(found - expected) < 0.1 * torch.linalg.vector_norm(expected)


@pytest.mark.parametrize("change", ["phases", "gain", "delays", "order"])
def test_channels_that_its_result_does_not_follow_are_strangers(
    scenario: nm.Scenario, model: nm.ScenarioModel, change: str
) -> None:
    operation = model.models["scattering"].operation
    x, h = inputs(scenario)
    turns = torch.arange(1.0, USERS + 1)[:, None, None, None, None, None]
    changed = {
        "phases": lambda: h * torch.polar(torch.ones_like(turns), turns),
        "gain": lambda: 2 * h,
        "delays": lambda: h * torch.polar(torch.ones(SUBCARRIERS), torch.arange(96.0) / 10),
        "order": lambda: h.flip(1),
    }[change]()
    block = precoder(model, operation)
    with strangers():
        found = block(x, changed)
    assert torch.equal(found, precoder(nm.Exact(), operation)(x, changed))
    assert block.stats.links_unknown == len(x)


_FRESH = """
import json, sys
import torch
import neumatc_mimo as nm
from neumatc_mimo.operations import OPERATIONS

assert "scattering" not in list(OPERATIONS)
model = nm.ScenarioModel.load(sys.argv[1])
part = model.models["scattering"]
(s,) = model.query("scattering", part.links.grid_frequencies())
module = type(part.operation).__module__
print(json.dumps({"module": module, "sum": [s.sum().real.item(), s.sum().imag.item()]}))
"""


def test_a_fresh_process_finds_it(package: Path, folder: Path, model: nm.ScenarioModel) -> None:
    paths = [str(package), str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-c", _FRESH, str(folder)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["module"] == "networks"
    (s,) = model.query("scattering", model.models["scattering"].links.grid_frequencies())
    assert complex(*found["sum"]) == pytest.approx(complex(s.sum()), rel=1e-4)


def test_without_the_package_a_sentence_says_what_is_missing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, package: Path
) -> None:
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(package)])
    monkeypatch.setattr(OPERATIONS, "_kinds", {"inverse": nm.Inverse})
    with pytest.raises(
        ValueError, match=r"There is no operation .* an entry point of neumatc_mimo"
    ):
        nm.ScenarioModel.load(folder)


def test_it_is_benched(scenario: nm.Scenario, model: nm.ScenarioModel) -> None:
    (task,) = (task for task in tasks_of(scenario.config) if task.title == TITLE)
    point = Point(USERS, USERS, SUBCARRIERS, slot=Slot(SYMBOLS, 2))
    rows: list[Row] = list(
        at_point(scenario, point, model, tasks=(task,), seconds=0.01, theirs=False)
    )
    by_way = {row.way: row for row in rows}
    assert {"exact", "queried", "auto", "limit"} < set(by_way)
    queried = by_way["queried"]
    assert queried.block == TITLE and queried.state_bytes > 0
    assert queried.error_db is not None and queried.error_db < -30
    # At other sizes there is no such result, and no such row.
    wide = Point(2, USERS, SUBCARRIERS, slot=Slot(SYMBOLS, 2))
    assert not task.suits(wide.scenario(scenario, 1).multi_user.dimensions, 1)
    asked = wide.scenario(scenario, 1).config.multi_user.operation
    assert "scattering" not in {keys.name for keys in asked} and "slnr" in {k.name for k in asked}


@pytest.mark.slow
@pytest.mark.usefixtures("in_haste")
def test_the_command_benches_it(file: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    options = ["--quick", "--axis", "own", "--no-sionna", "--report", str(report)]
    ran = CliRunner().invoke(app, ["bench", str(file), *options])
    assert ran.exit_code == 0, ran.output
    assert TITLE in (report / "bench.md").read_text(encoding="utf-8")


def test_it_is_evaluated(file: Path, folder: Path, tmp_path: Path) -> None:
    card = tmp_path / "card.md"
    options = ["--blocks", "0", "--num-frequencies", "4", "--num-receivers", "1", "--json"]
    ran = CliRunner().invoke(
        app, ["evaluate", str(file), "--model", str(folder), "--card", str(card), *options]
    )
    assert ran.exit_code == 0, ran.output
    figures = json.loads(ran.stdout)["scattering"]
    assert figures["certificate_1st_percentile_db"] >= 30
    assert figures["error_median_db"] < -30
    assert "scattering" in card.read_text(encoding="utf-8")
