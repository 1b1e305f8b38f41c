"""On a CPU a block is one operator of a graph; on a GPU it is traced and captured as one graph
without certification.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement

import neumatc_mimo as nm
from neumatc_mimo import blocks
from neumatc_mimo.bench.tasks import MMSE, TASKS, Slot, Task
from neumatc_mimo.blocks import (
    LinearDetector,
    MMSEEqualizer,
    OperationPrecoder,
    SVDBeamformer,
    SVDCombiner,
    WMMSEPrecoder,
    ZFPrecoder,
)
from neumatc_mimo.solvers.exact import Exact
from tests.blocks.common import FFT_SIZE, NUM_EFFECTIVE, SYMBOLS, close, grid, noise
from tests.conftest import ScenarioWriter, Trainer

SETTINGS: dict[str, Any] = {"certify": None, "time_varying": False, "precision": "double"}
ONE = StreamManagement(np.ones([1, 1]), 2)
UPLINK = (grid(3, 1), StreamManagement(np.ones([1, 3]), 1))
NUM_BITS = 2 * int(UPLINK[0].pilot_pattern.num_data_symbols)
_PAIR, _PRIOR = "grid, streams and solver", "with a prior"
# Names and arguments.
RECEIVERS: dict[str, tuple[Any, ...]] = {
    "ZFEqualizer": (_PAIR,),
    "MFEqualizer": (_PAIR,),
    "LinearDetector": ("zf", "bit", "app", _PAIR, "qam", 2),
    "KBestDetector": ("bit", 3, 8, _PAIR, "qam", 2),
    "EPDetector": ("bit", _PAIR, 2, False, 1),
    "MMSEPICDetector": ("bit", "maxlog", _PAIR, 2, "qam", 2, _PRIOR),
    "MaximumLikelihoodDetector": ("symbol", "app", _PAIR, "qam", 2),
    "MaximumLikelihoodDetectorWithPrior": ("bit", "app", _PAIR, "qam", 2, _PRIOR),
}


def _made(arguments: tuple[Any, ...]) -> list[Any]:
    """Arguments of a receiver."""
    values: list[Any] = []
    for argument in arguments:
        values += (*UPLINK, Exact()) if argument == _PAIR else (argument,)
    return [value for value in values if value != _PRIOR]


CASES = {
    "zf": (
        ZFPrecoder(grid(1, 3), StreamManagement(np.ones([3, 1]), 3), Exact(), **SETTINGS),
        (
            noise(2, 1, 3, SYMBOLS, FFT_SIZE, seed=1),
            noise(2, 3, 1, 1, 8, SYMBOLS, FFT_SIZE, seed=2),
        ),
    ),
    "wmmse": (
        WMMSEPrecoder(grid(1, 3), StreamManagement(np.ones([3, 1]), 3), Exact(), **SETTINGS),
        (
            noise(2, 1, 3, SYMBOLS, FFT_SIZE, seed=1),
            noise(2, 3, 1, 1, 8, SYMBOLS, FFT_SIZE, seed=2),
            torch.tensor(0.5),
        ),
    ),
    "operation": (
        OperationPrecoder(
            grid(1, 3),
            StreamManagement(np.ones([3, 1]), 3),
            Exact(),
            nm.PseudoInverse(),
            **SETTINGS,
        ),
        (
            noise(2, 1, 3, SYMBOLS, FFT_SIZE, seed=1),
            noise(2, 3, 1, 1, 8, SYMBOLS, FFT_SIZE, seed=2),
            torch.tensor(0.5),
        ),
    ),
    "mmse": (
        MMSEEqualizer(grid(3, 1), StreamManagement(np.ones([1, 3]), 1), Exact(), **SETTINGS),
        (
            noise(2, 1, 8, SYMBOLS, FFT_SIZE, seed=1),
            noise(2, 1, 8, 3, 1, SYMBOLS, NUM_EFFECTIVE, seed=2),
            torch.tensor(0.0),
            torch.tensor(0.1),
        ),
    ),
    **{
        name: (
            getattr(blocks, name)(*_made(arguments), **SETTINGS),
            (
                noise(2, 1, 8, SYMBOLS, FFT_SIZE, seed=1),
                noise(2, 1, 8, 3, 1, SYMBOLS, NUM_EFFECTIVE, seed=2),
                *((noise(2, 3, 1, NUM_BITS, seed=3).real,) if arguments[-1:] == (_PRIOR,) else ()),
                torch.tensor(0.0),
                torch.tensor(0.1),
            ),
        )
        for name, arguments in RECEIVERS.items()
    },
    "ratios": (
        blocks.LMMSEPostEqualizationSINR(*UPLINK, Exact(), **SETTINGS),
        (noise(2, 1, 8, 3, 1, SYMBOLS, NUM_EFFECTIVE, seed=2), torch.tensor(0.1)),
    ),
    "beamformer": (
        SVDBeamformer(grid(1, 2), ONE, Exact(), **SETTINGS),
        (
            noise(2, 1, 2, SYMBOLS, FFT_SIZE, seed=1),
            noise(2, 1, 3, 1, 8, SYMBOLS, FFT_SIZE, seed=2),
        ),
    ),
    "combiner": (
        SVDCombiner(grid(1, 2), ONE, Exact(), **SETTINGS),
        (
            noise(2, 1, 3, SYMBOLS, FFT_SIZE, seed=1),
            noise(2, 1, 3, 1, 8, SYMBOLS, FFT_SIZE, seed=2),
            torch.tensor(0.1),
        ),
    ),
}


@pytest.fixture(scope="module")
def model(write_scenario: ScenarioWriter, trained: Trainer) -> nm.ScenarioModel:
    noise_db = dict.fromkeys(["wmmse_db", "max_min_db", "slnr_db"], -20.0)
    file = write_scenario(
        grid={"fft_size": 96, "subcarrier_spacing": 240e3},
        multi_user={"users_per_link": 3, "num_links": 2, **noise_db},
        single_user={"ue": [2, 1], "num_streams": 1, "num_links": 2},
        model={
            "width": 64,
            "samples": 64,
            "collocation": 64,
            "noise_nodes": 5,
            "rounds": 2,
        },
    )
    return trained(nm.load_scenario(file))


@pytest.fixture(autouse=True)
def fresh() -> None:
    """All blocks share one forward method, and a method has few graphs."""
    torch.compiler.reset()


def _same(actual: Any, expected: Any, tolerance: float) -> None:
    if isinstance(expected, torch.Tensor):
        expected, actual = (expected,), (actual,)
    for one, other in zip(actual, expected, strict=True):
        close(one, other, tolerance)


@pytest.mark.parametrize("block, inputs", CASES.values(), ids=CASES)
def test_one_graph(block: Any, inputs: Any) -> None:
    expected = block(*inputs)
    # The graph is what matters here: the eager backend runs it without generating code.
    compiled = torch.compile(block, fullgraph=True, backend="eager")
    _same(compiled(*inputs), expected, 1e-9)


@pytest.fixture(scope="module")
def loaded(model: nm.ScenarioModel, tmp_path_factory: pytest.TempPathFactory) -> nm.ScenarioModel:
    return nm.ScenarioModel.load(model.save(tmp_path_factory.mktemp("models") / "loaded"))


@pytest.mark.parametrize("source", ["trained", "loaded"])
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.title)
def test_one_graph_of_a_query(
    model: nm.ScenarioModel, loaded: nm.ScenarioModel, task: type[Task], source: str
) -> None:
    model = {"trained": model, "loaded": loaded}[source]
    block, inputs, links = _queried(model, task, "cpu")
    expected = block(*inputs, links=links)
    compiled = torch.compile(block, fullgraph=True, backend="eager")
    _same(_finite(compiled(*inputs, links=links)), _finite(expected), 1e-4)
    # Other links of the same graph.
    swapped = torch.flip(links, [0])
    found, wanted = compiled(*inputs, links=swapped), block(*inputs, links=swapped)
    _same(_finite(found), _finite(wanted), 1e-4)


def _finite(outputs: Any) -> tuple[torch.Tensor, ...]:
    """Outputs without the infinite ones of what nothing certifies, such as bits in no noise."""
    outputs = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
    most = 1e4
    return tuple(
        o if o.is_complex() else torch.nan_to_num(o, 0.0, most, -most).clamp(-most, most)
        for o in outputs
    )


def _queried(
    model: nm.ScenarioModel, task: type[Task], device: str
) -> tuple[Any, tuple[Any, ...], torch.Tensor]:
    """A block that queries a model on a device, its inputs, and the links."""
    part = model.models[task.operation].to(device)
    case = task(part.links, Slot(num_ofdm_symbols=3, batch_size=2))
    some = nm.ScenarioModel("some", {task.operation: part})
    block = case.block(some, None)
    asked = getattr(block, "_equalizer", block)
    asked._settings = replace(asked._settings, time_varying=False)
    return block, case.inputs(), torch.arange(2, device=device)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.title)
def test_a_query_is_captured_and_replayed(model: nm.ScenarioModel, task: type[Task]) -> None:
    block, inputs, links = _queried(model, task, "cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.no_grad(), torch.cuda.stream(stream):
        for _ in range(3):
            block(*inputs, links=links)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        captured = block(*inputs, links=links)
    # New symbols in the same memory.
    inputs[0].mul_(2).add_(1)
    graph.replay()
    _same(captured, block(*inputs, links=links), 1e-4)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.title)
def test_a_query_stays_on_the_device(
    model: nm.ScenarioModel, task: type[Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a graph: outside of one a block looks at what it is given."""
    block, inputs, links = _queried(model, task, "cuda")
    with torch.no_grad():
        block(*inputs, links=links)  # kernels are compiled, and their ways timed
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
        torch.cuda.set_sync_debug_mode("error")
        try:
            found = block(*inputs, links=links)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    here, given, chosen = _queried(model, task, "cpu")
    expected = here(*(i.cpu() for i in inputs), links=chosen)
    del given
    found = found if isinstance(found, tuple) else (found,)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for one, other in zip(found, expected, strict=True):
        close(one.cpu(), other, 1e-3)


@pytest.mark.parametrize(("source", "certify"), [("trained", "link"), ("loaded", "call")])
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.title)
def test_what_is_certified_runs_within_a_compiled_function(
    model: nm.ScenarioModel,
    loaded: nm.ScenarioModel,
    task: type[Task],
    certify: str,
    source: str,
) -> None:
    """The block is one operator there: its results, counts and refusals are the eager ones."""
    part = {"trained": model, "loaded": loaded}[source].models[task.operation]
    case = task(part.links, Slot(num_ofdm_symbols=2, batch_size=2))
    block = case.block(nm.ScenarioModel("some", {task.operation: part}), certify)
    inputs = case.inputs()
    first, *rest = inputs

    def whole(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        result = block(x * 2, *rest)
        result = result if isinstance(result, tuple) else (result,)
        return tuple(one + 1 for one in result)

    expected = whole(first)
    compiled = torch.compile(whole, fullgraph=True, backend="eager")
    before = replace(block.stats)
    # Of a graph PyTorch demaps what the equalizer gives.
    tolerance = 1e-6 if isinstance(block, LinearDetector) else 1e-12
    _same(compiled(first), expected, tolerance)
    assert block.stats.links_recalled == 2 * before.links_recalled > 0
    alone = torch.compile(block, fullgraph=True, backend="eager")
    _same(alone(*inputs), block(*inputs), tolerance)
    if isinstance(block, ZFPrecoder):
        spoilt = rest[0].clone()
        spoilt[0, 0, 0, 0, 0, 0, 0] = torch.nan
        with pytest.raises(ValueError, match="NaN or infinite"):
            torch.compile(block, fullgraph=True, backend="eager")(first, spoilt)


# PyTorch's code generator uses what PyTorch has deprecated, and leaves complex numbers alone.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Torchinductor:UserWarning")
@pytest.mark.slow
@pytest.mark.parametrize("certify", [None, "link"])
def test_default_mode_with_a_loaded_model(loaded: nm.ScenarioModel, certify: str | None) -> None:
    block, inputs, links = _queried(loaded, MMSE, "cpu")
    block._settings = replace(block._settings, certify=certify)
    expected = block(*inputs, links=links)
    compiled = torch.compile(block, fullgraph=True)
    _same(compiled(*inputs, links=links), expected, 1e-4)
