"""All blocks on drawn grids, channels, noise and shapes, against Sionna on the same inputs.

``python -m benchmarks.tensorflow_random`` draws ten thousand.
"""

from __future__ import annotations

import pytest

from benchmarks.tensorflow_random import BLOCKS, compare, drawn, model_case
from neumatc_mimo.tensorflow import ScenarioModel


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("first", [0, 10])
def test_block(block: str, first: int) -> None:
    for seed in range(first, first + 10):
        found = compare(drawn(seed, block))
        found = found if found.judged is None else found.judged
        assert found.excess <= 1, f"seed {seed}: {found.excess:.2g} times its bound"


@pytest.mark.parametrize("precision", ["single", "double"])
def test_links_of_a_model(model: ScenarioModel, precision: str) -> None:
    for seed in range(6):
        for block, found in model_case(model, seed, precision):
            assert found.excess <= 1, f"{block}, seed {seed}: {found.excess:.2g} times its bound"
