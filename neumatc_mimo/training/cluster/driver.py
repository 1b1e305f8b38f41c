"""Hands out shards of links to the workers of a Ray cluster, and takes in what comes back."""

from __future__ import annotations

import logging
import math
import os
import socket
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import neumatc_mimo
from neumatc_mimo.foundation.hints import install
from neumatc_mimo.progress import Callback, Event
from neumatc_mimo.training.cluster.folder import Assignment
from neumatc_mimo.training.cluster.sizes import Cost, links_per_task, split
from neumatc_mimo.training.reports import CERTIFIED

# At least so many links of an operation are trained first.
_FEW = 2
# Times that a shard is tried again because its worker or its machine is gone.
_RETRIES = 3


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """The module ``ray``, connected to a cluster while the block lasts.

    :raises ImportError: if it is not installed
    :raises ConnectionError: if no cluster answers
    """
    # Before it is imported: whom to tell of its use is not for a library to decide.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise ImportError(
            f"Training on a cluster needs Ray: {install('ray')}; or leave --ray out."
        ) from error
    if ray.is_initialized():
        yield ray
        return
    settings: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **settings)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise ConnectionError(
            f"Cannot connect to a Ray cluster at {address} ({first_line(error)}); start one with "
            "`ray start --head`, or give the address local."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Find out within seconds that nobody is there; Ray itself tries for many minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), timeout=10).close()


def train_missing(
    ray: Any, parts: Sequence[Assignment], task_seconds: float, tell: Callback
) -> None:
    """Train all that is missing of some parts.

    :param ray: the module, connected to a cluster
    :param task_seconds: what a task is to take
    :param tell: whom to tell

    :raises RuntimeError: if a task fails, or its workers die again and again
    """
    for part in parts:
        tell(_progress_of(part))
    parts = [part for part in parts if part.missing]
    if not parts:
        return
    driver = _Driver(ray, tell)
    # A few links of each part first; what they take tells how many the tasks after them get.
    waiting = deque((part, driver.first(part)) for part in parts)
    measured: set[str] = set()
    try:
        while waiting or driver.running:
            # More than there are cores, so that no worker waits for the next one, and a cluster
            # that grows with its load sees some.
            while waiting and len(driver.running) < 2 * driver.cores:
                driver.submit(*waiting.popleft())
            for part, cost in driver.finished():
                tell(_progress_of(part))
                if part.step not in measured:
                    measured.add(part.step)
                    tasks = driver.tasks(part, cost, task_seconds)
                    waiting.extend((part, links) for links in tasks)
    finally:
        driver.cancel()


class _Driver:
    """Tasks on a cluster."""

    def __init__(self, ray: Any, tell: Callback) -> None:
        from ray.util.queue import Queue

        from neumatc_mimo.training.cluster.worker import train_shard

        self.running: dict[Any, tuple[Assignment, range]] = {}
        self._ray, self._tell = ray, tell
        self._train = ray.remote(num_cpus=1, max_retries=_RETRIES)(train_shard)
        self._events = Queue(actor_options={"num_cpus": 0})
        self._costs: dict[str, Cost] = {}

    @property
    def cores(self) -> int:
        """Of the cluster as it is now."""
        return max(int(self._ray.cluster_resources().get("CPU", 1)), 1)

    def first(self, part: Assignment) -> range:
        """Links of a part to begin with: as many as are trained together, as these set how much
        memory a worker takes, but no more than a core's share.
        """
        return part.missing[0][: max(_FEW, min(part.job.together, self._share(part)))]

    def tasks(self, part: Assignment, cost: Cost, seconds: float) -> list[range]:
        """Links of the tasks that finish a part, of which some links took ``cost``.

        :raises RuntimeError: if no machine has the memory for a single link, or none is left
        """
        nodes = with_cores(self._ray.nodes())
        if cost.memory(1) > max(node["memory"] for node in nodes):
            raise RuntimeError(
                f"{part.step} takes {cost.memory(1) / 1e9:.1f} GB of memory for a link, no machine "
                "of the cluster has as much; add one."
            )
        memory = min(node["memory"] / node["CPU"] for node in nodes)
        size = links_per_task(cost, seconds, memory, part.job.together, self._share(part))
        self._costs[part.step] = cost
        return split(part.missing, size)

    def submit(self, part: Assignment, links: range) -> None:
        """Ask for a task; Ray chooses when and where."""
        train, cost = self._train, self._costs.get(part.step)
        if cost is not None:
            # Ray starts no more tasks on a machine than its memory holds.
            train = train.options(memory=cost.memory(len(links)))
        reference = train.remote(
            part.job_of(links),
            links,
            part.store,
            part.seed,
            _name(part, links),
            neumatc_mimo.__version__,
            self._events,
        )
        self.running[reference] = (part, links)

    def finished(self) -> Iterator[tuple[Assignment, Cost]]:
        """Wait for a moment; parts of which a shard has finished, and what it cost."""
        references, _ = self._ray.wait(list(self.running), timeout=0.2)
        self._pass_on_events()
        for reference in references:
            part, links = self.running.pop(reference)
            cost, part.finished[links] = self._result(reference, _name(part, links))
            self._tell(Event(_name(part, links), len(links), len(links), "links"))
            yield part, cost

    def cancel(self) -> None:
        """Call off what has not finished; this process may stay connected."""
        for reference in self.running:
            self._ray.cancel(reference)

    def _share(self, part: Assignment) -> int:
        """Links of a part that each core gets if all get as many."""
        return math.ceil(sum(map(len, part.missing)) / self.cores)

    def _result(self, reference: Any, name: str) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except errors.RayTaskError as error:
            reason = first_line(error.cause)
            raise RuntimeError(f"Training of {name} failed: {reason}") from error
        except errors.RayError as error:
            raise RuntimeError(
                f"The workers that trained {name} died {_RETRIES + 1} times "
                f"({type(error).__name__}); finished shards are kept, run the command again."
            ) from error

    def _pass_on_events(self) -> None:
        # The machine that keeps them may be gone: the training goes on untold.
        with suppress(self._ray.exceptions.RayError):
            names = {_name(*shard) for shard in self.running.values()}
            for event in self._events.get_nowait_batch(self._events.qsize()):
                # Those of a shard that has finished come too late.
                if event.step in names:
                    self._tell(event)


def with_cores(nodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Resources of the machines, as Ray lists them, that are there and have cores.

    :raises RuntimeError: if there are none
    """
    found = [node["Resources"] for node in nodes if node["Alive"] and node["Resources"].get("CPU")]
    if not found:
        raise RuntimeError(
            "No machine with cores is left in the cluster; finished shards are kept, add a machine "
            "and run the command again."
        )
    return found


def first_line(error: BaseException) -> str:
    """Of an error's message, which may be empty."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _name(part: Assignment, links: range) -> str:
    """Name of a shard in events."""
    return f"{part.step}[{links.start}:{links.stop}]"


def _progress_of(part: Assignment) -> Event:
    event = Event(part.step, part.num_finished, part.job.links.num_links, "links")
    if not part.finished:
        return event
    last = part.finished[next(reversed(part.finished))]["training"]
    return replace(event, metrics={name: last[name] for name in CERTIFIED})
