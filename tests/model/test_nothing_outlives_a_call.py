"""What a call leaves behind: nothing of its tensors, its modes or its threads."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.blocks import (
    MMSEEqualizer,
    SVDBeamformer,
    SVDCombiner,
    ZFPrecodedChannel,
    ZFPrecoder,
)
from neumatc_mimo.foundation.probes import looks, probe_indices

SUBCARRIERS, ANTENNAS, SYMBOLS, SPACING = 192, 16, 2, 120e3
NO = 0.01


@pytest.fixture
def model(small_model: nm.ScenarioModel) -> nm.ScenarioModel:
    """The trained model as it is when it was just loaded: it keeps nothing yet."""
    return copy.deepcopy(small_model)


@dataclass(frozen=True)
class Case:
    """A block, and its call on a channel [batch_size, SUBCARRIERS, K, ANTENNAS].

    :param operation: that the block asks for
    :param call: makes and calls the block with a solver
    """

    operation: str
    call: Callable[..., Tensor]

    def channel(self, model: nm.ScenarioModel, *links: int) -> Tensor:
        own = model.models[self.operation].links
        return own.channel(own.grid_frequencies(), list(links))


def _drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))


def _downlink(a: Tensor, users: int) -> Tensor:
    """[batch_size, users, antennas of a user, 1, ANTENNAS, SYMBOLS, SUBCARRIERS]"""
    h = a.permute(0, 2, 3, 1).unflatten(1, (users, -1))[:, :, :, None, :, None]
    return h.expand(*h.shape[:5], SYMBOLS, -1)


def _down(num_streams: int, users: int) -> tuple[ResourceGrid, StreamManagement]:
    grid = ResourceGrid(SYMBOLS, SUBCARRIERS, SPACING, num_streams_per_tx=num_streams)
    return grid, StreamManagement(np.ones([users, 1]), num_streams)


def _precoded(solver: nm.Solver, a: Tensor, **settings: Any) -> Tensor:
    x = _drawn(len(a), 1, 3, SYMBOLS, SUBCARRIERS)
    out: Tensor = ZFPrecoder(*_down(3, 3), solver, **settings)(x, _downlink(a, 3))
    return out


def _channel(solver: nm.Solver, a: Tensor, **settings: Any) -> Tensor:
    block = ZFPrecodedChannel(*_down(3, 3), solver, **settings)
    out: Tensor = block(_downlink(a, 3), torch.ones(()))
    return out


def _equalized(solver: nm.Solver, a: Tensor, **settings: Any) -> Tensor:
    grid = ResourceGrid(SYMBOLS, SUBCARRIERS, SPACING, num_tx=3)
    h = a.permute(0, 3, 2, 1)[:, None, :, :, None, None].expand(-1, -1, -1, -1, -1, SYMBOLS, -1)
    y = _drawn(len(a), 1, ANTENNAS, SYMBOLS, SUBCARRIERS)
    block = MMSEEqualizer(grid, StreamManagement(np.ones([1, 3]), 1), solver, **settings)
    return torch.cat([part.to(torch.complex64) for part in block(y, h, 0.0, NO)])


def _beams(solver: nm.Solver, a: Tensor, **settings: Any) -> Tensor:
    x = _drawn(len(a), 1, 2, SYMBOLS, SUBCARRIERS)
    out: Tensor = SVDBeamformer(*_down(2, 1), solver, **settings)(x, _downlink(a, 1))
    return out


def _combined(solver: nm.Solver, a: Tensor, **settings: Any) -> Tensor:
    y = _drawn(len(a), 1, 4, SYMBOLS, SUBCARRIERS)
    block = SVDCombiner(*_down(2, 1), solver, **settings)
    return torch.cat([part.to(torch.complex64) for part in block(y, _downlink(a, 1), NO)])


CASES = {
    "ZFPrecoder": Case("pseudo_inverse", _precoded),
    "ZFPrecodedChannel": Case("pseudo_inverse", _channel),
    "MMSEEqualizer": Case("pseudo_inverse", _equalized),
    "SVDBeamformer": Case("svd", _beams),
    "SVDCombiner": Case("svd", _combined),
}
EVERY_CASE = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def _places(model: nm.ScenarioModel, case: Case, link: int) -> list[tuple[int, int]]:
    """Marked subcarriers, and an antenna that no probe and no look at every subcarrier reads."""
    part = model.models[case.operation]
    marked = part.marks.any[link].any(0)
    marked[torch.from_numpy(probe_indices(SUBCARRIERS))] = False
    places = []
    for f in marked.nonzero()[:, 0].tolist():
        seen = set(looks(SUBCARRIERS, ANTENNAS)[f].tolist())
        places.append((f, min(set(range(ANTENNAS)) - seen)))
    return places


@EVERY_CASE
@pytest.mark.parametrize("wrong", [3.0, float("nan"), float("inf")])
def test_a_wrong_entry_is_forgotten(model: nm.ScenarioModel, case: Case, wrong: float) -> None:
    a = case.channel(model, 1)
    expected = {
        name: other.call(copy.deepcopy(model), other.channel(model, 1))
        for name, other in CASES.items()
    }
    places = _places(model, case, 1)
    assert places, "the link has no marked subcarrier"
    for f, antenna in places:
        bad = a.clone()
        bad[:, f, 1, antenna] = wrong
        try:
            case.call(model, bad)
        except ValueError as refusal:
            assert "NaN or infinite" in str(refusal)
    for name, other in CASES.items():
        torch.testing.assert_close(other.call(model, other.channel(model, 1)), expected[name])


@EVERY_CASE
@pytest.mark.parametrize("certify", ["link", "call"])
def test_no_graph_is_left_behind(model: nm.ScenarioModel, case: Case, certify: str) -> None:
    a = case.channel(model, 0)
    for _ in range(2):
        given = a.clone().requires_grad_()
        out = case.call(model, given, certify=certify)
        if out.requires_grad:
            out.abs().square().sum().backward()
    assert not case.call(model, a, certify=certify).requires_grad
    assert not any(tensor.requires_grad for tensor in _tensors(model))


@EVERY_CASE
@pytest.mark.parametrize("certify", ["link", "call"])
def test_inference_mode_leaves_ordinary_tensors(
    model: nm.ScenarioModel, case: Case, certify: str
) -> None:
    expected = case.call(copy.deepcopy(model), case.channel(model, 0), certify=certify)
    for link in (0, 1):
        with torch.inference_mode():
            found = case.call(model, case.channel(model, link), certify=certify)
        if link == 0:
            torch.testing.assert_close(found.clone(), expected)
    assert not any(tensor.is_inference() for tensor in _tensors(model))
    again = case.call(model, case.channel(model, 0), certify=certify)
    torch.testing.assert_close(again, expected)


@EVERY_CASE
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_leaves_full_precision(
    model: nm.ScenarioModel, case: Case, dtype: torch.dtype
) -> None:
    a = case.channel(model, 0)
    with torch.autocast("cpu", dtype=dtype):
        case.call(model, a)
    assert not any(tensor.dtype in (torch.float16, torch.bfloat16) for tensor in _tensors(model))
    torch.testing.assert_close(case.call(model, a), case.call(copy.deepcopy(model), a))


@EVERY_CASE
def test_what_is_kept_is_not_the_callers_memory(model: nm.ScenarioModel, case: Case) -> None:
    a = case.channel(model, 0)
    given = [a.clone(), a.clone()]
    case.call(model, given[0])
    starts = {tensor.untyped_storage().data_ptr() for tensor in given}
    assert not any(tensor.untyped_storage().data_ptr() in starts for tensor in _tensors(model))


@EVERY_CASE
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_models_are_copied_and_pickled_without_what_they_keep(
    model: nm.ScenarioModel, case: Case, copied: Callable[[Any], Any]
) -> None:
    a = case.channel(model, 0)
    expected = case.call(model, a)
    other = copied(model)
    kept = other.models[case.operation].kept
    assert all(len(getattr(kept, one.name)) == 0 for one in fields(kept))
    assert torch.equal(case.call(other, a), expected)


@EVERY_CASE
def test_threads_share_a_model(model: nm.ScenarioModel, case: Case) -> None:
    channels = [case.channel(model, link) for link in range(4)]
    expected = [case.call(copy.deepcopy(model), a) for a in channels]
    order = [index % 4 for index in range(24)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda index: case.call(model, channels[index]), order))
    for index, out in zip(order, found, strict=True):
        assert torch.equal(out, expected[index])


@EVERY_CASE
@pytest.mark.parametrize("certify", ["link", "call"])
def test_a_batch_of_no_items(model: nm.ScenarioModel, case: Case, certify: str) -> None:
    a = case.channel(model, 0)
    exact = case.call(nm.Exact(), a[:0])
    assert case.call(model, a[:0], certify=certify).shape == exact.shape


def test_what_is_kept_is_bounded(model: nm.ScenarioModel) -> None:
    case, part = CASES["MMSEEqualizer"], model.models["pseudo_inverse"]
    part.kept.latents.max_bytes = part.kept.repairs.max_bytes = 2**16
    for link in (0, 1, 2, 3, 0, 1):
        case.call(model, case.channel(model, link))
    for table in (part.kept.latents, part.kept.repairs):
        assert table.num_bytes <= 2**16


def _tensors(value: Any) -> list[Tensor]:
    """All tensors that a model holds or keeps."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, nm.ScenarioModel):
        return _tensors(list(value.models.values()))
    if hasattr(value, "_kept"):
        return _tensors([kept for kept, _ in value._kept.values()])
    if isinstance(value, dict):
        return _tensors(list(value.values()))
    if isinstance(value, list | tuple):
        return [tensor for one in value for tensor in _tensors(one)]
    if is_dataclass(value):
        return [t for one in fields(value) for t in _tensors(getattr(value, one.name))]
    return []
