"""Times of Sionna's blocks, ours, and the limit that no filter block can beat."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LMMSEEqualizer, ResourceGrid, RZFPrecoder
from torch import Tensor

from neumatc_mimo.blocks import MMSEEqualizer, ZFPrecoder
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.solvers.exact import Exact

_NO_DB = -20.0


@dataclass(frozen=True)
class BlockTime:
    """Time of one block on one slot, in seconds: median and quartiles over repeated calls.

    Ratios are those of the medians, of the others' time to it, and of its time to the limit.
    """

    task: str
    block: str
    seconds: float
    lower_quartile: float
    upper_quartile: float
    times_sionna: float
    times_exact: float
    over_limit: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@torch.no_grad()
def block_times(
    links: LinkSet,
    solver: Any | None = None,
    *,
    link: int = 0,
    num_ofdm_symbols: int = 14,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> list[BlockTime]:
    """Time zero forcing and MMSE on one slot of a link, the channel in memory and unrecognised.

    :param links: Links of several users
    :param solver: A solver to time beside Sionna's and our exact blocks; blocks get no ``links``
    :param link: Index of the link
    :param num_ofdm_symbols: OFDM symbols of the slot
    :param seed: Seed of the symbols
    :param progress: Called with what is timed next
    """
    num_users, num_antennas = links.num_rows, links.num_cols
    device = str(links.device)
    generator = torch.Generator(device).manual_seed(seed)
    grid = (num_ofdm_symbols, links.fft_size)
    # Sionna's layout, all OFDM symbols in memory, as a simulation hands it over.
    h = links.channel(links.grid_frequencies(), [link]).permute(0, 2, 3, 1)
    h = h[..., None, :].expand(1, num_users, num_antennas, *grid).contiguous()
    x = _symbols((1, 1, num_users, *grid), generator, device)
    y = _symbols((1, 1, num_antennas, *grid), generator, device)
    down, up = h[:, :, None, None], h.transpose(1, 2).contiguous()[:, None, :, :, None]
    no = torch.tensor(10 ** (_NO_DB / 10), device=device)
    zero = torch.zeros((), device=device)
    w = (h[0, :, :, 0].permute(2, 1, 0).conj() / num_antennas).contiguous()

    def grids(num_tx: int, streams: int, association: Any) -> tuple[Any, Any]:
        resource_grid = ResourceGrid(
            num_ofdm_symbols=grid[0],
            fft_size=grid[1],
            subcarrier_spacing=links.subcarrier_spacing,
            num_tx=num_tx,
            num_streams_per_tx=streams,
            device=device,
        )
        return resource_grid, StreamManagement(association, streams)

    downlink = grids(1, num_users, np.ones([num_users, 1]))
    uplink = grids(num_users, 1, np.ones([1, num_users]))
    solvers: dict[str, Any] = {"exact": Exact()} | ({"queried": solver} if solver else {})
    results = []
    for task, sionna, limit, ours in (
        (
            "zero forcing",
            _call(RZFPrecoder(*downlink, device=device), x, down),
            lambda: _apply(w, x[0, 0]),
            {
                n: _call(ZFPrecoder(*downlink, s, device=device), x, down)
                for n, s in solvers.items()
            },
        ),
        (
            "MMSE",
            _call(LMMSEEqualizer(*uplink, device=device), y, up, zero, no),
            lambda: _apply(w.mT.contiguous(), y[0, 0]),
            {
                n: _call(MMSEEqualizer(*uplink, s, device=device), y, up, zero, no)
                for n, s in solvers.items()
            },
        ),
    ):
        calls = {"limit (known filter)": limit, **ours, "Sionna": sionna}
        seconds = {}
        for name, call in calls.items():
            if progress is not None:
                progress(f"{task}: {name}")
            seconds[name] = quartiles(call)
        medians = {name: middle for name, (_, middle, _) in seconds.items()}
        floor = medians["limit (known filter)"]
        results += [
            BlockTime(task, n, s, low, high, medians["Sionna"] / s, medians["exact"] / s, s / floor)
            for n, (low, s, high) in reversed(seconds.items())
        ]
    return results


def quartiles(
    call: Callable[[], Any], *, seconds: float = 1.5, most: int = 50, warm: bool = False
) -> tuple[float, float, float]:
    """Quartiles of the time of a call after one warm-up: of three runs, or as many as fit.

    A first call allocates and plans; Sionna's equalizer takes twice its usual time in it.

    :param seconds: how long to go on after three runs
    :param most: runs at most
    :param warm: whether a first call was made already

    :return: lower quartile, median, upper quartile, in seconds
    """
    if not warm:
        _once(call)
    runs = [_once(call) for _ in range(3)]
    more = min(most, int(seconds / median(runs))) - len(runs)
    low, middle, high = np.quantile(runs + [_once(call) for _ in range(more)], [0.25, 0.5, 0.75])
    return float(low), float(middle), float(high)


def _once(call: Callable[[], Any]) -> float:
    _synchronize()
    start = time.perf_counter()
    call()
    _synchronize()
    return time.perf_counter() - start


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _call(block: Any, *arguments: Any) -> Callable[[], Any]:
    return lambda: block(*arguments)


def _apply(w: Tensor, x: Tensor, size: int = 252) -> Tensor:
    """Apply known filters from and to Sionna's layout: copies, product and copy, tile by tile.

    As our blocks do: a tile is copied into the cache as it lies and transposed there, and its size
    is no power of two.

    :param w: [fft_size, m, n]
    :param x: [n, num_ofdm_symbols, fft_size]

    :return: [m, num_ofdm_symbols, fft_size]
    """
    out = torch.empty((w.shape[1], *x.shape[1:]), dtype=x.dtype, device=x.device)
    for i in range(0, x.shape[-1], size):
        tile = slice(i, i + size)
        part = w[tile] @ x[..., tile].contiguous().permute(2, 0, 1).contiguous()
        out[..., tile] = part.permute(1, 2, 0)
    return out


def _symbols(shape: tuple[int, ...], generator: torch.Generator, device: str) -> Tensor:
    return torch.randn(shape, dtype=torch.complex64, generator=generator, device=device)
