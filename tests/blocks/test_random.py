"""All blocks on whatever can be drawn, against Sionna on the same inputs.

``make test-random`` draws four times as many examples, ``python -m benchmarks.against_sionna`` any
number.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings

import neumatc_mimo as nm
from benchmarks.against_sionna.blocks import Comparison
from benchmarks.against_sionna.tally import KINDS, tried

COMPARISONS = [
    pytest.param(comparison, id=f"{block} on {kind}")
    for kind, blocks in KINDS.items()
    for block, comparison in blocks.items()
]


@pytest.mark.hypothesis  # which draws, though not by its decorator
@pytest.mark.parametrize("comparison", COMPARISONS)
def test_blocks_are_right_whatever_is_drawn(
    comparison: Comparison, small_model: nm.ScenarioModel
) -> None:
    found = tried(comparison, small_model, settings.default.max_examples, seed=0)
    assert not found.differences
    assert found.refused < found.examples


def test_what_differs_is_counted(small_model: nm.ScenarioModel) -> None:
    """The comparison sees a block that is wrong by a thousandth."""
    from benchmarks.against_sionna import blocks, tally

    class Wrong(blocks.ZFPrecoder):
        def call(self, *inputs: Any, **options: Any) -> Any:
            x, h_eff = super().call(*inputs, **options)
            return 1.001 * x, h_eff

    comparison = blocks.BLOCKS["ZFPrecoder"]
    assert not tally.tried(comparison, small_model, 5, seed=0).differences
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "ZFPrecoder", Wrong)
        found = tally.tried(comparison, small_model, 5, seed=0)
    assert len(found.differences) > 2 and found.largest["x_precoded"] > 10
