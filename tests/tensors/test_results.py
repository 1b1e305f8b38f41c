"""Memory of results is used again, and never while anyone may look at it."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

from neumatc_mimo.tensors import results
from neumatc_mimo.tensors.results import new_result

LIKE = torch.empty(0, dtype=torch.complex64)
SHAPE = (3, 64, 1024)  # 1.5 MB


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    gc.collect()
    results.kept.clear()


def test_shapes_and_types() -> None:
    for dtype in (torch.complex64, torch.complex128, torch.float32, torch.float64):
        made = new_result(torch.empty(0, dtype=dtype), *SHAPE)
        assert made.shape == SHAPE and made.dtype == dtype and made.is_contiguous()
        assert not made.requires_grad and made.device.type == "cpu"


def test_dropped_memory_is_used_again() -> None:
    made = new_result(LIKE, *SHAPE)
    place = made.data_ptr()
    del made
    assert results.kept.size > 0
    again = new_result(LIKE, *SHAPE)
    assert again.data_ptr() == place and results.kept.size == 0
    assert new_result(LIKE, *SHAPE).data_ptr() != place


@pytest.mark.parametrize(
    "hold",
    [
        lambda t: t[0, 1:2],
        lambda t: t.real,
        lambda t: t.numpy()[1:],
        lambda t: t.detach(),
        lambda t: t.permute(2, 0, 1),
        lambda t: np.from_dlpack(t),
        lambda t: torch.from_dlpack(t),
        lambda t: t.untyped_storage(),
        lambda t: memoryview(t.numpy()),
    ],
)
def test_memory_that_is_looked_at_is_never_used(hold: object) -> None:
    made = new_result(LIKE, *SHAPE)
    place, held = made.data_ptr(), hold(made)  # type: ignore[operator]
    del made
    gc.collect()
    assert new_result(LIKE, *SHAPE).data_ptr() != place
    del held
    gc.collect()
    made = [new_result(LIKE, *SHAPE) for _ in range(2)]
    assert place in [t.data_ptr() for t in made]


def test_a_graph_holds_what_it_needs() -> None:
    weight = torch.ones(SHAPE, dtype=torch.complex64, requires_grad=True)
    made = new_result(LIKE, *SHAPE)
    made.fill_(2.0)
    product = (made * weight).abs().sum()
    del made
    new_result(LIKE, *SHAPE).fill_(7.0)
    product.backward()
    assert weight.grad is not None and torch.equal(weight.grad, torch.full_like(weight, 2.0))


def test_small_ones_and_traced_ones_are_ordinary() -> None:
    small = new_result(LIKE, 4, 4)
    small.resize_(8, 8)
    del small
    assert results.kept.size == 0
    assert torch.compile(lambda x: new_result(x, *SHAPE).shape, backend="eager")(LIKE) == SHAPE


def test_no_more_is_kept_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(results.VARIABLE, "4")
    made = [new_result(LIKE, *SHAPE) for _ in range(5)]
    del made
    assert 0 < results.kept.size <= 4 * 2**20
    results.kept.clear()
    monkeypatch.setenv(results.VARIABLE, "0")
    new_result(LIKE, *SHAPE).resize_(1)
    assert results.kept.size == 0


def test_much_smaller_results_take_no_large_piece() -> None:
    del_me = new_result(LIKE, 8, *SHAPE)
    place = del_me.data_ptr()
    del del_me
    assert new_result(LIKE, *SHAPE).data_ptr() != place


def test_threads_never_share_a_piece() -> None:
    def work(number: int) -> bool:
        for _ in range(200):
            made: Tensor = new_result(LIKE, 2, 256, 512)
            made.fill_(number)
            if not bool((made == number).all()):
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_values_are_repeated() -> None:
    value = torch.randn(2, 3, 1, 5, generator=torch.Generator().manual_seed(0))
    wanted = value.expand(2, 3, 4, 5)
    assert torch.equal(results.repeated(value, 4), wanted)
    assert torch.equal(results.repeated(value.transpose(0, 1), 4), wanted.transpose(0, 1))
    value.requires_grad_()
    results.repeated(value, 4).sum().backward()
    assert value.grad is not None and torch.equal(value.grad, torch.full_like(value, 4.0))
