"""How many links a task trains: from what a few took, so that it takes the wanted time and fits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """What training links took on one worker.

    :param seconds_per_link: Of one core
    :param bytes_per_link: Of the tensors that are written
    :param peak_bytes: Most memory that the process held
    """

    seconds_per_link: float
    bytes_per_link: float
    peak_bytes: float

    def memory(self, num_links: int) -> int:
        """Bytes that a task of so many links holds at most: it keeps them one by one, then joined,
        beside what training a few needs.
        """
        return math.ceil(self.peak_bytes + 2 * num_links * self.bytes_per_link)


def links_per_task(cost: Cost, seconds: float, memory: float, together: int, share: int) -> int:
    """Number of links of a task.

    :param seconds: that a task is to take
    :param memory: bytes that there are for a task
    :param together: links that are trained together; a task takes whole batches of them if it can
    :param share: links that each core gets if all get as many

    :return: at least one, whatever it takes
    """
    by_time = seconds / max(cost.seconds_per_link, 1e-9)
    by_memory = (memory - cost.peak_bytes) / (2 * cost.bytes_per_link)
    size = max(math.floor(min(by_time, by_memory, share)), 1)
    return size - size % together if size > together else size


def missing(num_links: int, finished: Iterable[range]) -> list[range]:
    """The links that are not finished, in their order.

    :param finished: in their order, none twice
    """
    gaps, stop = [], 0
    for links in (*finished, range(num_links, num_links)):
        if links.start > stop:
            gaps.append(range(stop, links.start))
        stop = links.stop
    return gaps


def split(gaps: Sequence[range], size: int) -> list[range]:
    """Tasks of at most ``size`` links."""
    return [gap[i : i + size] for gap in gaps for i in range(0, len(gap), size)]
