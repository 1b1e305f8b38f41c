"""Where the error rate of a pipeline falls."""

from __future__ import annotations

import numpy as np
import torch

from neumatc_mimo.progress import Callbacks, Event, reported
from neumatc_mimo.simulation.curves import crossings
from neumatc_mimo.simulation.pipeline import Pipeline


def waterfall(
    pipeline: Pipeline,
    *,
    num_points: int = 5,
    batch_size: int = 32,
    high: float = 0.9,
    low: float = 8e-3,
    step_db: float = 4.0,
    progress: bool = True,
    callback: Callbacks = None,
) -> list[float]:
    """Eb/N0 in dB over which the BLER falls from ``high`` to ``low``, by a few calls a step.

    The result does not leave the pipeline's ``ebno_range``.

    :param progress: Show a progress bar, in a terminal or a notebook
    :param callback: Called with every tried Eb/N0 and its block error rate

    :raises ValueError: If no block is decoded anywhere in ``ebno_range``
    """
    lowest, highest = pipeline.ebno_range
    ebno_dbs: list[float] = []
    blers: list[float] = []
    with reported(callback, progress) as tell:

        def rate(ebno_db: float) -> float:
            bler = _block_error_rate(pipeline, batch_size, ebno_db)
            tried = len(ebno_dbs) + 1
            tell(Event("finding Eb/N0", tried, metrics={"ebno_db": ebno_db, "bler": bler}))
            return bler

        for ebno_db in [*np.arange(lowest, highest, step_db).tolist(), highest]:
            blers.append(rate(ebno_db))
            ebno_dbs.append(ebno_db)
            if blers[-1] < low:
                break
        if min(blers) >= high:
            raise ValueError(
                f"The block error rate stays above {high} from {lowest:g} to {highest:g} dB, use "
                "fewer bits a symbol."
            )
        # The low end lies between two steps, and the curve is no straight line there.
        for _ in range(2):
            (stop,) = crossings(ebno_dbs, np.array(blers), np.log10([low]))
            at = int(np.searchsorted(ebno_dbs, stop))
            blers.insert(at, rate(float(stop)))
            ebno_dbs.insert(at, float(stop))
    start, stop = crossings(ebno_dbs, np.array(blers), np.log10([high, low]))
    return [round(point, 2) for point in np.linspace(start, stop, num_points).tolist()]


def fall(
    pipeline: Pipeline, *, bler: float = 0.1, batch_size: int = 32, num_blocks: int = 1000
) -> float:
    """Eb/N0 in dB at which the BLER is about ``bler``, within a factor of two, by bisection.

    Where the pipeline's ``ebno_range`` ends first, its end. A step takes ``num_blocks`` blocks, or
    a tenth as many errors.
    """
    low, high = pipeline.ebno_range
    middle = low
    while high - low > 0.1:
        rate = _block_error_rate(pipeline, batch_size, middle, num_blocks)
        if bler / 2 < rate < 2 * bler or (middle == low and rate < bler):
            break
        low, high = (middle, high) if rate > bler else (low, middle)
        middle = round((low + high) / 2, 2)
    return middle


def _block_error_rate(
    pipeline: Pipeline, batch_size: int, ebno_db: float, num_blocks: int = 1000
) -> float:
    """Of as many calls as tell a rate: a percent by a thousand blocks, or by a hundred errors."""
    wrong = torch.empty(0)
    while wrong.numel() < num_blocks and wrong.sum() < num_blocks / 10:
        bits, bits_hat = pipeline(batch_size, ebno_db)
        wrong = torch.cat([wrong, (bits != bits_hat).any(-1).float().flatten().cpu()])
    # No error in so many blocks: take half an error, for the logarithm.
    return max(float(wrong.mean()), 0.5 / wrong.numel())
