"""What training on a cluster costs, a link at a time, and on paper for as many users as one likes.

Run as ``python -m benchmarks.scale``; results go to ``benchmarks/results/scale``.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import neumatc_mimo as nm
from neumatc_mimo.bench.sheet import Sheet, origin, origin_line
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.storage.shards import shard_file
from neumatc_mimo.training.batch import train_batch
from neumatc_mimo.training.cluster.driver import connected
from neumatc_mimo.training.jobs import Job, jobs
from neumatc_mimo.training.reports import concatenated
from neumatc_mimo.training.store import Store

RESULTS = Path(__file__).parent / "results" / "scale"


def costs(scenario: nm.Scenario, num_links: int) -> tuple[Sheet, Sheet]:
    """What a link costs, and what Ray does beside it."""
    links = Sheet(
        "links",
        f"A link of {scenario.name}",
        "Core seconds are those of the processor, so that other programs beside do not count. "
        f"Drawn: links from the scenario's data, on the driver. Trained: mean of {num_links} links "
        "of a shard, certificate included, by one core. Sent: to the worker. Written: to the "
        "folder. Memory: most that a worker held, so many links of it its own.",
    )
    tasks = Sheet(
        "ray",
        "What Ray adds",
        "On one machine, other programs beside. The first task of a worker imports PyTorch, Sionna "
        "and this package; the others are tasks that get a shard's links and do nothing.",
    )
    started, begun = time.perf_counter(), time.process_time()
    drawn = {id(links): links for links in (scenario.multi_user, scenario.single_user)}
    seconds = time.process_time() - begun
    total = sum(s.num_links for s in drawn.values() if s is not None)
    begun = time.perf_counter()
    with connected("local") as ray, tempfile.TemporaryDirectory() as folder:
        tasks.rows.append({"what": "start of Ray", "seconds": time.perf_counter() - begun})
        shard: Any = None
        for job in jobs(scenario):
            shard = replace(job, links=job.links.select(list(range(num_links))))
            store = Store(Path(folder), job.operation.name, job.key)
            # One task a process: its peak is that of this operation.
            task = ray.remote(num_cpus=1, max_calls=1)(_measured)
            trained, peak = ray.get(task.remote(shard, store))
            file = shard_file(store.folder, store.name, range(num_links))
            links.rows.append(
                {
                    "operation": job.operation.name,
                    "K × M": f"{job.links.num_rows} × {job.links.num_cols}",
                    "users": job.links.num_users,
                    "drawn, core s": seconds / total,
                    "trained, core s": trained / num_links,
                    "sent, kB": _num_bytes(shard.links) / num_links / 1e3,
                    "written, MB": file.stat().st_size / num_links / 1e6,
                    "memory, GB": peak / 1e9,
                    "links in it": num_links,
                }
            )
        idle = ray.remote(num_cpus=1)(_idle)
        for what, number in (("first task of a worker", 1), ("a task more", 200)):
            begun = time.perf_counter()
            ray.get([idle.remote(shard) for _ in range(number)])
            seconds = (time.perf_counter() - begun) / number
            tasks.rows.append({"what": what, "seconds": seconds})
    links.seconds = tasks.seconds = time.perf_counter() - started
    return links, tasks


def paper(links: Sheet, num_users: int, cores: int, price: float, gigabytes: float) -> Sheet:
    """So many users on paper.

    :param price: of a core for an hour, in dollars
    :param gigabytes: price of one for a month, in dollars
    """
    sheet = Sheet(
        "paper",
        f"{num_users:,} users on {cores} cores, on paper",
        f"Each user in one link of each kind. {price} dollars for a core hour and {gigabytes} for "
        "a gigabyte and month of storage are assumptions.",
    )
    for row in links.rows:
        number = -(-num_users // row["users"])
        hours = number * row["trained, core s"] / 3600
        written = number * row["written, MB"] / 1e6
        sheet.rows.append(
            {
                "operation": row["operation"],
                "links": number,
                "core hours": hours,
                "hours": hours / cores,
                "dollars": hours * price,
                "sent, GB": number * row["sent, kB"] / 1e6,
                "written, TB": written,
                "dollars a month": 1e3 * written * gigabytes,
                "written, MB/s": 1e6 * written / (3600 * hours / cores),
                "drawn by one core, h": number * row["drawn, core s"] / 3600,
            }
        )
    return sheet


def _measured(job: Job, store: Store) -> tuple[float, float]:
    """Processor seconds of a shard, and the most memory of this process in bytes."""
    torch.set_num_threads(1)
    train_batch(job, torch.arange(1))  # what only the first one takes
    begun = time.process_time()
    batches = torch.arange(job.links.num_links).split(job.together)
    part = concatenated([train_batch(job, batch) for batch in batches], job.links)
    store.write(range(job.links.num_links), part)
    seconds = time.process_time() - begun
    return seconds, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _idle(job: Job) -> int:
    return job.links.num_links


def _num_bytes(links: LinkSet) -> int:
    tensors, _ = links.to_tensors()
    return sum(tensor.nbytes for tensor in tensors.values())


def _sheets(arguments: argparse.Namespace) -> Iterator[Sheet]:
    scenario = nm.load_scenario(arguments.scenario)
    links, tasks = costs(scenario, arguments.links)
    yield links
    yield tasks
    yield paper(
        links,
        arguments.users,
        arguments.cores,
        arguments.price,
        arguments.storage,
    )


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--scenario", default="munich")
    parser.add_argument("--links", type=int, default=6, help="of a shard that is measured")
    parser.add_argument("--users", type=int, default=10**6)
    parser.add_argument("--cores", type=int, default=256)
    parser.add_argument("--price", type=float, default=0.04, help="of a core hour, dollars")
    parser.add_argument("--storage", type=float, default=0.023, help="of a GB and month, dollars")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    source = origin("benchmarks", "neumatc_mimo")
    for sheet in _sheets(arguments):
        sheet.write(arguments.output, source)
        print(sheet.markdown(), flush=True)
    print(origin_line(source))


if __name__ == "__main__":
    main()
