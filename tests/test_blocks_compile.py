"""Without certification the blocks are traced as one graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from blocks_common import FFT_SIZE, NUM_EFFECTIVE, SYMBOLS, close, grid, noise
from sionna.phy.mimo import StreamManagement

from neumatc_mimo.blocks import MMSEEqualizer, SVDBeamformer, SVDCombiner, ZFPrecoder
from neumatc_mimo.solvers.exact import Exact

SETTINGS: dict[str, Any] = {"certify": None, "time_varying": False, "precision": "double"}
ONE = StreamManagement(np.ones([1, 1]), 2)
CASES = {
    "zf": (
        ZFPrecoder(grid(1, 3), StreamManagement(np.ones([3, 1]), 3), Exact(), **SETTINGS),
        (
            noise(2, 1, 3, SYMBOLS, FFT_SIZE, seed=1),
            noise(2, 3, 1, 1, 8, SYMBOLS, FFT_SIZE, seed=2),
        ),
    ),
    "mmse": (
        MMSEEqualizer(grid(3, 1), StreamManagement(np.ones([1, 3]), 1), Exact(), **SETTINGS),
        (
            noise(2, 1, 8, SYMBOLS, FFT_SIZE, seed=1),
            noise(2, 1, 8, 3, 1, SYMBOLS, NUM_EFFECTIVE, seed=2),
            torch.tensor(0.0),
            torch.tensor(0.1),
        ),
    ),
    "beamformer": (
        SVDBeamformer(grid(1, 2), ONE, Exact(), **SETTINGS),
        (
            noise(2, 1, 2, SYMBOLS, FFT_SIZE, seed=1),
            noise(2, 1, 3, 1, 8, SYMBOLS, FFT_SIZE, seed=2),
        ),
    ),
    "combiner": (
        SVDCombiner(grid(1, 2), ONE, Exact(), **SETTINGS),
        (
            noise(2, 1, 3, SYMBOLS, FFT_SIZE, seed=1),
            noise(2, 1, 3, 1, 8, SYMBOLS, FFT_SIZE, seed=2),
            torch.tensor(0.1),
        ),
    ),
}


@pytest.mark.parametrize("block, inputs", CASES.values(), ids=CASES)
def test_one_graph(block: Any, inputs: Any) -> None:
    expected = block(*inputs)
    # The graph is what matters here: the eager backend runs it without generating code.
    compiled = torch.compile(block, fullgraph=True, backend="eager")
    actual = compiled(*inputs)
    if isinstance(expected, torch.Tensor):
        expected, actual = (expected,), (actual,)
    for one, other in zip(actual, expected, strict=True):
        close(one, other, 1e-9)
