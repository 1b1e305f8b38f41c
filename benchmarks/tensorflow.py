"""Time of the TensorFlow blocks beside those of Sionna 1.2, and what they differ by.

    python -m benchmarks.tensorflow MODEL [--batch-size 1] [--repeats 3]

Run beside Sionna 1.2 (``make .venv-tensorflow/.installed``). MODEL is the folder of a model with
links of several users; blocks are called on its own links and grid, 14 OFDM symbols, in a graph
with and without XLA.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LMMSEEqualizer, ResourceGrid, RZFPrecoder

from neumatc_mimo.tensorflow import (
    Exact,
    MMSEEqualizer,
    ScenarioModel,
    SVDBeamformer,
    ZFPrecoder,
)

_SYMBOLS = 14
_NO = 1e-2


class Measured(NamedTuple):
    """One block called in one way.

    :param block: its name and solver
    :param seconds: of a call after the first, the shortest of several
    :param cpu: of all threads, likewise
    :param building: of the first call, beyond that
    :param error: largest deviation from the exact block, relative to the largest entry
    """

    block: str
    way: str
    seconds: float
    cpu: float
    building: float
    error: float


def measure(model: ScenarioModel, batch_size: int, repeats: int) -> Iterator[Measured]:
    """Time all blocks of a task, one after the other."""
    for task in (_zero_forcing, _mmse, _beamforming):
        inputs, blocks = task(model, batch_size)
        exact = None
        for name, block in blocks.items():
            for way, jit in (("graph", False), ("XLA", True)):
                first, best, cpu, output = _timed(
                    tf.function(block, jit_compile=jit), inputs, repeats
                )
                exact = output if exact is None else exact
                error = np.abs(output - exact).max() / np.abs(exact).max()
                yield Measured(name, way, best, cpu, first - best, float(error))


def _zero_forcing(model: ScenarioModel, batch_size: int) -> tuple[Any, dict[str, Any]]:
    h = _channels(model, "pseudo_inverse", batch_size)
    _, num_users, _, fft_size = h.shape
    rg, sm = _grid(model, num_users), StreamManagement(np.ones([num_users, 1]), num_users)
    x = _samples(batch_size, 1, num_users, _SYMBOLS, fft_size)
    h = np.repeat(h[:, :, None, None, :, None], _SYMBOLS, axis=5)
    return (tf.constant(x), tf.constant(h)), {
        "ZFPrecoder, Exact()": ZFPrecoder(rg, sm, Exact(), time_varying=False).__call__,
        "ZFPrecoder, model": ZFPrecoder(rg, sm, model, time_varying=False).__call__,
        "Sionna's RZFPrecoder": RZFPrecoder(rg, sm).__call__,
    }


def _mmse(model: ScenarioModel, batch_size: int) -> tuple[Any, dict[str, Any]]:
    h = _channels(model, "pseudo_inverse", batch_size)
    _, num_users, num_antennas, fft_size = h.shape
    rg, sm = _grid(model, 1, num_users), StreamManagement(np.ones([1, num_users]), 1)
    y = _samples(batch_size, 1, num_antennas, _SYMBOLS, fft_size)
    h = np.repeat(h.transpose(0, 2, 1, 3)[:, None, :, :, None, None], _SYMBOLS, axis=5)
    no = tf.constant(_NO)

    def called(block: Callable[..., Any]) -> Callable[..., Any]:
        return lambda y, h: block(y, h, 0.0, no)[0]

    return (tf.constant(y), tf.constant(h)), {
        "MMSEEqualizer, Exact()": called(MMSEEqualizer(rg, sm, Exact(), time_varying=False)),
        "MMSEEqualizer, model": called(MMSEEqualizer(rg, sm, model, time_varying=False)),
        "Sionna's LMMSEEqualizer": called(LMMSEEqualizer(rg, sm)),
    }


def _beamforming(model: ScenarioModel, batch_size: int) -> tuple[Any, dict[str, Any]]:
    num_streams = model.models["svd"].settings["num_streams"]
    h = _channels(model, "svd", batch_size)
    rg, sm = _grid(model, num_streams), StreamManagement(np.ones([1, 1]), num_streams)
    x = _samples(batch_size, 1, num_streams, _SYMBOLS, h.shape[-1])
    h = np.repeat(h[:, None, :, None, :, None], _SYMBOLS, axis=5)
    return (tf.constant(x), tf.constant(h)), {
        "SVDBeamformer, Exact()": SVDBeamformer(rg, sm, Exact(), time_varying=False).__call__,
        "SVDBeamformer, model": SVDBeamformer(rg, sm, model, time_varying=False).__call__,
    }


def _channels(model: ScenarioModel, operation: str, batch_size: int) -> Any:
    """Channels of the first links, [batch_size, K, M, F]."""
    links = model.models[operation].links
    chosen = np.arange(batch_size) % links.num_links
    return links.channel(links.grid_frequencies(), chosen.tolist()).transpose(0, 2, 3, 1)


def _grid(model: ScenarioModel, num_streams: int, num_tx: int = 1) -> ResourceGrid:
    links = model.models["pseudo_inverse"].links
    return ResourceGrid(
        _SYMBOLS,
        links.fft_size,
        links.subcarrier_spacing,
        num_tx=num_tx,
        num_streams_per_tx=num_streams,
    )


def _samples(*shape: int) -> Any:
    pair = np.random.default_rng(0).normal(size=(2, *shape))
    return (pair[0] + 1j * pair[1]).astype(np.complex64)


def _timed(block: Callable[..., Any], inputs: Any, repeats: int) -> tuple[float, float, float, Any]:
    """Seconds of the first call, of the shortest later one, its CPU time, and the output."""
    times, cpu, output = [], [], None
    for _ in range(repeats + 1):
        begin, used = time.perf_counter(), time.process_time()
        output = block(*inputs).numpy()
        times.append(time.perf_counter() - begin)
        cpu.append(time.process_time() - used)
    return times[0], min(times[1:]), min(cpu[1:]), output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    model = ScenarioModel.load(arguments.model)
    columns = ("block", "way", "ms", "CPU ms", "first call s", "off the exact block")
    table = Table(*columns, title=repr(model))
    for one in measure(model, arguments.batch_size, arguments.repeats):
        first, off = f"{one.building:.1f}", f"{one.error:.0e}"
        milliseconds = (f"{seconds * 1e3:.1f}" for seconds in (one.seconds, one.cpu))
        table.add_row(one.block, one.way, *milliseconds, first, off)
    Console().print(table)


if __name__ == "__main__":
    main()
