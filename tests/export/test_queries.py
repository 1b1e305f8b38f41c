"""Exported queries: programs of torch.export and ONNX graphs answer as the model does."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

import neumatc_mimo as nm
from neumatc_mimo.cli import app
from neumatc_mimo.export import FORMATS, QueryModule, read_metadata, write_query
from neumatc_mimo.export.program import traced
from neumatc_mimo.export.real import RealModule
from neumatc_mimo.mapping.axes import TimeAxis
from neumatc_mimo.model.marks import Marks
from neumatc_mimo.solvers.base import Channels

OPERATIONS = ["pseudo_inverse", "svd"]
SUFFIXES = sorted(FORMATS)


@pytest.fixture(scope="module")
def exported(small_model: nm.ScenarioModel, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that gives the query of an operation, and what its file computes."""
    folder, known = tmp_path_factory.mktemp("exported"), {}

    def make(operation: str, suffix: str) -> tuple[QueryModule, Any]:
        if suffix == ".onnx":
            pytest.importorskip("onnxscript")
            pytest.importorskip("onnxruntime")
        if (operation, suffix) not in known:
            query = QueryModule(small_model, operation)
            file = write_query(query, folder / f"{operation}{suffix}")
            known[operation, suffix] = query, file, _RUNS[suffix](file)
        query, _, run = known[operation, suffix]
        return query, run

    make.folder = folder  # type: ignore[attr-defined]
    return make


def _onnx(file: Path) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(*inputs: Tensor) -> list[Tensor]:
        outputs = session.run(None, {n: x.numpy() for n, x in zip(names, inputs, strict=True)})
        return [
            torch.view_as_complex(torch.from_numpy(y)) if y.ndim == 5 else torch.from_numpy(y)
            for y in outputs
        ]

    return run


def _program(file: Path) -> Any:
    return torch.export.load(file).module()


_RUNS = {".onnx": _onnx, ".pt2": _program}


def _inputs(model: nm.ScenarioModel, operation: str, no: list[float]) -> tuple[Tensor, ...]:
    """Links out of order, one of them twice, at frequencies on and off the grid."""
    part = model.models[operation]
    links = torch.tensor([3, 0, 3])
    frequencies = torch.cat([part.links.grid_frequencies()[::5], torch.tensor([1.3e6, -7.77e6])])
    power = torch.tensor(no, dtype=torch.float64)
    return (links, frequencies, power) if operation == "pseudo_inverse" else (links, frequencies)


def _queried(
    model: nm.ScenarioModel, operation: str, links: Tensor, frequencies: Tensor, *no: Tensor
) -> list[Tensor]:
    """The model's answers as the training left them, no subcarrier repaired."""
    part = model.models[operation]
    plain = replace(part, marks=Marks.none(part.marks.patched))
    unrepaired = replace(model, models={operation: plain})
    return list(unrepaired.query(operation, frequencies, links, *no))


def _close(found: Tensor, expected: Tensor) -> None:
    """Equal to rounding in single precision, each matrix relative to its largest entry."""
    assert found.shape == expected.shape and found.dtype == expected.dtype
    scale = expected.abs().flatten(2).amax(-1)
    error = (found - expected).abs().flatten(2).amax(-1)
    assert (error / scale).max() < 3e-5


@pytest.mark.parametrize("no", [[0.0, 0.0, 0.0], [0.3, 1e-3, 0.02]])
@pytest.mark.parametrize("suffix", ["module", *SUFFIXES])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_exported_query_answers_as_the_model(
    small_model: nm.ScenarioModel, exported: Any, operation: str, suffix: str, no: list[float]
) -> None:
    if suffix == "module":
        run = QueryModule(small_model, operation)
    else:
        _, run = exported(operation, suffix)
    inputs = _inputs(small_model, operation, no)
    *found, certified = run(*inputs)
    for one, other in zip(found, _queried(small_model, operation, *inputs), strict=True):
        _close(one, other)
    assert certified.shape == (3, len(inputs[1])) and certified.dtype == torch.bool


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_any_number_of_links_and_frequencies(exported: Any, operation: str, suffix: str) -> None:
    query, run = exported(operation, suffix)
    for sizes in ((1, 1), (1, 6), (5, 1), (2, 9)):
        inputs = query.example(*sizes)
        for one, other in zip(run(*inputs), query(*inputs), strict=True):
            assert one.shape[:2] == sizes
            torch.testing.assert_close(one, other, rtol=3e-5, atol=3e-5)


@pytest.mark.parametrize("suffix", ["module", *SUFFIXES])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_is_not_certified_says_so(
    small_model: nm.ScenarioModel, exported: Any, operation: str, suffix: str
) -> None:
    query, run = exported(operation, SUFFIXES[0] if suffix == "module" else suffix)
    run = query if suffix == "module" else run
    part = small_model.models[operation]
    marked = part.marks.any[:, 0]
    assert marked.any() and not marked.all()
    grid = part.links.grid_frequencies()
    everywhere = (torch.arange(4), grid, torch.zeros(4, dtype=torch.float64))
    certified = run(*everywhere[: len(query.input_names)])[-1]
    assert torch.equal(certified, ~marked)
    # Between subcarriers nothing was proven.
    between = (torch.arange(4), grid[:-1] + 0.5 * grid.diff(), everywhere[2])
    assert not run(*between[: len(query.input_names)])[-1].any()


@pytest.mark.parametrize("suffix", ["module", *SUFFIXES])
def test_what_was_not_trained_is_no_number(
    small_model: nm.ScenarioModel, exported: Any, suffix: str
) -> None:
    query, run = exported("pseudo_inverse", SUFFIXES[0] if suffix == "module" else suffix)
    run = query if suffix == "module" else run
    links = torch.tensor([0, -1, 4, 0, 0, 0])
    no = torch.tensor([0.0, 0.0, 0.0, 1100.0, -0.1, torch.nan], dtype=torch.float64)
    frequencies = torch.tensor([0.0, 13e6, -13e6, torch.nan, torch.inf], dtype=torch.float64)
    w, certified = run(links, frequencies, no)
    known = torch.zeros(6, 5, dtype=torch.bool)
    known[0, 0] = True
    assert torch.equal(~w.isnan().flatten(2).any(-1), known)
    assert torch.equal(~w.isnan().flatten(2).all(-1), known)
    assert not certified[~known].any()


def test_an_exported_filter_is_what_a_block_gets(
    small_model: nm.ScenarioModel, exported: Any
) -> None:
    """A block that recognises a link from its channel asks its solver for this filter."""
    _, run = exported("pseudo_inverse", ".onnx")
    links = small_model.models["pseudo_inverse"].links
    frequencies = links.grid_frequencies()
    for no in (0.0, 0.05):
        power = torch.tensor([no], dtype=torch.float64)
        channels = Channels(links.channel(frequencies, [2]), frequencies, power.float())
        answers = small_model.start(nm.PseudoInverse(), channels)
        expected = answers.tile(slice(0, links.fft_size)).dense
        assert answers.counts.links_recalled == 1
        w, certified = run(torch.tensor([2]), frequencies, power)
        _close(w[:, certified[0]], expected[:, certified[0]])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_tells_what_it_is(small_model: nm.ScenarioModel, exported: Any, suffix: str) -> None:
    query, _ = exported("svd", suffix)
    metadata = read_metadata(exported.folder / f"svd{suffix}")
    assert metadata == json.loads(json.dumps(query.metadata))
    assert metadata["fingerprint"] == small_model.scenario["fingerprint"]
    assert metadata["version"] == nm.__version__ and metadata["operation"] == "svd"
    assert list(metadata["inputs"]) == ["links", "frequencies"]
    assert metadata["outputs"]["v"] == "complex64 [num_links, num_frequencies, 16, 2]"
    damaged = exported.folder / f"damaged{suffix}"
    damaged.write_text("nothing of that kind")
    with pytest.raises(ValueError, match="is no"):
        read_metadata(damaged)


def test_onnx_runtime_shows_names_and_sizes(exported: Any) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    exported("svd", ".onnx")
    session = onnxruntime.InferenceSession(exported.folder / "svd.onnx")
    assert {v.name: v.shape for v in session.get_inputs()} == {
        "links": ["num_links"],
        "frequencies": ["num_frequencies"],
    }
    assert [v.name for v in session.get_outputs()] == ["u", "s", "v", "certified"]
    assert session.get_outputs()[2].shape == ["num_links", "num_frequencies", 16, 2, 2]
    assert "neumatc_mimo.json" in session.get_modelmeta().custom_metadata_map


def test_some_links_only(small_model: nm.ScenarioModel) -> None:
    whole, some = (QueryModule(small_model, "svd", links) for links in (None, [3, 1]))
    assert some.metadata["links"] == [3, 1] and some.num_links == 2
    frequencies = small_model.models["svd"].links.grid_frequencies()
    outputs = some(torch.tensor([0, 1]), frequencies)
    for one, other in zip(outputs, whole(torch.tensor([3, 1]), frequencies), strict=True):
        torch.testing.assert_close(one, other)
    assert some(torch.tensor([2]), frequencies)[0].isnan().all()


def test_bad_requests_get_one_sentence(small_model: nm.ScenarioModel, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='no model of "qr", known are pseudo_inverse, svd'):
        QueryModule(small_model, "qr")
    with pytest.raises(ValueError, match="there are links 0 to 3"):
        QueryModule(small_model, "svd", [4])
    with pytest.raises(ValueError, match=r'ends in ".txt", known are .onnx, .pt2'):
        write_query(QueryModule(small_model, "svd"), tmp_path / "svd.txt")
    with pytest.raises(FileNotFoundError, match="no file"):
        read_metadata(tmp_path / "svd.onnx")
    part = small_model.models["svd"]
    moving = replace(part, mapping=replace(part.mapping, axis=TimeAxis(1e-2, 3)))
    with pytest.raises(ValueError, match="moving users"):
        QueryModule(replace(small_model, models={"svd": moving}), "svd")


def test_complex_operators_without_a_rule_are_named() -> None:
    class Sine(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sin(torch.complex(x, x)).real

    program = torch.export.export(Sine(), (torch.ones(3),)).run_decompositions()
    with pytest.raises(NotImplementedError, match=r"no rule for aten\.sin"):
        RealModule(program)(torch.ones(3))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_real_arithmetic_is_that_of_complex_numbers(
    small_model: nm.ScenarioModel, operation: str
) -> None:
    query = QueryModule(small_model, operation)
    real = RealModule(traced(query, query).run_decompositions())
    inputs = query.example(3, 4)
    for one, other in zip(real(*inputs), query(*inputs), strict=True):
        assert not one.is_complex()
        other = torch.view_as_real(other) if other.is_complex() else other
        torch.testing.assert_close(one, other, rtol=3e-5, atol=3e-5)


def test_the_command_writes_a_file_that_runs_where_the_package_is_not(
    small_model: nm.ScenarioModel, tmp_path: Path
) -> None:
    folder, url = small_model.save(tmp_path / "model"), "memory://exported/svd.pt2"
    runner = CliRunner()
    file = tmp_path / "svd.pt2"
    arguments = ["export", str(folder), "--operation", "svd", "--links", "2,0"]
    result = runner.invoke(app, [*arguments, "-o", str(file)])
    assert result.exit_code == 0, result.output
    assert "svd of 2 links" in " ".join(result.output.split())
    result = runner.invoke(app, [*arguments, "-o", url, "--json"])
    assert json.loads(result.stdout)["links"] == [2, 0]
    assert fsspec.filesystem("memory").size("/exported/svd.pt2") > 0
    script = (
        "import sys, torch\n"
        "run = torch.export.load(sys.argv[1]).module()\n"
        "u, s, v, certified = run(torch.tensor([1]), torch.zeros(1, dtype=torch.float64))\n"
        "assert 'neumatc_mimo' not in sys.modules\n"
        "print(s.tolist())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(file)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    expected = QueryModule(small_model, "svd")(torch.tensor([0]), torch.zeros(1).double())[1]
    assert np.allclose(json.loads(done.stdout), expected.numpy(), rtol=1e-5)
