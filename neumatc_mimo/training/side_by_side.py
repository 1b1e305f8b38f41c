"""Work on all cores: each takes another item of it, not a share of each small product."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

import torch

T = TypeVar("T")
M = TypeVar("M")
R = TypeVar("R")


def at_once(device: torch.device, num_items: int) -> int:
    """How many of so many items :func:`side_by_side` works on at once on a device."""
    return min(torch.get_num_threads(), num_items) if device.type == "cpu" else 1


def total_memory() -> float:
    """Bytes of this machine's memory; infinite where it does not tell."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")


def side_by_side(
    work: Callable[[T, Callable[[M], None]], R],
    items: Sequence[T],
    tell: Callable[[M], None],
    workers: int,
) -> Generator[R, None, None]:
    """Results of work on items, in their order.

    Each of several workers has one thread of PyTorch's for itself. What the work tells of an item
    is passed on in the caller's thread, and in the order of the items; what ``tell`` raises, or the
    work, ends all of it.

    :param work: called with an item and whom to tell
    :param workers: how many items are worked on at once
    """
    if workers < 2:
        for item in items:
            yield work(item, tell)
        return
    num_threads, ended = torch.get_num_threads(), threading.Event()
    told: list[SimpleQueue[M | _Done]] = [SimpleQueue() for _ in items]

    def one(item: T, messages: SimpleQueue[M | _Done]) -> R:
        def put(message: M) -> None:
            if ended.is_set():
                raise _EndedError
            messages.put(message)

        try:
            return work(item, put)
        finally:
            messages.put(_Done())

    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        futures = [pool.submit(one, *pair) for pair in zip(items, told, strict=True)]
        for future, messages in zip(futures, told, strict=True):
            while not isinstance(message := messages.get(), _Done):
                tell(message)
            yield future.result()
    finally:
        ended.set()
        pool.shutdown(cancel_futures=True)
        # The number that threads to come start with was changed by the workers', too.
        torch.set_num_threads(num_threads)


class _Done:
    """Nothing more is told of an item."""


class _EndedError(Exception):
    """Nobody waits for the work any more."""
