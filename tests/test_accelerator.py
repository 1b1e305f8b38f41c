"""On another device than the CPU: nothing of the CPU is mixed in, and waits are counted.

The device is :mod:`tests.accelerator`'s, which needs no GPU; where there is one, the same is asked
of it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from sionna.phy import Block
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo import blocks
from neumatc_mimo.bench.channels import CHANNELS, ZeroForcedChannel
from neumatc_mimo.bench.tasks import (
    MMSE,
    RECEIVERS,
    TASKS,
    Precoding,
    Slot,
    Task,
    ZeroForcing,
)
from neumatc_mimo.blocks import OperationPrecodedChannel, OperationPrecoder
from neumatc_mimo.simulation import PIPELINES
from neumatc_mimo.simulation.system import SystemDownlink, SystemSlots
from neumatc_mimo.solvers.base import Solver
from neumatc_mimo.tensors.device import check_device
from tests import accelerator
from tests.accelerator import DEVICE, Waits, to_host, watched
from tests.conftest import ScenarioWriter, Trainer
from tests.solvers.test_shared import CASE, PAIRS, SOLVER, channels

PAGE = Path(__file__).parents[1] / "docs/performance.md"
LINKS = 3
_SLOT = Slot(num_ofdm_symbols=3)


@pytest.fixture(
    params=[
        pytest.param(DEVICE, id="accelerator"),
        pytest.param(
            "cuda:0",
            marks=[
                pytest.mark.cuda,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
            ],
        ),
    ]
)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param != DEVICE:
        yield request.param
        return
    with accelerator.present():
        yield DEVICE


@pytest.fixture
def there() -> Iterator[str]:
    with accelerator.present():
        yield DEVICE


# The device itself.

MIXED: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "sum": lambda here, there: there + here,
    "product": lambda here, there: here @ there.mT,
    "concatenation": lambda here, there: torch.cat([there, here]),
    "where": lambda here, there: torch.where(there > 0, there, here),
    "in place": lambda here, there: there.mul_(here),
    "into the host": lambda here, there: here.add_(there),
    "written": lambda here, there: there.index_put_((there[:, 0] > 0,), here[:1]),
    "gathered": lambda here, there: there.gather(0, torch.zeros(1, 4, dtype=torch.int64)),
    "looked up": lambda here, there: here[(there > 0)[:, 0]],
    "number in a product": lambda here, there: torch.dot(there[0], here[0, 0].expand(4)),
    "number of the device": lambda here, there: here + there[0, 0],
    "stacked numbers": lambda here, there: torch.stack([there[0, 0], here[0, 0]]),
    "einsum": lambda here, there: torch.einsum("ij,kj->ik", here, there),
}


@pytest.mark.parametrize("mix", MIXED.values(), ids=MIXED)
def test_tensors_of_several_devices_are_refused(there: str, mix: Any) -> None:
    values = torch.arange(12.0).reshape(3, 4)
    with pytest.raises(RuntimeError, match="device"):
        mix(values.clone(), values.clone().to(there))
    mix(values.clone(), values.clone())  # nothing else is wrong


def test_tensors_of_several_devices_are_refused_in_a_derivative() -> None:
    values = torch.arange(12.0).reshape(3, 4)
    with pytest.raises(RuntimeError, match="to be on the same device"), accelerator.present():
        there = values.to(DEVICE).requires_grad_()
        torch.autograd.grad(there.square(), there, grad_outputs=values)
    with accelerator.present():
        there = values.to(DEVICE).requires_grad_()
        torch.autograd.grad(there.square(), there, grad_outputs=values.to(DEVICE))


def test_a_block_that_forgets_its_device_is_found(
    model: nm.ScenarioModel, there: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(like: Tensor) -> Tensor:
        return torch.eye(like.shape[-1], dtype=like.dtype)

    case = MMSE(model.models["pseudo_inverse"].links, _SLOT)
    block = MMSE(case.links.to(there), _SLOT).block(nm.Exact())
    given = [value.to(there) for value in case.inputs()]
    same(block(*given), case.block(nm.Exact())(*case.inputs()))
    monkeypatch.setattr("neumatc_mimo.operations.pseudo_inverse.identity", forgetful)
    case.block(nm.Exact())(*case.inputs())
    with pytest.raises(RuntimeError, match="to be on the same device"):
        block(*given)


# Reads and uploads of an operation on a tensor [3, 4], and a number, on the device.
WAITS: dict[str, tuple[Callable[[Tensor], Any], tuple[int, int]]] = {
    "arithmetic": (lambda t: (t * 2 + 1).square().sum(), (0, 0)),
    "number of the host": (lambda t: t * torch.tensor(2.0), (0, 0)),
    "item": (lambda t: t.sum().item(), (1, 0)),
    "bool": (lambda t: bool(t.any()), (1, 0)),
    "int": (lambda t: int(t.sum()), (1, 0)),
    "float": (lambda t: float(t.sum()), (1, 0)),
    "if": (lambda t: 1 if t.sum() > 0 else 0, (1, 0)),
    "tolist": (lambda t: t.tolist(), (1, 0)),
    "cpu": (lambda t: t.cpu(), (1, 0)),
    "numpy": (lambda t: t.numpy(force=True), (1, 0)),
    "copy to the host": (lambda t: torch.empty(3, 4).copy_(t), (1, 0)),
    "nonzero": (lambda t: t.nonzero(), (1, 0)),
    "where": (lambda t: torch.where(t > 3), (1, 0)),
    "mask": (lambda t: t[t > 3], (1, 0)),
    "write by a mask": (lambda t: t.__setitem__(t > 3, t[0, 0]), (1, 0)),
    "indices": (lambda t: t[torch.arange(2, device=t.device)], (0, 0)),
    "indices of the host": (lambda t: t[torch.arange(2)], (0, 1)),
    "list of indices": (lambda t: t[[0, 1]], (0, 1)),
    "slices": (lambda t: t[1:, ::2].clone(), (0, 0)),
    "masked fill": (lambda t: t.masked_fill(t > 3, 0.0), (0, 0)),
    "equal": (lambda t: torch.equal(t, t + 1), (1, 0)),
    "unique": (lambda t: t.unique(), (1, 0)),
    "new tensor": (lambda t: torch.tensor([1.0, 2.0], device=t.device), (0, 1)),
    "new number": (lambda t: torch.tensor(1.0, device=t.device), (0, 1)),
    "filled": (lambda t: torch.full((3,), 1.0, device=t.device), (0, 0)),
    "arange": (lambda t: torch.arange(3, device=t.device), (0, 0)),
    "copy to the device": (lambda t: torch.ones(3).to(t.device), (0, 1)),
    "a copy that nothing waits for": (
        lambda t: torch.ones(3).to(t.device, non_blocking=True),
        (0, 0),
    ),
    "product": (lambda t: t @ t.mT, (0, 0)),
    "inverse": (lambda t: torch.linalg.inv(t @ t.mT + torch.eye(3, device=t.device)), (1, 0)),
    "inverse, unchecked": (lambda t: torch.linalg.inv_ex(t @ t.mT), (0, 0)),
    "singular values": (lambda t: torch.linalg.svd(t), (1, 0)),
    "eigenvectors": (lambda t: torch.linalg.eigh(t @ t.mT), (1, 0)),
    "quantile": (lambda t: t.flatten().quantile(0.5), (0, 0)),
}


@pytest.mark.parametrize("name", WAITS)
def test_waits_are_counted(there: str, name: str) -> None:
    call, wanted = WAITS[name]
    values = torch.arange(12.0).reshape(3, 4)
    given = values.clone().to(there)
    with watched() as waits:
        found = call(given)
    assert (waits.num_reads, waits.num_uploads) == wanted
    expected = call(values.clone())
    if isinstance(expected, Tensor):
        torch.testing.assert_close(to_host(found), expected)


# Blocks and solvers.


class OfOperation(ZeroForcing):
    """The block of any operation."""

    title = "OperationPrecoder"

    def inputs(self) -> tuple[Tensor, ...]:
        return self._x, self._h, self.no

    def block(self, solver: Solver, certify: str | None = "link", precision: str = "") -> Any:
        options = {"certify": certify} | self._options(precision)
        return OperationPrecoder(*self._pair, solver, nm.PseudoInverse(), **options)


class ChannelOfOperation(ZeroForcedChannel):
    """The precoded channel of any operation."""

    title = "OperationPrecodedChannel"

    def inputs(self) -> tuple[Tensor, ...]:
        return *super().inputs(), self._h, self.no

    def block(self, solver: Solver, certify: str | None = "link", precision: str = "") -> Any:
        options = {"certify": certify} | self._options(precision)
        return OperationPrecodedChannel(*self._pair, solver, nm.PseudoInverse(), **options)


BD = Precoding.of(nm.BlockDiagonalization.config(name="block_diagonalization"))
EVERY: dict[str, type[Task]] = {
    task.title: task
    for task in (*TASKS, *RECEIVERS, BD, OfOperation, *CHANNELS, ChannelOfOperation)
}
BLOCKS = pytest.mark.parametrize("task", EVERY.values(), ids=EVERY)


def test_every_block_is_here() -> None:
    public = {name: getattr(blocks, name) for name in blocks.__all__}
    kinds = {n for n, k in public.items() if inspect.isclass(k) and issubclass(k, Block)}
    bases = {
        f"{kind}{of}" for kind in ("Matrix", "Noisy") for of in ("Precoder", "PrecodedChannel")
    }
    # An alias in Sionna's words.
    assert kinds - bases - {"RZFPrecodedChannel"} == set(EVERY)


def written(write_scenario: ScenarioWriter, num_links: int) -> nm.Scenario:
    """A scenario that trains the operations of all blocks."""
    noisy = [{"name": name, "noise_db": -20.0} for name in ("wmmse", "max_min", "slnr")]
    file = write_scenario(
        grid={"fft_size": 168, "subcarrier_spacing": 240e3},
        multi_user={
            "users_per_link": 3,
            "num_links": num_links,
            "operation": [*noisy, {"name": "block_diagonalization"}],
        },
        single_user={"ue": [2, 1], "num_streams": 1, "num_links": num_links},
        model={"width": 60, "samples": 64, "collocation": 42, "noise_nodes": 5, "rounds": 2},
    )
    return nm.load_scenario(file)


@pytest.fixture(scope="module")
def scenario(write_scenario: ScenarioWriter) -> nm.Scenario:
    return written(write_scenario, LINKS)


@pytest.fixture(scope="module")
def model(scenario: nm.Scenario, trained: Trainer) -> nm.ScenarioModel:
    return trained(scenario)


def moved(model: nm.ScenarioModel, device: str) -> nm.ScenarioModel:
    return nm.ScenarioModel("moved", {k: part.to(device) for k, part in model.models.items()})


# How blocks of all kinds get their matrices, and how few of them do.
WAYS: dict[str, tuple[Callable[[nm.ScenarioModel], Solver], str | None]] = {
    "exact": (lambda model: nm.Exact(), "link"),
    "exact, proven": (lambda model: nm.Exact(), "call"),
    "exact, unlooked": (lambda model: nm.Exact(), None),
    "queried": (lambda model: model, "link"),
    "queried, proven": (lambda model: model, "call"),
}
FEW: dict[str, tuple[Callable[[nm.ScenarioModel], Solver], str | None]] = {
    "cached": (lambda model: nm.Cached(nm.Exact()), "link"),
    "timed": (lambda model: nm.Auto(model), "link"),
    "spline": (lambda model: nm.Spline(42), "call"),
    "adapted": (lambda model: nm.Adapted(), "link"),
}


def outputs(found: Any) -> tuple[Tensor, ...]:
    return found if isinstance(found, tuple) else (found,)


def same(found: Any, expected: Any, tolerance: float = 1e-3) -> None:
    """Values of the device and of the CPU."""
    for one, other in zip(outputs(found), outputs(expected), strict=True):
        one = to_host(one).cpu()
        assert one.shape == other.shape and one.dtype == other.dtype
        assert torch.linalg.norm(one - other) <= tolerance * torch.linalg.norm(other)


@pytest.mark.parametrize(
    ("title", "way"),
    [
        *((title, way) for title in EVERY for way in WAYS),
        *((title, way) for title in ("ZFPrecoder", "MMSEEqualizer", "SVDCombiner") for way in FEW),
    ],
)
def test_blocks_stay_on_their_device(
    model: nm.ScenarioModel, device: str, title: str, way: str
) -> None:
    task, (make, certify) = EVERY[title], (WAYS | FEW)[way]
    case = task(model.models[task.operation].links, _SLOT)
    block = task(case.links.to(device), _SLOT).block(make(moved(model, device)), certify)
    given = case.inputs()
    first, second = (block(*(value.to(device) for value in given)) for _ in range(2))
    for value in (*outputs(first), *outputs(second)):
        assert value.device == torch.device(device)
    # What a call does not prove a kernel computes, and PyTorch corrects until it is proven.
    same(first, case.block(make(model), certify)(*given), 1e-2 if certify == "call" else 1e-3)


@BLOCKS
def test_gradients_stay_on_their_device(
    model: nm.ScenarioModel, device: str, task: type[Task]
) -> None:
    case = task(model.models[task.operation].links, _SLOT)
    found = []
    for where, solver in (("cpu", model), (device, moved(model, device))):
        block = task(case.links.to(where), _SLOT).block(solver)
        first, *rest = (value.to(where) for value in case.inputs())
        first = first.detach().requires_grad_()
        total = sum(value.abs().square().sum() for value in outputs(block(first, *rest)))
        found.append(torch.autograd.grad(total, first)[0])
    assert found[1].device == torch.device(device)
    same(found[1], found[0])


@pytest.mark.parametrize(("name", "case"), PAIRS)
@pytest.mark.parametrize("certify", [None, "call"])
def test_solvers_stay_on_their_device(
    device: str, name: str, case: str, certify: str | None
) -> None:
    operation, given = CASE[case][0], channels(case, points=24)
    no = None if given.no is None else given.no.to(device)
    here = replace(given, a=given.a.to(device), frequencies=given.frequencies.to(device), no=no)
    answers = SOLVER[name].start(operation, here, certify)
    found = operation.results(answers.tile(slice(3, 20)))
    assert all(value.device == torch.device(device) for value in found)
    if name not in ("randomized_svd", "shared_projection_svd"):  # devices draw other numbers
        expected = SOLVER[name].start(operation, given, certify)
        same(found, operation.results(expected.tile(slice(3, 20))))


# Training and simulations.


@pytest.mark.filterwarnings("ignore:.* are (patched|corrected):neumatc_mimo.NeuMatCWarning")
def test_a_scenario_is_trained_on_the_device(
    write_scenario: ScenarioWriter, trained: Trainer, device: str
) -> None:
    scenario = written(write_scenario, 1)
    found = nm.train(scenario, device=device, progress=False)
    for name, part in found.models.items():
        for key, tensor in part.mapping.tensors().items():
            assert tensor.device == torch.device(device), f"{name} {key}"
    assert scenario.multi_user is not None
    frequencies = scenario.multi_user.grid_frequencies()[::5]
    (ours,) = found.query("pseudo_inverse", frequencies.to(device))
    (theirs,) = trained(scenario).query("pseudo_inverse", frequencies)
    same(ours, theirs, 1e-2)


@pytest.mark.parametrize("name", sorted(PIPELINES))
@pytest.mark.parametrize("solver", ["exact", "model"])
def test_simulations_stay_on_their_device(
    scenario: nm.Scenario, model: nm.ScenarioModel, device: str, name: str, solver: str
) -> None:
    kind = PIPELINES[name]
    chosen = nm.Exact() if solver == "exact" else moved(model, device)
    links = getattr(scenario, kind.kind).to(device)
    pipeline = kind(links, chosen, block_length=240, stride=2)
    bits, found = pipeline(2, 20.0)
    assert bits.device == found.device == torch.device(device)
    assert bits.shape == found.shape


def test_the_system_level_stays_on_its_device(
    scenario: nm.Scenario, model: nm.ScenarioModel, device: str
) -> None:
    assert scenario.multi_user is not None
    slots = SystemDownlink(scenario.multi_user.to(device), moved(model, device))(2)
    for field in fields(SystemSlots):
        assert getattr(slots, field.name).device == torch.device(device), field.name


# What is waited for.


def counted(
    task: type[Task], solver: nm.ScenarioModel, way: Solver, certify: str | None, **named: Any
) -> list[Waits]:
    """Waits of a call with each of the links, twice over."""
    links = solver.models[task.operation].links
    cases = [task(links, _SLOT, turn) for turn in range(LINKS)]
    block, found = cases[0].block(way, certify), []
    for case in cases * 2:
        with watched() as waits:
            block(*case.inputs(), **named)
        found.append(waits)
    return found


def unrepaired(model: nm.ScenarioModel) -> nm.ScenarioModel:
    """A model that takes its mapping everywhere: repairs, made at a link's first call, wait at each
    of their steps.
    """
    parts = {}
    for name, part in model.models.items():
        marks = part.marks
        none = {
            "corrected": torch.zeros_like(marks.corrected),
            "patched": torch.zeros_like(marks.patched),
            "fragile": torch.zeros_like(marks.fragile),
        }
        parts[name] = replace(part, marks=replace(marks, **none))
    return nm.ScenarioModel("unrepaired", parts)


def row(task: type[Task], model: nm.ScenarioModel) -> list[str]:
    """A line of the documentation's table."""
    exact = counted(task, model, nm.Exact(), "link")
    assert len({(w.num_reads, w.num_uploads) for w in exact}) == 1, task.title
    queried = counted(task, model, model, "link")
    # Links have knots of their own, and so products of other sizes.
    later = max(queried[LINKS:], key=lambda waits: waits.num_reads)
    first, other = queried[0], max(queried[1:LINKS], key=lambda waits: waits.num_reads)
    chosen = (exact[0], first, other, later)
    return [f"`{task.title}`", *(_words(waits) for waits in chosen)]


def _words(waits: Waits) -> str:
    uploads = waits.num_uploads
    return f"{waits.num_reads} + {uploads}" if uploads else str(waits.num_reads)


def test_the_page_tells_what_blocks_wait_for(model: nm.ScenarioModel, there: str) -> None:
    # What a process copies to a device once was copied before.
    row(ZeroForcing, moved(unrepaired(model), there))
    # Each of them with a model that has not been asked for anything.
    expected = {t: row(task, moved(unrepaired(model), there)) for t, task in EVERY.items()}
    text = PAGE.read_text().split("### How often a call waits")[1].split("\n#")[0]
    lines = re.findall(r"^\| (`\w+`.*) \|$", text, re.MULTILINE)
    told = {line.split("`")[1]: line.split(" | ") for line in lines}
    wanted = "\n".join(f"| {' | '.join(cells)} |" for cells in expected.values())
    assert told == expected, f"docs/performance.md should say\n{wanted}"


@pytest.mark.parametrize("way", ["exact", "queried"])
@BLOCKS
def test_nothing_is_waited_for_in_a_graph(
    model: nm.ScenarioModel, there: str, task: type[Task], way: str
) -> None:
    some = moved(model, there)
    if way == "queried" and not task.asks_solver:
        pytest.skip("nothing is queried")
    named = {} if way == "exact" else {"links": torch.zeros(1, dtype=torch.int64, device=there)}
    solver = nm.Exact() if way == "exact" else some
    # As while a stream is captured, after a first call.
    links = some.models[task.operation].links
    case = task(links, _SLOT)
    block, given = case.block(solver, None), case.inputs()
    block(*given, **named)
    with (
        mock.patch.object(torch.cuda, "is_available", lambda: True),
        mock.patch.object(torch.cuda, "is_current_stream_capturing", lambda: True),
        watched() as waits,
    ):
        block(*given, **named)
    # PyTorch itself checks the eigenvectors of an exact decomposition, here of each symbol.
    allowed = _SLOT.num_ofdm_symbols if way == "exact" and task.operation == "svd" else 0
    assert (waits.num_reads, waits.num_uploads) == (allowed, 0), waits
    assert waits.operations


def test_the_device_is_gone_afterwards() -> None:
    with accelerator.present():
        assert torch.accelerator.is_available()
    assert torch.accelerator.is_available() == torch.cuda.is_available()
    with pytest.raises(ValueError, match="is needed"):
        check_device(DEVICE)
    with torch.profiler.profile(profile_memory=True):
        torch.ones(3)
