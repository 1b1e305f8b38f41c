"""The benchmark of the blocks as a sheet: tables, pictures and where they were made."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from neumatc_mimo import plots
from neumatc_mimo.bench.blocks import (
    SPLINE_SAMPLES,
    Point,
    Row,
    along,
    at_point,
    axes,
    learned,
)
from neumatc_mimo.bench.channels import CHANNELS
from neumatc_mimo.bench.scaling import growth, hindsight
from neumatc_mimo.bench.sheet import Sheet, origin
from neumatc_mimo.bench.tasks import Detection, tasks_of
from neumatc_mimo.progress import Callbacks, Event, reported, within
from neumatc_mimo.reporting.report import finite
from neumatc_mimo.scenario import Scenario
from neumatc_mimo.storage.files import replaced

_NUMERIC = (
    "K, M = 64",
    "K, M = 256",
    "M",
    "subcarriers",
    "OFDM symbols",
    "batch size",
    "links",
    "basis",
)
_SCALING = (
    "Exponents b of costs that grow as size^b along each axis, the others as at the base point: "
    "least squares of the logarithms over all points, and between the last two, as fixed costs "
    "flatten the small sizes. Alone: the solver's answers, without what the block does with them. "
    "Below, nm.Auto against the faster of exact and queried at the same point, known in hindsight."
)
_DRAWN = ("Sionna", "exact", "exact, cached", "queried", "limit")


def run_and_write(
    base: Scenario,
    folder: Path,
    *,
    quick: bool = False,
    only: Sequence[str] | None = None,
    theirs: bool = True,
    device: str = "cpu",
    progress: bool = True,
    callback: Callbacks = None,
) -> list[Sheet]:
    """Run the benchmark and write its sheets ``bench`` and ``scaling``, and pictures, to a folder.

    :param base: the scenario whose data and band all points use
    :param quick: the scenario's own sizes alone unless ``only`` says more, with few repetitions and
        without the detector, which is the equalizer and Sionna's demapper, and without precoded
        channels
    :param only: the axes to run, which start from the scenario's own sizes, or "own" for these
        alone; None for all
    :param theirs: whether Sionna's blocks are timed, where they fit into memory
    :param progress: show a progress bar, in a terminal or a notebook
    :param callback: called with the number of finished points, and with what runs at the one under
        way

    :raises ValueError: if there is no such axis
    """
    chosen = _chosen(base, quick, only)
    source = origin(device=device) | {"quick": quick}
    started = time.perf_counter()
    rows: dict[Point, list[Row]] = {}
    points = list(dict.fromkeys(point for points in chosen.values() for point in points))
    with reported(callback, progress) as tell:
        for number, point in enumerate(points):
            tell(Event("benchmark", number, len(points), "points"))
            training = within(f"{point.label}: training", tell)
            scenario, model = learned(base, point, device, training)
            tasks = [*tasks_of(scenario.config), *CHANNELS]
            briefly = [task for task in tasks_of(scenario.config) if task is not Detection]
            found = at_point(
                scenario,
                point,
                model,
                tasks=briefly if quick else tasks,
                device=device,
                seconds=0.3 if quick else 1.5,
                theirs=theirs,
                spline_samples=SPLINE_SAMPLES[-1:] if quick else SPLINE_SAMPLES,
                callback=tell,
            )
            rows[point] = list(found)
            # After every point, so that a run that ends early leaves what it has.
            sheets = _written(base, folder, chosen, rows, source, time.perf_counter() - started)
        tell(Event("benchmark", len(points), len(points), "points"))
    return sheets


def _written(
    base: Scenario,
    folder: Path,
    chosen: dict[str, list[Point]],
    rows: dict[Point, list[Row]],
    source: dict[str, Any],
    seconds: float,
) -> list[Sheet]:
    """Write what was measured so far."""
    every = [row for found in rows.values() for row in found]
    sheet = Sheet(
        "bench",
        f"Blocks on one slot, {base.name}",
        _caption(source),
        [row.to_table() for row in every],
        seconds=seconds,
    )
    for axis in (axis for axis in chosen if axis in _NUMERIC):
        name = f"bench_{axis.replace(', ', '_').replace(' = ', '').replace(' ', '_')}.png"
        points = [point for point in chosen[axis] if point in rows]
        if points:
            figure = _picture(axis, points, rows)
            replaced(folder / name, partial(figure.savefig, format="png", dpi=120))
            sheet.pictures.append(name)
    sheet.write(folder, source | {"measured": finite([row.to_json() for row in every])})
    fitted = [
        entry for axis in chosen if axis in _NUMERIC for entry in growth(axis, chosen[axis], rows)
    ]
    scaling = Sheet("scaling", f"How costs grow, {base.name}", _SCALING, fitted + hindsight(every))
    scaling.write(folder, source)
    return [sheet, scaling]


def _chosen(base: Scenario, quick: bool, only: Sequence[str] | None) -> dict[str, list[Point]]:
    own = Point.of(base)
    every = {"own": [own], **axes(own)}
    if unknown := set(only or ()) - set(every):
        raise ValueError(
            f"There is no axis {_quoted(sorted(unknown))}, known are {_quoted(every)}."
        )
    names = only or (["own"] if quick else list(every))
    return {name: every[name] for name in names}


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _caption(source: dict[str, Any]) -> str:
    return (
        f"Milliseconds of one call, median and quartiles, on {source['device']}, "
        f"{source['threads']} threads; all ways of a block in turn on the same inputs, h in "
        "memory, eight slots in turn: each call has other links than the call before. "
        "Same link again: the first slot in every call. Sionna: its block, which computes for "
        "every OFDM symbol; it has none for the SVD: torch.linalg.svd for every symbol. "
        "Exact: our block with nm.Exact(). Cached: nm.Cached(nm.Exact()), which keeps the last "
        "call's results. Spline: through exact results of the call, all of it proven. Queried: our "
        "block with a trained model, certified in training for each link, or proven in every "
        "call. Limit: known matrices applied with PyTorch in the same layout; kernels may be "
        "faster. Bandwidth: data that any way has to read and write (symbols, a channel of one "
        "symbol, results) at the speed of a copy. Once × query: Sionna over exact, "
        "times exact over this row. Error: of the symbols on a subcarrier, compared with the exact "
        "result in double precision, median and largest. State: bytes kept between calls. Peak: "
        "bytes held in a call in addition to its inputs, with the result. Repaid: slots after "
        "which the saved time is as long as the training. Alone: the solver only, without the rest "
        "of the block. Auto: nm.Auto(model), and its time over that of the faster one of exact and "
        "queried."
    )


def _picture(axis: str, points: Sequence[Point], rows: dict[Point, list[Row]]) -> Figure:
    blocks = list(dict.fromkeys(row.block for point in points for row in rows[point]))
    columns = 3
    lines = -(-len(blocks) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.3 * lines), layout="constrained")
    sizes = [along(axis, point) for point in points]
    for number, block in enumerate(blocks, 1):
        found = [
            {row.way: row.milliseconds.median for row in rows[point] if row.block == block}
            for point in points
        ]
        times = {
            way: [one.get(way, math.nan) for one in found]
            for way in _DRAWN
            if any(way in one for one in found)
        }
        ax = figure.add_subplot(lines, columns, number)
        plots.times_along(axis, sizes, times, ax=ax).set_title(block)
    return figure


__all__ = ["run_and_write"]
