"""Paired error curves, and how far they lie apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from sionna.phy.utils import sim_ber
from torch import Tensor

from neumatc_mimo.progress import Callback, Callbacks, Event, reported
from neumatc_mimo.simulation.pipeline import Simulated


@dataclass(frozen=True)
class ErrorCurve:
    """Error rates over Eb/N0 in dB; ``num_calls`` is the number of batches behind each point."""

    ebno_dbs: list[float]
    ber: list[float]
    bler: list[float]
    block_errors: list[int]
    num_blocks: list[int]
    num_calls: list[int]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def error_curves(
    pipeline_factory: Callable[[Any], Simulated],
    solvers: Mapping[str, Any],
    ebno_dbs: Iterable[float],
    *,
    batch_size: int = 32,
    target_block_errors: int = 100,
    max_calls: int = 1000,
    progress: bool = True,
    callback: Callbacks = None,
) -> dict[str, ErrorCurve]:
    """Simulate the same slots with each solver.

    The first solver stops at ``target_block_errors`` at each point, or after ``max_calls``
    batches; the others then see exactly the batches that it saw.

    :param pipeline_factory: Makes the pipeline of a solver, or any callable as ``sim_ber`` takes
    :param solvers: Solvers by name, the reference first
    :param ebno_dbs: Eb/N0 in dB
    :param batch_size: Slots of a call
    :param target_block_errors: Block errors after which the reference ends a point
    :param max_calls: Largest number of calls at a point
    :param progress: Show a progress bar, in a terminal or a notebook
    :param callback: Called after every batch with the number of finished points, and with Eb/N0 and
        block errors of the current point. The step is the solver's name

    :return: A curve for each solver
    """
    points = [float(ebno) for ebno in ebno_dbs]
    curves: dict[str, ErrorCurve] = {}
    calls: list[int] | None = None
    with reported(callback, progress) as tell:
        for name, solver in solvers.items():
            curve = _simulate(
                pipeline_factory(solver),
                points,
                batch_size,
                target_block_errors if calls is None else None,
                [max_calls] * len(points) if calls is None else calls,
                partial(_tell_point, tell, name, points),
            )
            calls = calls or curve.num_calls
            curves[name] = curve
            tell(Event(name, len(points), len(points), "points"))
    return curves


def snr_offset_db(
    curve_a: ErrorCurve,
    curve_b: ErrorCurve,
    bler_range: tuple[float, float] = (1e-2, 0.9),
    *,
    rate: str = "bler",
) -> float:
    """Horizontal distance of two error curves in dB: by how much b lies to the right of a.

    The largest distance over the levels that both curves reach within ``bler_range``, which may
    be an interval of bit error rates if ``rate`` is "ber"; NaN if they share none.
    """
    a, b = (np.asarray(getattr(curve, rate)) for curve in (curve_a, curve_b))
    return _offset_db(curve_a.ebno_dbs, a, curve_b.ebno_dbs, b, bler_range)


def snr_offset_error_db(
    curve_a: ErrorCurve,
    curve_b: ErrorCurve,
    bler_range: tuple[float, float] = (1e-2, 0.9),
    *,
    rate: str = "bler",
    draws: int = 400,
    seed: int = 0,
) -> float:
    """Uncertainty of :func:`snr_offset_db` in dB: half of its 95 % interval.

    Block errors of each point are drawn again from a Poisson distribution (parametric bootstrap),
    independently for both curves. Curves with the same bits and noise are closer than this.

    :param draws: Of all points
    :param seed: Of the draws

    :return: NaN if most of the draws share no level
    """
    rng = np.random.default_rng(seed)

    def drawn(curve: ErrorCurve) -> Any:
        counts = np.asarray(curve.block_errors)
        factors = rng.poisson(counts, (draws, len(counts))) / np.maximum(counts, 1)
        return np.asarray(getattr(curve, rate)) * factors

    both = zip(drawn(curve_a), drawn(curve_b), strict=True)
    offsets = np.array(
        [_offset_db(curve_a.ebno_dbs, a, curve_b.ebno_dbs, b, bler_range) for a, b in both]
    )
    offsets = offsets[np.isfinite(offsets)]
    if len(offsets) < draws / 2:
        return math.nan
    low, high = np.quantile(offsets, (0.025, 0.975))
    return float(high - low) / 2


def _offset_db(
    ebno_a: Sequence[float],
    a: Any,
    ebno_b: Sequence[float],
    b: Any,
    bler_range: tuple[float, float],
) -> float:
    """:func:`snr_offset_db` of rates."""
    low = max(bler_range[0], a.min(), b.min(), 1e-12)
    high = min(bler_range[1], a.max(), b.max())
    if low >= high:
        return math.nan
    levels = np.linspace(np.log10(low), np.log10(high), 50)
    offsets = crossings(ebno_b, b, levels) - crossings(ebno_a, a, levels)
    return float(offsets[np.abs(offsets).argmax()])


def crossings(ebno_dbs: Sequence[float], rates: Any, levels: Any) -> Any:
    """Eb/N0 at which a curve falls to each level, linear between points in log10 of the rate."""
    falling = np.minimum.accumulate(np.log10(np.maximum(rates, 1e-12)))
    return np.interp(levels, falling[::-1], np.asarray(ebno_dbs)[::-1])


def _simulate(
    pipeline: Simulated,
    ebno_dbs: list[float],
    batch_size: int,
    target_block_errors: int | None,
    max_calls: list[int],
    tell: Callable[[int, int], None],
) -> ErrorCurve:
    errors, blocks, calls = ([0] * len(ebno_dbs) for _ in range(3))

    def callback(
        mc_iter: int,
        snr_idx: int,
        ebno_dbs: Tensor,
        bit_errors: Tensor,
        block_errors: Tensor,
        nb_bits: Tensor,
        nb_blocks: Tensor,
    ) -> Any:
        errors[snr_idx] = int(block_errors[snr_idx])
        blocks[snr_idx] = int(nb_blocks[snr_idx])
        calls[snr_idx] = mc_iter + 1
        tell(snr_idx, errors[snr_idx])
        done = mc_iter + 1 >= max_calls[snr_idx]
        return sim_ber.CALLBACK_NEXT_SNR if done else sim_ber.CALLBACK_CONTINUE

    ber, bler = sim_ber(
        pipeline,
        torch.tensor(ebno_dbs, dtype=torch.float64),
        batch_size=batch_size,
        max_mc_iter=max(max_calls),
        num_target_block_errors=target_block_errors,
        early_stop=False,
        verbose=False,
        callback=callback,
        precision="double",  # Eb/N0 is part of the seed: keep what the caller wrote
        device="cpu",
    )
    return ErrorCurve(ebno_dbs, ber.tolist(), bler.tolist(), errors, blocks, calls)


def _tell_point(
    tell: Callback, name: str, ebno_dbs: Sequence[float], index: int, errors: int
) -> None:
    metrics = {"ebno_db": ebno_dbs[index], "block_errors": errors}
    tell(Event(name, index, len(ebno_dbs), "points", metrics))
