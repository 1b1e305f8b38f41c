"""Values that are kept between calls: bounded, shared by threads, free of the caller's modes."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable

import pytest
import torch

from neumatc_mimo.tensors.cache import BoundedCache, digest, outside_call, storage_bytes


def of_bytes(num: int) -> Callable[[], bytes]:
    return lambda: bytes(num)


def test_a_value_is_made_once() -> None:
    cache: BoundedCache[str, object] = BoundedCache(10)
    first = cache.get("a", object, lambda _: 1)
    assert cache.get("a", object, lambda _: 1) is first
    assert cache.get("b", object, lambda _: 1) is not first
    assert (len(cache), cache.num_bytes) == (2, 2)
    cache.clear()
    assert (len(cache), cache.num_bytes) == (0, 0)
    assert cache.get("a", object, lambda _: 1) is not first


def test_the_least_recently_used_values_go() -> None:
    cache: BoundedCache[str, bytes] = BoundedCache(10)
    for key in ("a", "b", "a", "c"):
        cache.get(key, of_bytes(4), len)
    assert cache.num_bytes == 8

    def refuse() -> bytes:
        raise AssertionError

    cache.get("a", refuse, len)
    cache.get("c", refuse, len)
    with pytest.raises(AssertionError):
        cache.get("b", refuse, len)
    # A value that fits nowhere is given, and drops no other.
    assert len(cache.get("large", of_bytes(11), len)) == 11
    assert (len(cache), cache.num_bytes) == (2, 8)


def test_what_fails_is_not_kept() -> None:
    cache: BoundedCache[str, bytes] = BoundedCache(10)

    def fail() -> bytes:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        cache.get("a", fail, len)
    assert cache.get("a", of_bytes(3), len) == bytes(3)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_a_copy_is_empty(copied: Callable[[object], BoundedCache[str, bytes]]) -> None:
    cache: BoundedCache[str, bytes] = BoundedCache(10)
    cache.get("a", of_bytes(4), len)
    other = copied(cache)
    assert (len(other), other.num_bytes, other.max_bytes) == (0, 0, 10)
    other.get("b", of_bytes(4), len)
    assert len(cache) == 1


def test_threads_share_it() -> None:
    cache: BoundedCache[int, list[int]] = BoundedCache(40)
    begin, wrong = threading.Barrier(8), []

    def work(seed: int) -> None:
        begin.wait()
        for i in range(2000):
            key = (i * (seed + 1)) % 13
            if cache.get(key, lambda key=key: [key], lambda _: 5) != [key]:
                wrong.append(key)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert cache.num_bytes == 5 * len(cache) <= 40


def test_threads_that_make_the_same_value_get_the_first() -> None:
    cache: BoundedCache[str, object] = BoundedCache(10)
    both = threading.Barrier(2)
    found: list[object] = []

    def make() -> object:
        both.wait()  # neither waits for the other's value
        return object()

    def work() -> None:
        found.append(cache.get("a", make, lambda _: 1))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] is found[1]


def test_values_carry_no_mode_of_the_caller() -> None:
    cache: BoundedCache[str, torch.Tensor] = BoundedCache(10**6)
    a = torch.randn(4, 4, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16
        assert cache.get("half", lambda: a @ a, lambda v: v.nbytes).dtype == torch.float32
    assert not cache.get("half", lambda: a, lambda v: v.nbytes).requires_grad
    with torch.inference_mode():
        b = torch.randn(4, 4)
        kept = cache.get("inference", lambda: b @ b, lambda v: v.nbytes)
    assert not kept.is_inference()
    (a @ kept).sum().backward()
    with outside_call():
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()


def test_digests_tell_entries_dtypes_and_shapes_apart() -> None:
    x = torch.arange(6, dtype=torch.float64)
    different = [
        x,
        x + 1e-12,
        x.view(2, 3),
        x.view(3, 2),
        x.to(torch.float32),
        x.to(torch.complex128),
        x.to(torch.complex128) * 1j,
        x[:0],
        x.long(),
        torch.tensor(0.0),
        x.bool(),
        x.bfloat16(),
    ]
    assert len({digest(tensor) for tensor in different}) == len(different)
    assert digest(x.view(2, 3).mT.contiguous().mT) == digest(x.view(2, 3))
    z = torch.complex(x, x + 1)
    assert digest(z.conj()) == digest(z.conj_physical())
    assert digest(z.clone().requires_grad_()) == digest(z)
    with torch.inference_mode():
        assert digest(z + 0) == digest(z)


def test_shared_memory_counts_once() -> None:
    x = torch.zeros(10, dtype=torch.float64)
    assert storage_bytes([x, x[2:], x.view(2, 5)]) == 80
    assert storage_bytes([x, x.clone()]) == 160


def test_a_negative_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="max_bytes is -1, zero or more is needed."):
        BoundedCache(-1)
